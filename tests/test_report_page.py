"""The page of a report, as markup: what stands where, what each cell tells, and that it is harmless."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from cli_workplace import Workplace

from benchmark.reporting.html_page.cell_parts import cell_metrics
from benchmark.reporting.rows.metrics import Metric

MATRIX = """
[matrix]
name = "rehearsal <&>"
dataset = "digits"
model = "simple_cnn"
strategy = ["scratch", "regularized", "failing"]
seed = [0, 1]
backend = "fake"

[defaults]
epochs = 3

[strategy.failing]
extends = "scratch"
batch_size = 48

[report]
progression = [["scratch", "regularized"]]
"""


class Tree(HTMLParser):
    """Elements in their order: tag, attributes, and the text within."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = (tag, {name: value or "" for name, value in attrs}, [])
        self.elements.append(element)
        if tag not in {"meta", "input", "img", "br"}:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, f"</{tag}> closes <{self.open[-1][0]}>"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element[2].append(data)

    def all(self, *tags: str) -> list[tuple[str, dict[str, str], str]]:
        return [(tag, attributes, "".join(text)) for tag, attributes, text in self.elements if tag in tags]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Workplace:
    """A matrix of which two cells have failed, and one strategy was never begun."""
    place = Workplace(tmp_path_factory.mktemp("page"))
    place.write(MATRIX)
    done = place.call("run", "--select", "strategy=scratch|regularized")
    assert done.exit_code == 0, done.stderr
    done = place.call("run", "--select", "strategy=failing,seed=0", BENCH_FAULT="evaluate:1:full_gpu")
    assert done.exit_code == 3, done.stderr
    return place


@pytest.fixture(scope="module")
def page(place) -> str:
    done = place.call("report", "--format", "html", "--no-pictures")
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tree(page) -> Tree:
    return Tree(page)


def test_title_and_heading_name_the_matrix(tree):
    assert "rehearsal <&>" in tree.all("title")[0][2]
    assert [text for _, _, text in tree.all("h1")] == ["rehearsal <&>"]


def test_the_head_tells_when_where_and_with_what(tree):
    facts = {text for _, _, text in tree.all("dt")}
    assert {"made", "machine", "measured", "runs", "cells", "bench", "Python"} <= facts


def test_answer_and_verdicts_stand_before_the_first_table(page):
    before = page[: page.index("<table")]
    assert 'class="answer"' in before
    assert re.search(r"(better|worse|not resolved|equivalent)", before[before.index('id="verdicts"') :])


def test_a_verdict_at_the_top_says_on_what_it_is_and_of_how_many_seeds(tree):
    ((_, _, listed),) = [element for element in tree.all("ul") if element[1].get("class") == "verdicts"]
    assert re.search(r"regularized, change in test accuracy: .* \(n=2\)", listed), listed


def test_what_is_judged_stands_beside_the_names_of_its_rows(page):
    table = page[page.index('id="table-1"') :].split("</thead>")[0]
    titles = re.findall(r"<button[^>]*>([^<]*)</button>", table)
    assert titles[titles.index("n") + 1] == "test accuracy"


