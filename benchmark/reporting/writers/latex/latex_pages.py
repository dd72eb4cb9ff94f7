"""The rows of a table as lines below headings, divided among pages of a paper."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.reporting.writers.latex.latex_cells import PaperColumn, title_lines
from benchmark.reporting.writers.latex.latex_layout import ONE_COLUMN
from benchmark.reporting.writers.latex.latex_text import width_of

PAGE = 39.0
"""Lines of `\\footnotesize` that fit a page of `article`, the fewest of 10 to 12 points, less some for rules."""
_HEADING = 0.5
"""The space above a heading, in lines."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a tabular: a row, or where there is no number of one a heading across all columns."""

    row: int | None
    heading: str = ""


def lines_of(columns: Sequence[PaperColumn]) -> tuple[list[Line], list[PaperColumn]]:
    """The lines of a table, and the columns that are not turned into headings above rows."""
    count = len(columns[0].texts) if columns else 0
    heads = [column for column in columns if column.column.heads]
    others = [column for column in columns if not column.column.heads]
    headings = [", ".join(texts) for texts in zip(*(column.texts for column in heads), strict=True)]
    starts = [row for row in range(count) if headings and (row == 0 or headings[row] != headings[row - 1])]
    # headings that stand above single rows save no room
    if not others or len(starts) > count / 2:
        return [Line(row) for row in range(count)], list(columns)
    lines = [[*([Line(None, headings[row])] if row in starts else []), Line(row)] for row in range(count)]
    return list(itertools.chain.from_iterable(lines)), others


def pages_of(lines: Sequence[Line], panel: Sequence[PaperColumn], cap: float, above: float) -> list[list[Line]]:
    """The lines in parts that fit a page; a heading is repeated where its rows go on.

    Args:
        lines: Of the whole table.
        panel: The columns that stand side by side.
        cap: Em at which texts wrap.
        above: Lines that the caption takes.
    """
    room = PAGE - above - _titles(panel, cap)
    pages: list[list[Line]] = [[]]
    heading: Line | None = None
    taken = 0.0
    for line in lines:
        height = _height(line, panel, cap)
        # no heading is the last line of a page
        if pages[-1] and taken + height + (line.row is None) > room:
            pages.append([heading] if heading and line.row is not None else [])
            taken = sum(_height(each, panel, cap) for each in pages[-1])
        heading = line if line.row is None else heading
        pages[-1].append(line)
        taken += height
    return pages


def height_of(page: Sequence[Line], panel: Sequence[PaperColumn], cap: float) -> float:
    """How high a tabular with these lines is, in lines."""
    return _titles(panel, cap) + sum(_height(line, panel, cap) for line in page)


def _titles(panel: Sequence[PaperColumn], cap: float) -> int:
    return max((len(title_lines(column, cap)) for column in panel), default=1)


def _height(line: Line, panel: Sequence[PaperColumn], cap: float) -> float:
    if line.row is None:
        return _HEADING + max(1, math.ceil(width_of(line.heading) / ONE_COLUMN))
    # lines that end ragged are not full
    wrapped = [1.2 * width_of(column.texts[line.row]) / cap for column in panel if column.wraps]
    return max(1, *map(math.ceil, wrapped)) if max(wrapped, default=0.0) > 1.2 else 1
