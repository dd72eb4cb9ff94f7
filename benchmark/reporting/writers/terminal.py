"""A report for a terminal of a given width. Numbers are never cut: what does not fit goes into a further panel."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from benchmark.reporting.table import Column, Report, Table
from benchmark.reporting.writers.cell_text import footnotes, heading, is_number, text_of
from benchmark.reporting.writers.panels import GAP, Panel, Strip, fold, total
from benchmark.text import can_encode, encodable, plain

NARROWEST = 24
WIDEST_PROSE = 110
_STYLES = {"better": "green", "worse": "red", "not resolved": "yellow"}


def render(report: Report, *, width: int = 100, color: bool = False, encoding: str = "utf-8") -> str:
    """The report as text.

    Args:
        report: What to print.
        width: Columns of the terminal; at least 24 are used.
        color: Whether escape sequences for colours may be written.
        encoding: What the terminal understands: without `±` or lines of a box, ASCII takes their place.
    """
    width = max(width, NARROWEST)
    stream = StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    for index, table in enumerate(report.tables):
        if index:
            console.print()
        _print_table(console, table, encoding)
    machine = [f"Measured on machine {report.machine}."] if report.machine else []
    if machine or report.notes:
        console.print()
        _print_prose(console, [*machine, *report.notes], encoding)
    text = stream.getvalue()
    return encodable("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding)


def _print_table(console: Console, table: Table, encoding: str) -> None:
    strips = [_strip(table, column, encoding) for column in table.columns]
    panels = fold(_under_headings(table, strips), console.width) if table.rows else []
    for number, panel in enumerate(panels, start=1):
        part = f" ({number} of {len(panels)})" if len(panels) > 1 else ""
        _print_title(console, table.title + part, encoding)
        _print_grid(console, panel, encoding)
        console.print()
    if not panels:
        _print_title(console, table.title, encoding)
        _print_records(console, strips, len(table.rows))
    _print_prose(console, [*footnotes(table), *table.notes], encoding)


def _under_headings(table: Table, strips: Sequence[Strip]) -> list[Strip]:
    """Columns that may head others become lines of their own above the rows that share their values."""
    heads = [strip for strip, column in zip(strips, table.columns, strict=True) if column.heads]
    rest = [strip for strip, column in zip(strips, table.columns, strict=True) if not column.heads]
    if not heads:
        return list(strips)
    headings = [", ".join(texts) for texts in zip(*(strip.texts for strip in heads), strict=True)]
    first, *others = rest
    indented = replace(
        first,
        texts=tuple(f"  {text}" for text in first.texts),
        headings={index: text for index, text in enumerate(headings) if index == 0 or headings[index - 1] != text},
    )
    return [indented, *others]


def _print_title(console: Console, title: str, encoding: str) -> None:
    console.print(Text(encodable(plain(title), encoding), Style(bold=True)))


def _strip(table: Table, column: Column, encoding: str) -> Strip:
    texts = tuple(encodable(text_of(row, column), encoding) for row in table.rows)
    return Strip(heading(column), texts, is_number(column), column.kind == "verdict", column.identifies)


def _print_grid(console: Console, panel: Panel, encoding: str) -> None:
    """Headings of the columns, a rule, and a line for each row; a heading of rows runs across all columns."""
    titles = [textwrap.wrap(strip.title, width, break_long_words=False) or [""] for strip, width in panel]
    height = max(map(len, titles))
    for index in range(height):
        shown = [_piece(title, index - height + len(title)) for title in titles]
        console.print(_line(panel, [Text(text, Style(bold=True)) for text in shown]))
    rule = "─" if can_encode("─", encoding) else "-"
    console.print(Text(rule * total([width for _, width in panel]), Style(dim=True)))
    for number in range(len(panel[0][0].texts)):
        heading = panel[0][0].headings.get(number)
        if heading is not None:
            console.print(Text(heading, Style(bold=True)), overflow="fold")
        for line in _lines_of(console, panel, number):
            console.print(line)


def _piece(lines: Sequence[str], index: int) -> str:
    return lines[index] if 0 <= index < len(lines) else ""


def _lines_of(console: Console, panel: Panel, number: int) -> list[Text]:
    """One row of the table; more than one line when a text wraps."""
    wrapped = [_wrapped(console, strip, strip.texts[number], width) for strip, width in panel]
    height = max(map(len, wrapped))
    padded = [[*lines, *[Text("")] * (height - len(lines))] for lines in wrapped]
    return [_line(panel, list(texts)) for texts in zip(*padded, strict=True)]


def _wrapped(console: Console, strip: Strip, text: str, width: int) -> list[Text]:
    styled = Text(text, style=_STYLES.get(text, "") if strip.is_verdict else "")
    if cell_len(text) <= width:
        return [styled]
    indent = " " * (len(text) - len(text.lstrip()))
    lines = Text(text.strip()).wrap(console, width - len(indent), overflow="fold")
    return [Text(indent + line.plain.rstrip()) for line in lines]


def _line(panel: Panel, texts: Sequence[Text]) -> Text:
    line = Text()
    for position, ((strip, width), text) in enumerate(zip(panel, texts, strict=True)):
        space = " " * max(0, width - cell_len(text.plain))
        line.append(" " * GAP if position else "")
        line.append_text(Text(space) + text if strip.is_number else text + Text(space))
    return line


def _print_records(console: Console, strips: Sequence[Strip], rows: int) -> None:
    """Each row as a block of `name: value` lines, for a terminal too narrow for any table."""
    for index in range(rows):
        for strip in strips:
            line = f"{strip.title}: {strip.texts[index]}"
            parts = [line] if cell_len(line) <= console.width else [f"{strip.title}:", f"  {strip.texts[index]}"]
            for part in parts:
                console.print(Text(part), overflow="fold")
        console.print()


def _print_prose(console: Console, texts: Iterable[str], encoding: str) -> None:
    for text in texts:
        safe = encodable(plain(text), encoding)
        lines = textwrap.wrap(safe, min(console.width, WIDEST_PROSE), subsequent_indent="  ")
        for line in lines:
            console.print(Text(line, Style(dim=True)), overflow="fold")
