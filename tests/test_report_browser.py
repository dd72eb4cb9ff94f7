"""The page of a report in Chromium: it sorts, filters, draws and prints, and nothing is out of reach at any width."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cli_workplace import ROOT, Workplace
from test_reporting_writers import report_with
from test_security import hostile  # noqa: F401  a fixture
from waiting import PATIENCE_SECONDS

from benchmark.reporting.page_content import (
    CellPart,
    CellSetting,
    Epochs,
    Measure,
    MistakenImage,
    Mistakes,
    PageContent,
)
from benchmark.reporting.writers.formats import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

WIDTHS = (1440, 900, 390)

OUT_OF_REACH = """() => {
  const wrong = [];
  const box = (node) => node.getBoundingClientRect();
  const inner = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > inner) wrong.push(`the page scrolls sideways: ${document.documentElement.scrollWidth} > ${inner}`);
  const isHeld = (cell) => getComputedStyle(cell).position === "sticky" && getComputedStyle(cell).left !== "auto";
  const scrolls = (node) => /auto|scroll/.test(getComputedStyle(node).overflowX);
  for (const node of document.querySelectorAll("h1, h2, h3, p, li, dt, dd, td, th, label, output, figcaption, summary, caption + * , pre")) {
    const at = box(node);
    if (!at.width || !at.height || !node.checkVisibility()) continue;
    let holder = node;
    while (holder && !scrolls(holder)) holder = holder.parentElement;
    if (!holder && (at.left < -1 || at.right > inner + 1)) wrong.push(`${node.tagName} ${node.textContent.slice(0, 40)} ends at ${at.right}`);
    if (holder && holder !== node && holder.matches("div.wide, pre.wide") && holder.tabIndex !== 0) wrong.push(`${node.tagName} scrolls without a keyboard`);
  }
  for (const row of document.querySelectorAll("tr")) {
    const cells = [...row.cells].filter((cell) => !isHeld(cell) && box(cell).width);
    for (let place = 1; place < cells.length; place++) {
      if (box(cells[place - 1]).right > box(cells[place]).left + 1) wrong.push(`${cells[place].textContent} lies over its neighbour`);
    }
    for (const cell of cells) {
      const range = document.createRange();
      range.selectNodeContents(cell);
      const text = range.getBoundingClientRect();
      if (text.width && (text.right > box(cell).right + 1 || text.left < box(cell).left - 1)) wrong.push(`${cell.textContent.slice(0, 40)} runs out of its cell`);
    }
  }
  for (const table of document.querySelectorAll("div.wide > table")) {
    const row = table.tBodies[0].rows[0], room = table.parentNode.clientWidth;
    if (!row || !room || table.parentNode.scrollWidth <= room) continue;
    const held = [...row.cells].filter(isHeld).reduce((sum, cell) => sum + box(cell).width, 0);
    if (held > room * 0.6) wrong.push(`names cover ${held} of ${room}`);
  }
  return wrong;
}"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as player:
        started = player.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=1000 * PATIENCE_SECONDS
        )
        yield started
        started.close()


