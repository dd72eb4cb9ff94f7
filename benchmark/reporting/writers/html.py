"""Writes a report as one self-contained HTML page without scripts, fonts or links.

The page is built as a tree and serialised, so that text can never become markup; its content security policy forbids
running scripts and loading anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from benchmark.reporting.table import Report, Row, Table, TableColumn
from benchmark.reporting.writers.cell_text import footnotes, heading, is_number, text_of
from benchmark.reporting.writers.page import Page
from benchmark.text import plain

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid; vertical-align: bottom; } td { border-bottom: 1px solid #8884; }
.number { text-align: right; } .better { color: #1a7f37; } .worse { color: #cf222e; } .not-resolved { color: #9a6700; }
@media (prefers-color-scheme: dark) {
  .better { color: #3fb950; } .worse { color: #ff7b72; } .not-resolved { color: #d29922; }
}
ul { padding-left: 1.2rem; font-size: .9rem; max-width: 60rem; }
"""


def render(report: Report, _page: Page) -> str:
    """The report as a whole HTML document in UTF-8."""
    html = ET.Element("html", lang="en")
    head = ET.SubElement(html, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    ET.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    title = "Report" + (f": machine {plain(report.machine)}" if report.machine else "")
    ET.SubElement(head, "title").text = title
    ET.SubElement(head, "style").text = _STYLE
    body = ET.SubElement(html, "body")
    ET.SubElement(body, "h1").text = title
    _add_content(body, report)
    return "<!DOCTYPE html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def fragment(report: Report) -> str:
    """The tables and notes alone, in the style of the page that they become part of, such as a notebook."""
    part = ET.Element("div")
    _add_content(part, report)
    return ET.tostring(part, encoding="unicode", method="html")


def _add_content(body: ET.Element, report: Report) -> None:
    for text in report.answer:
        ET.SubElement(body, "p").text = plain(text)
    for table in report.tables:
        _add_table(body, table)
    if report.notes:
        ET.SubElement(body, "h2").text = "Notes"
        _add_list(body, report.notes)


def _add_table(body: ET.Element, table: Table) -> None:
    ET.SubElement(body, "h2").text = plain(table.title)
    if table.rows:
        grid = ET.SubElement(ET.SubElement(body, "div", {"class": "wide"}), "table")
        line = ET.SubElement(ET.SubElement(grid, "thead"), "tr")
        for column in table.columns:
            ET.SubElement(line, "th", _class("number" if is_number(column) else "")).text = plain(heading(column))
        lines = ET.SubElement(grid, "tbody")
        for row in table.rows:
            _add_row(lines, table.columns, row)
    _add_list(body, [*footnotes(table), *table.notes])


def _add_row(lines: ET.Element, columns: Iterable[TableColumn], row: Row) -> None:
    line = ET.SubElement(lines, "tr")
    for column in columns:
        text = text_of(row, column)
        name = "number" if is_number(column) else ""
        if column.kind == "verdict" and text in {"better", "worse", "not resolved"}:
            name = text.replace(" ", "-")
        ET.SubElement(line, "td", _class(name)).text = text


def _class(name: str) -> dict[str, str]:
    return {"class": name} if name else {}


def _add_list(body: ET.Element, texts: Iterable[str]) -> None:
    listed = [plain(text) for text in texts]
    if listed:
        items = ET.SubElement(body, "ul")
        for text in listed:
            ET.SubElement(items, "li").text = text