def test_a_page_without_a_result_still_names_its_matrix_and_run(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    assert place.call("run", "--select", "strategy=failing,seed=0", BENCH_FAKE_DIVERGES="2").exit_code == 0
    tree = Tree(place.call("report", "--format", "html", "--no-pictures").stdout)
    assert tree.all("h1")[0][2] == "rehearsal <&>"
    assert "runs" in {text for _, _, text in tree.all("dt")}
    assert "Means are" not in "".join(text for _, _, text in tree.all("li"))
    # one cell is compared with nothing
    assert not [attributes for _, attributes, _ in tree.all("section") if attributes.get("id") == "explore"]


def test_a_metric_of_the_user_s_own_is_among_the_columns_of_cells_and_what_is_judged_the_first():
    own = Metric("test_g_mean", "test g mean", "score", higher_is_better=True)
    rows = [{"test_accuracy": 0.5, "test_g_mean": 0.4, "fit_seconds": 1.0}]
    assert [each.key for each in cell_metrics(rows, (own,))] == ["test_g_mean", "test_accuracy", "fit_seconds"]


def test_every_table_has_a_caption_and_headings_with_a_scope(page, tree):
    assert page.count("<table") == page.count("<caption") > 3
    assert all(attributes.get("scope") in {"col", "row"} for _, attributes, _ in tree.all("th"))


def test_tables_sort_and_filter_and_scroll_by_keyboard(page, tree):
    assert re.findall(r'<th scope="col"[^>]* aria-sort="none"><button type="button">', page)
    assert [attributes for _, attributes, _ in tree.all("input") if attributes["type"] == "search"]
    assert all(
        attributes["tabindex"] == "0"
        for _, attributes, _ in tree.all("div")
        if attributes.get("class", "").startswith("wide")
    )


def test_each_cell_that_was_begun_has_a_part_that_a_row_leads_to(place, tree):
    targets = [attributes["href"] for _, attributes, _ in tree.all("a") if "#cell-" in attributes["href"]]
    parts = [f"#{attributes['id']}" for _, attributes, _ in tree.all("section") if attributes.get("class") == "cell"]
    begun = [cell["cell_id"] for cell in place.document("list", "cells") if cell["status"] != "pending"]
    assert len(begun) == 5
    assert targets == parts
    assert sorted(parts) == sorted(f"#cell-{cell_id}" for cell_id in begun)


def test_a_part_marks_the_settings_that_differ_from_the_default(tree):
    rows = [text for _, attributes, text in tree.all("tr") if attributes.get("class") == "changed"]
    assert "epochs310" in rows
    assert "batch_size4864" in rows
    assert any(
        "precision = float32" in text for _, attributes, text in tree.all("p") if attributes.get("class") == "defaults"
    )


def test_a_part_has_history_charts_and_environment(page, tree):
    histories = [text for _, attributes, text in tree.all("table") if attributes.get("class") == "plain history"]
    assert len(histories) == 5
    assert all(text.count("\n") > 3 for text in histories)
    assert page.count('<figure class="curve">') >= 5
    assert {"Python", "system", "timing counts"} <= {text for _, _, text in tree.all("dt")}
    assert "validation (solid)" in page
    assert page.count("The kept epoch is marked, in the charts by a dotted line.") == 5


def test_a_failed_cell_shows_why_with_log_and_traceback(tree):
    (failed,) = [
        text for _, attributes, text in tree.all("section") if attributes.get("class") == "cell" and "failed" in text
    ]
    assert "Traceback (most recent call last)" in failed
    logs = [text for _, attributes, text in tree.all("pre")]
    assert logs
    assert all(text.count("\n") < 50 for text in logs if "Traceback" not in text)


def test_ids_are_distinct_and_nothing_carries_a_style_or_a_handler(page, tree):
    ids = [
        attributes["id"] for _, attributes, _ in tree.all(*{tag for tag, _, _ in tree.elements}) if "id" in attributes
    ]
    assert len(ids) == len(set(ids))
    names = {name for _, attributes, _ in tree.elements for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]


def test_a_comparison_is_such_a_page_too(place):
    text = place.call("compare", "strategy=scratch", "strategy=regularized", "--format", "html").stdout
    tree = Tree(text)
    assert tree.all("h1")[0][2] == "rehearsal <&>"
    assert {"machine", "measured", "runs", "bench", "Python"} <= {words for _, _, words in tree.all("dt")}
    assert text.index('class="answer"') < text.index("<table")


def test_a_page_of_named_tables_has_these_alone(place):
    text = place.call("report", "--format", "html", "--table", "summary").stdout
    assert text.count("<table id=") == 1
    assert "rehearsal &lt;&amp;&gt;" in text
    assert 'id="cells"' not in text


def test_check_minds_no_time_of_making(place):
    assert place.call("report", "--output", "page.html", "--no-pictures").exit_code == 0
    file = place.directory / "page.html"
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"<time .*</time>", "<time>another day</time>", text), encoding="utf-8")
    done = place.call("report", "--check", "page.html", "--no-pictures")
    assert done.exit_code == 0, done.stderr
    file.write_text(text.replace("scratch", "scrotch"), encoding="utf-8")
    assert place.call("report", "--check", "page.html", "--no-pictures").exit_code == 2