def opened(browser, path: Path, width: int = 1440, **options):
    """A tab that shows a page, and the list of what its console complains of."""
    tab = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()
    tab.set_default_timeout(1000 * PATIENCE_SECONDS)
    tab.complaints = []
    tab.on(
        "console", lambda message: tab.complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.goto(path.as_uri())
    return tab


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of the reference results, without pictures."""
    place = Workplace(tmp_path_factory.mktemp("page"))
    done = place.call("report", "--reference", "--output", "page.html", "--no-pictures")
    assert done.exit_code == 0, done.stderr
    return place.directory / "page.html"


@pytest.fixture(scope="module")
def illustrated(tmp_path_factory) -> Path:
    place = Workplace(tmp_path_factory.mktemp("page"))
    done = place.call("report", "--reference", "--output", "page.html")
    assert done.exit_code == 0, done.stderr
    return place.directory / "page.html"


@pytest.fixture(scope="module")
def hostile_page(hostile, tmp_path_factory) -> Path:  # noqa: F811
    path = tmp_path_factory.mktemp("hostile") / "page.html"
    done = hostile.call("report", "--output", str(path), BENCH_MACHINE="")
    assert done.exit_code == 0, done.stderr
    return path


def column(tab, title: str) -> list[str]:
    """The texts of a column of the summary, from its shown rows."""
    return tab.evaluate(
        """(title) => {
          const table = document.querySelector("#rows-1");
          const index = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.trim() === title);
          return [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[index].textContent);
        }""",
        title,
    )


def test_a_page_sorts_filters_and_fits_every_width(browser, page):
    tab = opened(browser, page)
    heading = tab.locator("#rows-1 th", has_text="test accuracy")
    heading.get_by_role("button").click()
    accuracies = [float(re.match(r"[\d.]+", text)[0]) for text in column(tab, "test accuracy")]
    assert accuracies == sorted(accuracies)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    assert [float(re.match(r"[\d.]+", text)[0]) for text in column(tab, "test accuracy")] == accuracies[::-1]
    tab.locator("input[data-filters=rows-1]").fill("few v2")
    assert column(tab, "strategy") == ["v2"]
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate(OUT_OF_REACH) == []
    assert tab.complaints == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_out_of_reach_with_all_parts_open(browser, illustrated, width, scheme):
    tab = opened(browser, illustrated, width, color_scheme=scheme)
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    tab.evaluate("document.getElementById('explore').scrollIntoView()")
    tab.wait_for_selector("#curves svg")
    assert tab.evaluate(OUT_OF_REACH) == []
    assert tab.complaints == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("table", ["#rows-1", "#rows-cells"])
def test_the_name_that_tells_rows_apart_and_headings_stay_in_sight(browser, page, table):
    tab = opened(browser, page, 390)
    edge, left, name, top, heading = tab.evaluate(
        """(table) => {
          const box = document.querySelector(table).parentNode, name = box.querySelector("tbody tr:nth-child(9) .tells");
          box.scrollTo(600, 100);
          const [around, own] = [box, name].map((node) => node.getBoundingClientRect());
          return [around.left, own.left, name.textContent, around.top, box.querySelector("thead th").getBoundingClientRect().top];
        }""",
        table,
    )
    assert abs(edge - left) < 2
    assert name in {"v1", "v2", "v3", "v4", "scratch", "regularized"}
    assert abs(top - heading) < 2


@pytest.mark.exhaustive
@pytest.mark.parametrize(("width", "kept"), [(1440, 4), (780, 3)])
def test_all_names_stay_in_sight_together_where_there_is_room(browser, page, width, kept):
    tab = opened(browser, page, width)
    tab.wait_for_selector("#rows-cells td.kept-name")
    lefts = tab.evaluate("""() => {
      const box = document.querySelector("#rows-cells").parentNode;
      box.scrollTo(700, 0);
      return [...box.querySelectorAll("tbody tr:nth-child(9) .name")].map((name) => name.getBoundingClientRect().left - box.getBoundingClientRect().left);
    }""")
    assert [left >= 0 for left in lefts] == [False] * (4 - kept) + [True] * kept
    assert lefts == sorted(set(lefts))


@pytest.mark.exhaustive
def test_charts_follow_metric_legend_filter_and_pointer(browser, page):
    tab = opened(browser, page)
    tab.evaluate("document.getElementById('explore').scrollIntoView()")
    tab.wait_for_selector("#scatter circle")
    points = "#scatter svg[role=img] circle[fill-opacity]"
    assert tab.locator(points).count() == 36
    tab.locator("#scatter select").first.select_option("fit_seconds")
    assert tab.locator("#scatter svg[role=img]").get_attribute("aria-label").startswith("fit seconds against group")
    tab.locator("#scatter .legend button", has_text="regularized").click()
    assert tab.locator(points).count() == 27
    tab.locator("input[data-filters=rows-cells]").fill("resnet18")
    assert tab.locator(points).count() == 3
    assert tab.locator("section.cell:visible").count() == 6
    tab.locator(points).first.hover(force=True)
    assert "digits, resnet18, scratch, seed" in tab.locator("#scatter .tip").inner_text()
    tab.locator("#curves select").first.select_option("val_loss")
    assert tab.locator("#curves polyline").count() == 8
    assert tab.complaints == []


def test_settings_are_sorted_as_numbers_epochs_are_whole_and_lines_lead_from_settings_to_results(browser, tmp_path):
    rates = ["0.1", "0.003", "0.01", "none"]
    epochs = Epochs((("epoch", "epoch"), ("val_loss", "validation loss")), (("1", "0.5"), ("2", "0.4")))
    cells = tuple(
        CellPart(
            f"{number}" * 20, ("digits", "net", ("plain", "other")[number % 2]), "0", "completed", "completed",
            ((rate, rate), (0.5 + number / 10, f"{0.5 + number / 10}")), epochs=epochs,
        )
        for number, rate in enumerate(rates)
    )  # fmt: skip
    columns = Measure("learning_rate", "learning rate", is_number=False), Measure("test_accuracy", "test accuracy")
    content = PageContent("sweep", (), columns, cells)
    (tmp_path / "page.html").write_text(render(replace(report_with("x"), page=content), "html"), encoding="utf-8")
    tab = opened(browser, tmp_path / "page.html")
    tab.locator("#rows-cells th[data-key=learning_rate] button").click()
    sorted_rates = tab.locator("#rows-cells tbody tr td:nth-child(7)").all_inner_texts()
    assert sorted_rates == ["0.003", "0.01", "0.1", "none"]
    tab.evaluate("document.getElementById('explore').scrollIntoView()")
    tab.wait_for_selector("#parallel polyline")
    assert tab.locator("#parallel polyline").count() == 4
    assert tab.locator("#curves text").evaluate_all("(all) => all.map((each) => each.textContent).filter(Number)")[
        -2:
    ] == ["1", "2"]
    tab.locator("input[data-filters=rows-cells]").fill("0.01")
    assert tab.locator("#parallel polyline").count() == 1
    assert tab.complaints == []


@pytest.mark.exhaustive
def test_a_link_to_a_cell_opens_its_part(browser, page):
    tab = opened(browser, page)
    tab.locator("#rows-cells tbody a").nth(3).click()
    part = tab.locator("section.cell").nth(3)
    assert part.locator("table.history").is_visible()
    assert part.bounding_box()["y"] < 900


@pytest.mark.exhaustive
def test_marked_cells_stand_side_by_side_with_what_differs(browser, page):
    tab = opened(browser, page)
    boxes = tab.locator("#rows-cells tbody input")
    boxes.nth(0).check()
    assert "Mark another cell" in tab.locator(".beside").inner_text()
    boxes.nth(3).check()
    lines = [[each.strip() for each in line.split("\t")] for line in tab.locator(".beside tr").all_inner_texts()]
    assert lines[0] == [
        "what differs",
        "digits, simple_cnn, scratch, seed 0",
        "digits, simple_cnn, regularized, seed 0",
    ]
    assert ["optimizer", "adam", "adamw"] in lines
    assert not [line for line in lines if line[0] == "dataset"]
    assert tab.complaints == []


@pytest.mark.exhaustive
def test_a_table_is_saved_as_csv(browser, page):
    tab = opened(browser, page)
    with tab.expect_download() as download:
        tab.locator("button[data-saves=rows-cells]").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("cell,dataset,model,strategy,seed,status,test accuracy")
    assert len(lines) == 37


@pytest.mark.exhaustive
def test_everything_is_reached_with_the_keyboard_alone(browser, page):
    tab = opened(browser, page)
    seen = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        seen.add(tab.evaluate("`${document.activeElement.tagName}.${document.activeElement.className}`"))
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert {"A.skip", "A.", "BUTTON.", "INPUT.", "DIV.wide"} <= seen


@pytest.mark.exhaustive
def test_without_javascript_every_number_is_there(browser, page):
    tab = opened(browser, page, java_script_enabled=False)
    assert tab.locator("#rows-1 tbody tr").count() == 12
    assert tab.locator("input[type=search]").first.is_hidden()
    assert tab.locator("#explore").is_hidden()
    tab.locator("summary").first.click()
    assert tab.locator("table.history").first.is_visible()


@pytest.mark.exhaustive
@pytest.mark.parametrize("scripted", [True, False])
def test_it_prints_on_a4_whole(browser, page, tmp_path, scripted):
    if shutil.which("pdftotext") is None:
        pytest.skip("needs pdftotext: apt-get install poppler-utils")
    tab = opened(browser, page, java_script_enabled=scripted)
    tab.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    pages = subprocess.run(
        ["pdftotext", "-raw", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    flat = re.sub(r"\s+", "", pages)
    # no heading is the last line of a sheet
    ends = {sheet.strip().splitlines()[-1] for sheet in pages.split("\f") if sheet.strip()}
    assert not ends & set(tab.locator("h2, h4").all_text_contents())
    # no number, interval, name or id is broken
    shown = tab.locator("#rows-1 tbody tr > *, #rows-cells tbody th, h1, dt").all_text_contents()
    assert [text for text in shown if text.strip() not in pages] == []
    # of every cell the settings, the last line of its history and where it ran
    assert flat.count("Allothers") == 36
    assert flat.count("fingerprintofthedata") == 36
    sizes = subprocess.run(
        ["pdfinfo", "-l", "500", tmp_path / "page.pdf"], capture_output=True, text=True, check=True
    ).stdout
    # 36 cells with all their parts
    assert int(re.search(r"Pages:\s+(\d+)", sizes)[1]) < 36
    for width, height in re.findall(r"size:\s+([\d.]+) x ([\d.]+) pts", sizes):
        assert sorted(round(float(side)) for side in (width, height)) == [595, 842]


@pytest.mark.exhaustive
@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_names_stay_text(browser, hostile_page, width):
    tab = opened(browser, hostile_page, width)
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    tab.evaluate("document.getElementById('explore').scrollIntoView()")
    tab.wait_for_selector("#scatter svg")
    assert tab.evaluate(OUT_OF_REACH) == []
    assert tab.complaints == []
    assert tab.locator("script").count() == 1
    assert tab.locator("marquee, iframe, img[onerror], svg[onload]").count() == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("width", WIDTHS)
def test_names_of_ten_thousand_characters_push_nothing_out_of_sight(browser, tmp_path, width):
    name = "x" * 5000 + "</script><b>" + "y" * 5000
    part = CellPart(
        "a" * 20, (name, name, name), "0", "completed", "completed", ((0.5, "0.5"),),
        settings=(CellSetting("epochs", name, "10", is_changed=True), CellSetting("loss", name)),
        environment=(("command", name),), log=name, traceback=name,
        mistakes=Mistakes(1, 2, ((name, name, 1),), (MistakenImage(1, name, name, "50 %"),)),
    )  # fmt: skip
    parts = part, replace(part, cell_id="b" * 20, names=("digits", "שלום", "\u202eevil"))
    content = PageContent(name, (("machine", name),), (Measure("test_accuracy", "test accuracy"),), parts)
    (tmp_path / "page.html").write_text(
        render(replace(report_with(name), answer=(name,), page=content), "html"), encoding="utf-8"
    )
    tab = opened(browser, tmp_path / "page.html", width)
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    tab.evaluate("document.getElementById('explore').scrollIntoView()")
    tab.wait_for_selector("#scatter circle")
    assert tab.evaluate(OUT_OF_REACH) == []
    assert tab.complaints == []
    assert tab.locator("main b:not(.defaults b)").count() == 0


@pytest.mark.exhaustive
def test_a_policy_refuses_what_is_not_the_page_s_own(browser, page, tmp_path):
    text = page.read_text(encoding="utf-8").replace("</body>", "<script>document.title = 'taken'</script></body>")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    tab = opened(browser, tmp_path / "page.html")
    assert tab.title() != "taken"
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)


def test_the_page_was_measured_and_opens_in_time():
    (line,) = [line for line in (ROOT / "perf" / "results.md").read_text().splitlines() if "**page**" in line][-1:]
    size, drawn = re.search(r"([\d.]+) MB", line), re.search(r"\*\*([\d.]+) s\*\* of its", line)
    assert float(size[1]) < 15
    assert float(drawn[1]) < 2
