"""Writes a report as text for a terminal or a file of a given width."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from io import StringIO

from rich.console import Console
from rich.style import Style, StyleType
from rich.text import Text

from benchmark.reporting.table import Advised, Report, Table, TableColumn
from benchmark.reporting.writers.cell_text import footnotes, text_column
from benchmark.reporting.writers.page import Page
from benchmark.reporting.writers.panels import TextColumn
from benchmark.reporting.writers.text_table import NARROWEST, table_lines, under_headings, wrap
from benchmark.text import encodable, plain

WIDEST_PROSE = 110
_STYLES = {"better": "green", "worse": "red", "not resolved": "yellow"}

_DIM = Style(dim=True)
_COMMAND = re.compile(r"`[^`]{1,40}`")
"""No line is broken within a short one, where it is shorter than a line."""
_KEPT = "\ue000"
"""Stands for a space that stays: a character that nobody uses, as wide as a space."""


def render(report: Report, page: Page) -> str:
    """The report as text; at least 24 columns are used."""
    encoding = page.encoding
    stream = StringIO()
    console = Console(
        file=stream,
        width=max(page.width, NARROWEST),
        force_terminal=page.color,
        # in a notebook rich would show each line by itself, and write nothing here
        force_jupyter=False,
        color_system="standard" if page.color else None,
        no_color=not page.color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    if report.answer:
        _print_prose(console, report.answer, encoding, style="")
    for index, table in enumerate(report.tables):
        if index or report.answer:
            console.print()
        _print_table(console, table, encoding)
    notes = [f"Measured on machine {report.machine}.", *report.notes] if report.machine else report.notes
    if notes:
        console.print()
        _print_prose(console, notes, encoding)
    text = stream.getvalue()
    return encodable("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding)


def _print_table(console: Console, table: Table, encoding: str) -> None:
    columns = [_text_column(table, column) for column in table.columns]
    heads = [texts for texts, column in zip(columns, table.columns, strict=True) if column.heads]
    if heads:
        # columns with `heads` are headings above the rows that share their values
        headings = [", ".join(texts) for texts in zip(*(column.texts for column in heads), strict=True)]
        columns = under_headings([texts for texts in columns if texts not in heads], headings)
    for line in table_lines(columns, console.width, encoding, plain(table.title)):
        # every line fits: rich need not look where to break it
        console.print(line, soft_wrap=True)
    console.print()
    _print_prose(console, [*footnotes(table), *table.notes], encoding)


def _text_column(table: Table, column: TableColumn) -> TextColumn:
    texts = text_column(table, column)
    if column.kind != "verdict":
        return texts
    return replace(texts, styles=tuple(_STYLES.get(text, "") for text in texts.texts))


def _print_prose(console: Console, texts: Iterable[str], encoding: str, *, style: StyleType = _DIM) -> None:
    room = min(console.width, WIDEST_PROSE)
    for text in Advised.shown(texts):
        safe = encodable(plain(text), encoding)
        together = _COMMAND.sub(lambda found: _kept_together(found[0], room), safe)
        for line in wrap(together, room, "  "):
            console.print(Text(line.replace(_KEPT, " "), style), soft_wrap=True)


def _kept_together(command: str, room: int) -> str:
    return command.replace(" ", _KEPT) if len(command) < room - 2 else command
