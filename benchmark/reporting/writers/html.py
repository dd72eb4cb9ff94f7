"""Writes a report as one HTML page that needs nothing from outside: tables, figures and cells, with one script and style.

Every text passes `plain` and is escaped by the templates, so that no name becomes markup; the page's policy allows the
script and the style of `templates/` by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark import units
from benchmark.files import sha256_of
from benchmark.reporting.notation import written
from benchmark.reporting.page_content import CellPart, Epochs, Measure, PageContent
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Published, Qualified, Report, Row, Table, TableColumn, Tally, Value
from benchmark.reporting.writers.cell_text import footnotes, heading, is_number, kind_of, text_of
from benchmark.reporting.writers.curve_svg import chart
from benchmark.reporting.writers.page import Page
from benchmark.reporting.writers.paper import paper_parts
from benchmark.text import plain, printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_SCRIPT = ("tables.js", "chart.js", "cell_charts.js", "cells.js")
MOST_VERDICTS = 12
"""So many are listed at the top of a page; all stand in the tables."""
LONGEST_WORD = 28
"""A longer word is broken, wherever it must be: it would push the numbers out of sight."""
_INTERVAL = re.compile(r"(?:[+\u2212-]?[\d.,]+ )?± [\d.,]*\d")
_JUDGED = {"better", "worse", "equivalent", "not resolved", "not comparable"}


class Field(NamedTuple):
    """A cell of a table: its text, what it is sorted by, and its classes."""

    text: str
    sort: str = ""
    style: str = ""


class VerdictLine(NamedTuple):
    """A verdict in words."""

    about: str
    what: str
    figure: str
    verdict: str


def render(report: Report, _page: Page) -> str:
    """The report as a whole HTML document in UTF-8."""
    environment = _environment()
    style, script = _text("page.css"), _script()
    report = replace(report, tables=tuple(map(_judged_first, report.tables)))
    content = report.page or PageContent()
    document = environment.get_template("page.html").render(
        report=report,
        page=content,
        title=_title(report, content),
        policy=_markup(
            f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'"
        ),
        style=_markup(style),
        script=_markup(script),
        verdicts=list(_verdicts(report.tables)),
        most_verdicts=MOST_VERDICTS,
    )
    return document.strip() + "\n"


def fragment(report: Report) -> str:
    """The tables and notes alone, in the style of the page that they become part of, such as a notebook."""
    return _environment().get_template("fragment.html").render(report=report).strip()


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("benchmark.reporting.writers"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # what is markup already is left as it is
        finalize=lambda value: plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.globals.update(
        fields=_fields, heading=heading, is_number=is_number, footnotes=footnotes, epoch_rows=_epoch_rows, chart=chart,
        picture=Markup, cell_fields=_cell_fields, percent=_percent, is_long=is_long, telling=_telling,
        most_distinct=most_distinct, paper_parts=paper_parts,
    )  # fmt: skip
    environment.filters.update(lines=lambda text: Markup.escape(printable(text)), minute=units.minute, whole=_whole)
    return environment


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  our own words, style and script


@cache
def _text(name: str) -> str:
    folder = resources.files("benchmark.reporting.writers") / "templates"
    # a browser takes the hash of what stands between the tags
    return folder.joinpath(name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    """The script of a page, whose parts share one scope."""
    return f'(() => {{\n"use strict";\n{"".join(map(_text, _SCRIPT))}}})();\n'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(bytes.fromhex(sha256_of(text.encode()))).decode()}'"


def _title(report: Report, content: PageContent) -> str:
    if content.name:
        return content.name
    return "Report" + (f": machine {report.machine}" if report.machine else "")


def _whole(text: str) -> Markup:
    """A text as markup, in which no line ends within a number and its interval."""
    from markupsafe import Markup

    return _markup(_INTERVAL.sub(r'<span class="result">\g<0></span>', str(Markup.escape(plain(text)))))


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %" if of else "-"


def _verdicts(tables: Iterable[Table]) -> Iterator[VerdictLine]:
    """All verdicts of a report, each with what it is about and its number."""
    for table in tables:
        judged = [column for column in table.columns if column.kind == "verdict"]
        for row in table.rows:
            for column in judged:
                verdict = text_of(row, column)
                if any(verdict.startswith(word) for word in _JUDGED):
                    named = [text_of(row, each) for each in table.columns if each.identifies and not is_number(each)]
                    yield VerdictLine(f"{table.title}: {', '.join(named)}", *_difference(row, table.columns), verdict)


def is_long(text: str) -> bool:
    """Whether a text has a word that must be broken."""
    return any(len(word) > LONGEST_WORD for word in text.split())


def _difference(row: Row, columns: Sequence[TableColumn]) -> tuple[str, str]:
    """What a verdict is on, and the difference with its interval and n; both empty without one."""
    for column in columns:
        value = row.cells.get(column.key)
        if isinstance(value, Difference):
            return plain(column.title), f"{written(value, kind_of(row, column), known_n=value.n)} (n={value.n})"
    return "", ""


def _judged_first(table: Table) -> Table:
    """The table with what is judged beside the names of its rows: a screen may be too narrow for all columns."""
    return replace(table, columns=tuple(sorted(table.columns, key=lambda column: column.rank > 0)))


def _fields(table: Table, row: Row, telling: int) -> list[Field]:
    return [_field(row, column, tells=place == telling) for place, column in enumerate(table.columns)]


def _telling(table: Table) -> int:
    """The place of the column that tells rows apart best."""
    names = [place for place, column in enumerate(table.columns) if column.identifies and not is_number(column)]
    rows = [[text_of(row, table.columns[place]) for place in names] for row in table.rows]
    return names[most_distinct(rows)] if names else 0


def most_distinct(rows: Iterable[Sequence[str]]) -> int:
    """The place at which rows of names differ most, the last of several."""
    distinct = [len(set(names)) for names in zip(*rows, strict=True)]
    return max(range(len(distinct)), key=lambda place: (distinct[place], place), default=0)


def _field(row: Row, column: TableColumn, *, tells: bool) -> Field:
    text = text_of(row, column)
    classes = ["number"] if is_number(column) else ["text"]
    if column.identifies:
        classes.append("name")
    if tells:
        classes.append("tells")
    if classes[0] == "text" and is_long(text):
        classes.append("long")
    if column.kind == "verdict":
        classes += ["verdict", *(word.replace(" ", "-") for word in sorted(_JUDGED) if text.startswith(word))]
    return Field(text, sort_key(row.cells.get(column.key), column), " ".join(classes))


def sort_key(value: Value, column: TableColumn) -> str:
    """What a script sorts a cell by: a number as text; empty where that is the text itself."""
    match value:
        case Measurement():
            number: Any = max(value.values) if column.kind == "bytes" else value.mean
        case Difference():
            number = value.mean
        case Tally():
            number = value.completed
        case Published():
            number = value.value
        case Qualified() | str() | None:
            return ""
        case _:
            number = value
    return repr(float(number)) if isinstance(number, int | float) and math.isfinite(number) else ""


def _cell_fields(cell: CellPart, columns: Sequence[Measure]) -> Iterator[Field]:
    for (value, text), column in zip(cell.values, columns, strict=True):
        style = "text" if isinstance(value, str) else "number"
        sort = repr(value) if isinstance(value, float) and math.isfinite(value) else ""
        yield Field(text, sort, f"{style} more" if column.screen_only else style)


def _epoch_rows(epochs: Epochs) -> Markup:
    """The rows of a history: numbers alone, of which a page may have a hundred thousand."""
    kept = ' class="kept"'
    return _markup(
        "\n".join(
            f"<tr{kept if number == epochs.kept else ''}><td>{'</td><td>'.join(row)}</td></tr>"
            for number, row in enumerate(epochs.rows)
        )
    )
