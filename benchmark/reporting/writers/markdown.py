"""Writes a report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

from benchmark.reporting.table import Report, Table
from benchmark.reporting.writers.cell_text import footnotes, heading, is_number, text_of
from benchmark.text import encodable, plain

_SPECIAL = re.compile(r"[\\`*|\[\]{}~$]")
# an underscore begins emphasis at the edge of a word only; inside a word it stays readable
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_LINKS = re.compile(r"(?i)(://|\bwww\.|\bmailto:|\bxmpp:)")
_BLOCK_START = re.compile(r"^(\s*)(#|=|[-+](?=[\s-]|$)|(\d+)([.)])(?=\s|$))")


def render(report: Report, *, encoding: str = "utf-8") -> str:
    """The report as one Markdown document."""
    parts = ["# Report" + (f": machine {escape(report.machine)}" if report.machine else "")]
    for table in report.tables:
        parts += _table(table)
    if report.notes:
        parts += ["## Notes", _list(report.notes)]
    return encodable("\n\n".join(parts) + "\n", encoding)


def escape(text: str) -> str:
    """Escape text, so that Markdown shows it literally: no emphasis, code, link, image, mention, tag, heading or list."""
    safe = _SPECIAL.sub(r"\\\g<0>", plain(text))
    safe = _EDGE_UNDERSCORE.sub(r"\_", safe)
    safe = re.sub(r"[&<>@]", lambda match: _ENTITIES[match.group()], safe)
    safe = _LINKS.sub(lambda match: re.sub(r"[:.]", lambda dot: f"&#{ord(dot.group())};", match.group()), safe)
    return _BLOCK_START.sub(_escaped_start, safe)


def _escaped_start(match: re.Match[str]) -> str:
    space, start, digits, dot = match.groups()
    return f"{space}{digits}\\{dot}" if dot else f"{space}\\{start}"


def _table(table: Table) -> list[str]:
    parts = [f"## {escape(table.title)}"]
    if table.rows:
        parts.append(_grid(table))
    notes = [*footnotes(table), *table.notes]
    return [*parts, _list(notes)] if notes else parts


def _list(texts: Sequence[str]) -> str:
    return "\n".join(f"- {escape(text)}" for text in texts)


def _grid(table: Table) -> str:
    """A pipe table whose columns line up in the source too."""
    lines = [[escape(heading(column)) for column in table.columns]]
    lines += [[_in_cell(escape(text_of(row, column))) for column in table.columns] for row in table.rows]
    widths = [max(3, *(cell_len(line[index]) for line in lines)) for index in range(len(table.columns))]
    right = [is_number(column) for column in table.columns]
    rule = ["-" * (width - 1) + ":" if flush else "-" * width for width, flush in zip(widths, right, strict=True)]
    padded = [_padded(line, widths, right) for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _in_cell(text: str) -> str:
    """Undo the escape of a lone dash, because no list begins inside a cell."""
    return "-" if text == r"\-" else text


def _padded(line: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    filled = []
    for text, width, flush in zip(line, widths, right, strict=True):
        space = " " * (width - cell_len(text))
        filled.append(space + text if flush else text + space)
    return filled
