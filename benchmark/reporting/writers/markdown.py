"""Writes a report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

from benchmark.reporting.table import Report, Table
from benchmark.reporting.writers.cell_text import footnotes, heading, is_number, text_of
from benchmark.reporting.writers.page import Page
from benchmark.text import encodable, plain

_SPECIAL = re.compile(r"[\\`*|\[\]{}~$]")
# an underscore begins emphasis at the edge of a word only; inside a word it stays readable
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_LINKS = re.compile(r"(?i)(://|\bwww\.|\bmailto:|\bxmpp:)")
_BLOCK_START = re.compile(r"^(\s*)(\d*)((?<!\d)(?:[#=]|[-+](?=[\s-]|$))|(?<=\d)[.)](?=\s|$))")


def render(report: Report, page: Page) -> str:
    """The report as one Markdown document."""
    parts = ["# Report" + (f": machine {escape(report.machine)}" if report.machine else "")]
    parts += _answer(report)
    for table in report.tables:
        parts += _table(table, 2)
    if report.notes:
        parts += ["## Notes", _list(report.notes)]
    return encodable("\n\n".join(parts) + "\n", page.encoding)


def render_part(report: Report, level: int) -> str:
    """The report as a part of another page: without a title, its tables below headings of a level from 1 to 6."""
    parts = [part for table in report.tables for part in _table(table, level)]
    measured = [f"Measured on machine {report.machine}."] if report.machine else []
    notes = [*measured, *report.notes]
    return "\n\n".join([*_answer(report), *parts, *(["Notes:", _list(notes)] if notes else [])]) + "\n"


def _answer(report: Report) -> list[str]:
    return [" ".join(map(escape, report.answer))] if report.answer else []


def escape(text: str) -> str:
    """Escape text, so that Markdown shows it literally: no emphasis, code, link, image, mention, tag, heading or list."""
    safe = _SPECIAL.sub(r"\\\g<0>", plain(text))
    safe = _EDGE_UNDERSCORE.sub(r"\_", safe)
    safe = re.sub(r"[&<>@]", lambda match: _ENTITIES[match.group()], safe)
    safe = _LINKS.sub(lambda match: re.sub(r"[:.]", lambda dot: f"&#{ord(dot.group())};", match.group()), safe)
    return _BLOCK_START.sub(r"\1\2\\\3", safe)


def _table(table: Table, level: int) -> list[str]:
    parts = [f"{'#' * level} {escape(table.title)}"]
    if table.rows:
        parts.append(_grid(table))
    notes = [*footnotes(table), *table.notes]
    return [*parts, _list(notes)] if notes else parts


def _list(texts: Sequence[str]) -> str:
    return "\n".join(f"- {escape(text)}" for text in texts)


def _grid(table: Table) -> str:
    """A pipe table whose columns line up in the source too."""
    lines = [[escape(heading(column)) for column in table.columns]]
    for row in table.rows:
        texts = [text_of(row, column) for column in table.columns]
        # no list begins inside a cell, so a lone dash needs no escape
        lines.append([text if text == "-" else escape(text) for text in texts])
    widths = [max(3, *map(cell_len, texts)) for texts in zip(*lines, strict=True)]
    right = [is_number(column) for column in table.columns]
    lines.insert(1, ["-" * (width - flush) + ":" * flush for width, flush in zip(widths, right, strict=True)])
    for line in lines:
        spaces = [" " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)]
        line[:] = [
            space + text if flush else text + space for text, space, flush in zip(line, spaces, right, strict=True)
        ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
