"""The formats: nothing that comes from a name becomes markup, a formula, an escape sequence or a broken table."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from benchmark.errors import StorageError, UserError
from benchmark.reporting.report import build_report
from benchmark.reporting.statistics.intervals import measure
from benchmark.reporting.table import Report, Row, Table, TableColumn
from benchmark.reporting.writers.formats import FORMATS, format_of_file, render, save
from benchmark.reporting.writers.markdown import escape
from benchmark.text import encodable, plain
from tests.reporting_samples import SPEC, row, tour

DOCS = Path(__file__).resolve().parent.parent / "docs"
HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "</table><h1>x", "<!-- x",
    "&lt;b&gt;", "a|b", "a\\|b", "`code`", "**bold**", "_em_", "~~gone~~", "[x](http://evil)", "![x](http://evil)",
    "http://evil.example", "www.evil.example", "<http://evil>", "me@evil.example", "@everyone", "# heading", "- item",
    "1. item", "> quote", "a\nb", "a\r\nb", "\ttab", "\x1b[31mred\x1b[0m", "\x1b]8;;http://evil\x07x", "\x9b31m",
    "\u202egpj.exe", "\u2066x\u2069", "a\u2028b", "=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\r=1", "' =1",
    "$lr_{x$", "resnet[v2]", "net[/]", "[bold]x[/bold]", ":smile:", "%s{0}", "\\input{x}", "\ud800", "日本語モデル",
    "👨‍👩‍👧‍👦", "e\u0301" * 20, "x" * 300, "", " ", "\x00", '"quoted"', "a,b;c", "\ufeffbom", "$$x^2$$", "^[a",
]  # fmt: skip


def report_with(name):
    """The name wherever a name can stand: in keys, footnotes, answer, notes, title and machine."""
    columns = (
        TableColumn("dataset", "dataset", "text", identifies=True, heads=True),
        TableColumn("strategy", "strategy", "text", identifies=True),
        TableColumn("label", "label", "text"),
        TableColumn("test_accuracy", "test accuracy", "accuracy"),
    )
    cells = {"dataset": name, "strategy": name, "label": name, "test_accuracy": measure([0.5, -0.25])}
    rows = (Row(cells, {"label": (0,)}, remark=name), Row({**cells, "dataset": "other"}))
    table = Table("summary", f"Summary of {name}", columns, rows, {"about": name}, (f"why {name}",), (name,))
    return Report((table,), (name,), name, answer=(f"{name} is better.", name))


NAMES = st.sampled_from(HOSTILE) | st.text(max_size=40) | st.text("|`<[*_\n\\#-+=@\x1b'\"&>~$:/w. ", max_size=20)


@given(NAMES)
def test_no_format_lets_a_control_character_through(name):
    report = report_with(name)
    for output_format in FORMATS:
        text = render(report, output_format)
        found = re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
        assert not found, output_format
        text.encode("utf-8")


@given(NAMES)
def test_markdown_shows_every_name_as_text(name):
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(render(report_with(name), "markdown"))
    blocks = [token.type for token in tokens if token.type.endswith("_open")]
    assert blocks.count("heading_open") == 3
    assert blocks.count("table_open") == 1
    assert blocks.count("tr_open") == 3
    assert blocks.count("td_open") == 8
    assert blocks.count("bullet_list_open") == 2
    assert not {"blockquote_open", "ordered_list_open"} & set(blocks)
    assert "html_block" not in [token.type for token in tokens]
    inline = {child.type for token in tokens for child in token.children or ()}
    assert inline <= {"text", "text_special", "softbreak"}, inline


@given(NAMES)
def test_what_markdown_shows_is_the_name(name):
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(f"x {escape(name)} x")
    shown = "".join(child.content for child in tokens[1].children or ())
    assert " ".join(shown.split()) == " ".join(f"x {plain(name)} x".split())


def test_markdown_makes_no_link_of_a_bare_address():
    for name in ("http://evil.example", "www.evil.example", "me@evil.example", "HTTPS://x.y", "xmpp:a@b"):
        shown = escape(name)
        assert "://" not in shown
        assert "www." not in shown.lower()
        assert "@" not in shown


class Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.data = set(), {}, []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(attrs)

    def handle_data(self, data):
        self.data.append(data)


@given(NAMES)
def test_html_holds_no_element_that_we_did_not_write(name):
    parser = Parser()
    parser.feed(render(report_with(name), "html"))
    allowed = {"html", "head", "meta", "title", "style", "body", "a", "header", "h1", "h2", "nav", "main", "section", "div", "p", "span",
               "strong", "label", "input", "output", "button", "table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li", "script"}  # fmt: skip
    assert parser.tags <= allowed
    assert set(parser.attributes) <= {
        "lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "tabindex", "role", "scope", "type", "placeholder",
        "autocomplete", "aria-label", "aria-labelledby", "aria-sort", "data-sort", "data-filters", "data-counts", "data-saves",
    }  # fmt: skip
    assert plain(name) in "".join(parser.data)


def test_html_allows_its_own_script_and_style_alone():
    text = render(report_with("x"), "html")
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(f"(?s)<{tag}>(.*?)</{tag}>", text)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@given(NAMES)
def test_csv_is_rectangular_and_holds_no_formula(name):
    lines = list(csv.reader(io.StringIO(render(report_with(name), "csv"))))
    assert {len(line) for line in lines} == {len(lines[0])}
    numbers = [
        index for index, key in enumerate(lines[0]) if key.endswith(("_mean", "_half_width", "_low", "_high", "_n"))
    ]
    for line in lines[1:]:
        assert float(line[numbers[0]]) == 0.125
        texts = [field for index, field in enumerate(line) if index not in numbers]
        assert not [field for field in texts if field.lstrip().startswith(("=", "+", "-", "@"))]


def test_csv_does_not_touch_negative_numbers():
    table = Table(
        "t", "t", (TableColumn("p", "p", "p"), TableColumn("x", "x", "text")), (Row({"p": -0.5, "x": "-0.5"}),)
    )
    assert render(Report((table,)), "csv").splitlines()[1] == "t,1,-0.5,'-0.5,"


def test_csv_reads_as_one_typed_frame():
    import pandas as pd

    rows, run_cells = tour()
    frame = pd.read_csv(io.StringIO(render(build_report(rows, run_cells, SPEC), "csv")))
    summary = frame[frame["table"] == "summary"]
    assert len(summary) == 10
    assert summary["test_accuracy_mean"].dtype == float
    assert summary["n"].sum() == 26
    assert "2 failed" in str(summary["remark"].tolist())
    assert set(frame["table"]) == {"summary", "transfer", "progression"}


@given(NAMES)
def test_json_keeps_every_name_exactly(name):
    text = render(report_with(name), "json")
    assert text.isascii()
    document = json.loads(text)
    assert document["tables"][0]["rows"][0]["strategy"] == name
    assert document["tables"][0]["rows"][0]["test_accuracy"]["values"] == [0.5, -0.25]


@given(st.lists(st.floats(), min_size=1, max_size=4))
def test_json_says_which_numbers_are_not_finite(values):
    table = Table("t", "t", (TableColumn("x", "x", "loss"),), (Row({"x": measure(values)}),))

    def refuse(text):
        raise AssertionError(text)

    document = json.loads(render(Report((table,)), "json"), parse_constant=refuse)
    found = document["tables"][0]["rows"][0]["x"]
    if all(map(math.isfinite, values)):
        assert found["values"] == values
    else:
        assert found["mean"] is None
        assert found["nonfinite"]["mean"] in {"nan", "inf", "-inf"}


@given(NAMES, st.integers(1, 200))
def test_a_terminal_line_is_never_wider_than_the_terminal(name, width):
    lines = render(report_with(name), "table", width=width).splitlines()
    assert max(map(cell_len, lines)) <= max(width, 24)


@pytest.mark.parametrize("width", [24, 30, 40, 50, 60, 80, 100, 120, 200, 10_000])
def test_numbers_are_whole_at_every_width(width):
    rows, run_cells = tour()
    report = build_report(rows, run_cells, SPEC)
    text = render(report, "table", width=width)
    tables = render(replace(report, answer=()), "table", width=10_000)
    wide = re.findall(r"\S+ ± \S+", tables.split("Which step")[0])
    for number in wide:
        assert number in text


def test_a_terminal_without_unicode_gets_ascii():
    rows, run_cells = tour()
    text = render(build_report(rows, run_cells, SPEC), "table", width=80, encoding="ascii")
    assert text.isascii()
    assert "+/-" in text
    assert "?" not in text.replace("return?", "")
    assert max(map(len, text.splitlines())) <= 80


def test_colour_is_written_only_when_asked_for():
    rows, run_cells = tour()
    report = build_report(rows, run_cells, SPEC)
    assert "\x1b" not in render(report, "table")
    colored = render(report, "table", color=True)
    assert "\x1b[32mbetter" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored).replace(" ", "") == render(report, "table").replace(" ", "")


@pytest.mark.parametrize("output_format", ["markdown", "csv", "table"])
def test_text_formats_obey_an_encoding(output_format):
    assert render(report_with("日本 ±"), output_format, encoding="ascii").isascii()


def test_unknown_formats_are_refused_by_name():
    with pytest.raises(UserError, match="expected one of table, markdown"):
        render(Report(()), "yaml")


@given(st.text())
def test_plain_text_is_stable(text):
    assert plain(plain(text)) == plain(text)
    assert encodable(plain(text), "ascii").isascii()


def test_a_report_is_saved_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "report.md"
    path.write_text("old")
    save("new ±\n", path)
    assert path.read_text(encoding="utf-8") == "new ±\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_report_stays_when_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "report.md"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        save("\ud800", path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_never_replaces_a_database_or_a_directory(tmp_path):
    database = tmp_path / "mine.results"
    database.write_text("precious")
    (tmp_path / "link").symlink_to(database)
    for path in (tmp_path, database, tmp_path / "link", tmp_path / "results.sqlite"):
        with pytest.raises(UserError, match="expected a file"):
            save("text", path, protected=[database])
    assert database.read_text() == "precious"


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        save("text", tmp_path / "no" / "report.md")


def test_a_large_report_is_written_in_time():
    import time

    rows = [row(f"s{number}", seed, 0.9) for number in range(600) for seed in (0, 1)]
    start = time.process_time()
    render(build_report(rows, [], None), "table", width=120)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [("r.md", "markdown"), ("R.HTML", "html"), ("r.htm", "html"), ("r.csv", "csv"), ("r.json", "json"), ("r.tex", "latex"),
     ("r.txt", "table"), ("r", "table")],
)  # fmt: skip
def test_the_ending_of_a_file_asks_for_its_format(name, expected):
    assert format_of_file(Path(name)) == expected


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_every_format_of_the_register_is_offered_and_described(verb):
    command = importlib.import_module(f"benchmark.cli.commands.{verb}").command
    (offered,) = [option.type.choices for option in command.params if option.name == "output_format"]
    described = re.findall(r"^\| `(\w+)` \|", (DOCS / "report.md").read_text().partition("## Formats")[2], re.MULTILINE)
    assert list(offered) == list(FORMATS)
    assert set(described) >= set(FORMATS)
