"""Writes a report for a terminal of a given width; columns that do not fit go into further panels, numbers are never cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import StringIO
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style, StyleType
from rich.text import Text

from benchmark.reporting.table import Advised, Report, Table
from benchmark.reporting.writers.cell_text import footnotes, heading, is_number, text_of
from benchmark.reporting.writers.page import Page
from benchmark.reporting.writers.panels import GAP, Panel, TextColumn, fold, total
from benchmark.text import can_encode, encodable, plain

NARROWEST = 24
WIDEST_PROSE = 110
_STYLES = {"better": "green", "worse": "red", "not resolved": "yellow"}

_DIM = Style(dim=True)


def render(report: Report, page: Page) -> str:
    """The report as text; at least 24 columns are used."""
    encoding = page.encoding
    stream = StringIO()
    console = Console(
        file=stream,
        width=max(page.width, NARROWEST),
        force_terminal=page.color,
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
    columns = [
        TextColumn(
            heading(column),
            tuple(encodable(text_of(row, column), encoding) for row in table.rows),
            is_number(column),
            column.kind == "verdict",
            column.identifies,
        )
        for column in table.columns
    ]
    panels = fold(_under_headings(table, columns), console.width) if table.rows else []
    for number, panel in enumerate(panels, start=1):
        part = f" ({number} of {len(panels)})" if len(panels) > 1 else ""
        _print_title(console, table.title + part, encoding)
        _print_grid(console, panel, encoding)
        console.print()
    if not panels:
        _print_title(console, table.title, encoding)
        _print_records(console, columns, len(table.rows))
    _print_prose(console, [*footnotes(table), *table.notes], encoding)


def _under_headings(table: Table, columns: Sequence[TextColumn]) -> list[TextColumn]:
    """Turn columns with `heads` into headings above the rows that share their values."""
    heads = [texts for texts, column in zip(columns, table.columns, strict=True) if column.heads]
    if not heads:
        return list(columns)
    headings = [", ".join(texts) for texts in zip(*(column.texts for column in heads), strict=True)]
    first, *others = [texts for texts, column in zip(columns, table.columns, strict=True) if not column.heads]
    indented = replace(
        first,
        texts=tuple(f"  {text}" for text in first.texts),
        headings={index: text for index, text in enumerate(headings) if index == 0 or headings[index - 1] != text},
    )
    return [indented, *others]


def _print_title(console: Console, title: str, encoding: str) -> None:
    console.print(Text(encodable(plain(title), encoding), Style(bold=True)))


def _print_grid(console: Console, panel: Panel, encoding: str) -> None:
    """Print column headings, a rule, and each row; headings of rows run across all columns."""
    titles = [textwrap.wrap(column.title, width, break_long_words=False) or [""] for column, width in panel]
    height = max(map(len, titles))
    for index in range(height):
        # titles end on the last line: shorter ones begin lower
        shown = [title[offset] if (offset := index - height + len(title)) >= 0 else "" for title in titles]
        console.print(_line(panel, [Text(text, Style(bold=True)) for text in shown]))
    rule = "─" if can_encode("─", encoding) else "-"
    console.print(Text(rule * total([width for _, width in panel]), _DIM))
    for number in range(len(panel[0][0].texts)):
        heading = panel[0][0].headings.get(number)
        if heading is not None:
            console.print(Text(heading, Style(bold=True)), overflow="fold")
        # more than one line when a text wraps
        wrapped = [_wrapped(console, column, column.texts[number], width) for column, width in panel]
        for texts in zip_longest(*wrapped, fillvalue=Text("")):
            # every line fits: rich need not look where to break it
            console.print(_line(panel, texts), soft_wrap=True)


def _wrapped(console: Console, column: TextColumn, text: str, width: int) -> list[Text]:
    styled = Text(text, style=_STYLES.get(text, "") if column.is_verdict else "")
    if cell_len(text) <= width:
        return [styled]
    indent = " " * (len(text) - len(text.lstrip()))
    lines = Text(text.strip()).wrap(console, width - len(indent), overflow="fold")
    return [Text(indent + line.plain.rstrip()) for line in lines]


def _line(panel: Panel, texts: Sequence[Text]) -> Text:
    parts: list[str | tuple[str, StyleType]] = []
    for position, ((column, width), text) in enumerate(zip(panel, texts, strict=True)):
        space = " " * max(0, width - cell_len(text.plain))
        before, after = (space, "") if column.is_number else ("", space)
        parts += [" " * GAP * bool(position) + before, (text.plain, text.style), after]
    return Text.assemble(*parts)


def _print_records(console: Console, columns: Sequence[TextColumn], rows: int) -> None:
    """Each row as a block of `name: value` lines, for a terminal too narrow for any table."""
    for index in range(rows):
        for column in columns:
            line = f"{column.title}: {column.texts[index]}"
            parts = [line] if cell_len(line) <= console.width else [f"{column.title}:", f"  {column.texts[index]}"]
            for part in parts:
                console.print(Text(part), overflow="fold")
        console.print()


def _print_prose(console: Console, texts: Iterable[str], encoding: str, *, style: StyleType = _DIM) -> None:
    for text in texts:
        whole = " ".join(filter(None, [text, text.advice if isinstance(text, Advised) else ""]))
        safe = encodable(plain(whole), encoding)
        lines = textwrap.wrap(safe, min(console.width, WIDEST_PROSE), subsequent_indent="  ")
        for line in lines:
            console.print(Text(line, style), overflow="fold")
