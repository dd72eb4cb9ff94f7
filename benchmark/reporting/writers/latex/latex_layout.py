"""Which columns of a table a page has room for: constant ones go into the caption, others by their rank."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmark.reporting.writers.latex.latex_cells import PaperColumn
from benchmark.reporting.writers.latex.latex_text import NARROWEST

ONE_COLUMN = 23.5
"""Em of `\\footnotesize` in a column of a two-column `article`, the narrowest of A4 and letter paper at 10 and 11 points."""
TEXT = 38.5
"""The same across the page: the text of a one-column `article` at 10 to 12 points, which a two-column one exceeds."""
_GAP = 0.75
_CAPS = (math.inf, 18.0, 12.0)
"""Where columns do not fit, texts wrap at these widths before a column is left out."""


def without_constants(columns: Sequence[PaperColumn]) -> tuple[list[PaperColumn], list[str]]:
    """The columns whose rows differ, and what all rows share, for the caption: `dataset digits`, `n = 3`."""
    same = [_is_constant(column) for column in columns]
    names = [number for number, column in enumerate(columns) if column.column.identifies and column.column.key != "n"]
    if names and all(same[number] for number in names):
        # rows need a name
        same[names[-1]] = False
    shared = [
        f"n = {column.texts[0]}" if column.column.key == "n" else f"{column.title} {column.texts[0]}"
        for column, is_same in zip(columns, same, strict=True)
        if is_same and column.texts[0] != "-"
    ]
    kept = [column for column, is_same in zip(columns, same, strict=True) if not is_same]
    counted = [column for column in kept if any(number["n"] for number in column.numbers if number)]
    counts = {number["n"] for column in counted for number in column.numbers if number}
    if len(counts) == 1 and None not in counts:
        shared.append(f"n = {counts.pop()}")
        kept = [
            replace(column, texts=tuple(re.sub(r" \(n=\d+\)$", "", text) for text in column.texts)) for column in kept
        ]
    return kept, shared


def _is_constant(column: PaperColumn) -> bool:
    is_plain = column.column.kind in {"text", "count"} and not column.has_intervals
    return is_plain and len(column.texts) > 1 and len(set(column.texts)) == 1 and not any(column.marks)


@dataclass(frozen=True, slots=True)
class Layout:
    """How columns stand on a page.

    Attributes:
        panels: Columns side by side; several where not all fit beside each other.
        cap: Em at which texts wrap.
        is_narrow: Whether they fit one column of a page with two.
        left_out: Titles of columns for which there is no room.
    """

    panels: list[list[PaperColumn]]
    cap: float
    is_narrow: bool
    left_out: tuple[str, ...] = ()


def lay_out(columns: Sequence[PaperColumn], indent: float) -> Layout:
    """Columns that fit a page; those with a rank make way, the highest first.

    Args:
        columns: Those whose rows differ.
        indent: Em by which the first is moved to the right.
    """
    for cap in _CAPS[:2]:
        if _total(columns, cap) + indent <= ONE_COLUMN:
            return Layout([list(columns)], cap, is_narrow=True)
    ranked = sorted((column for column in columns if column.column.rank), key=lambda column: -column.column.rank)
    for count in range(len(ranked) + 1):
        gone = {id(column) for column in ranked[:count]}
        kept = [column for column in columns if id(column) not in gone]
        for cap in (*_CAPS, *([NARROWEST] if count == len(ranked) else [])):
            if _total(kept, cap) + indent <= TEXT:
                left_out = tuple(column.title for column in columns if id(column) in gone)
                return Layout([kept], cap, is_narrow=False, left_out=left_out)
    return Layout(_panels(columns, indent), NARROWEST, is_narrow=False)


def _panels(columns: Sequence[PaperColumn], indent: float) -> list[list[PaperColumn]]:
    """Columns side by side as far as the text is wide, with those that tell rows apart in each panel."""
    names = [column for column in columns if column.column.identifies]
    panels = [list(names)]
    for column in columns:
        if column.column.identifies:
            continue
        if len(panels[-1]) > len(names) and _total([*panels[-1], column], NARROWEST) + indent > TEXT:
            panels.append(list(names))
        panels[-1].append(column)
    return panels


def _total(columns: Sequence[PaperColumn], cap: float) -> float:
    return sum(column.width(cap) for column in columns) + _GAP * (len(columns) - 1)
