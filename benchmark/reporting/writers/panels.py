"""Folds a wide table into panels that fit the width of a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rich.cells import cell_len

GAP = 2
NARROWEST_TEXT = 8


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of a table as texts.

    Attributes:
        title: Its heading, which may wrap between words.
        texts: Its cells, one for each row.
        is_number, is_verdict: What it holds.
        identifies: Whether it is repeated in every panel.
        headings: Lines to print before a row, across all columns, by the number of the row.
    """

    title: str
    texts: tuple[str, ...]
    is_number: bool
    is_verdict: bool
    identifies: bool
    headings: Mapping[int, str] = field(default_factory=dict)

    @property
    def natural(self) -> int:
        """The width at which no cell wraps."""
        return max([1, self._title_word, *map(cell_len, self.texts)])

    @property
    def wrapped(self) -> int:
        """The width at which cells wrap between words only. Numbers and verdicts never wrap."""
        if self.is_number or self.is_verdict or self.headings:
            return self.natural
        return max([1, self._title_word, *(cell_len(word) for text in self.texts for word in text.split())])

    @property
    def least(self) -> int:
        """The smallest width at which the column is readable."""
        if self.is_number or self.is_verdict:
            return self.natural
        return min(self.wrapped, max(NARROWEST_TEXT, self._title_word))

    @property
    def _title_word(self) -> int:
        return max((cell_len(word) for word in self.title.split()), default=1)


Panel: TypeAlias = list[tuple[TextColumn, int]]
"""Columns side by side, each with its width."""


def fold(columns: Sequence[TextColumn], width: int, gap: int = GAP) -> list[Panel]:
    """Divide columns among panels of at most this width; the identifying columns are in every panel.

    Texts keep their full width unless wrapping them between words saves a panel; they are broken inside a word only
    where nothing else fits.

    Returns:
        No panels when not even the identifying columns and one other fit.
    """
    whole = _fill(columns, width, gap, [column.natural for column in columns])
    wrapped = _fill(columns, width, gap, [column.wrapped for column in columns])
    broken = _fill(columns, width, gap, [column.least for column in columns])
    return min(filter(None, (whole, wrapped)), key=len, default=broken)


def _fill(columns: Sequence[TextColumn], width: int, gap: int, least: Sequence[int]) -> list[Panel]:
    """Fill panels one after another; none when a column does not fit beside the identifying ones."""
    names = [index for index, column in enumerate(columns) if column.identifies]
    panels: list[list[int]] = []
    for index, column in enumerate(columns):
        if column.identifies:
            continue
        if panels and total([least[each] for each in (*panels[-1], index)], gap) <= width:
            panels[-1].append(index)
        elif total([least[each] for each in (*names, index)], gap) <= width:
            panels.append([*names, index])
        else:
            return []
    return [
        _widened([columns[each] for each in panel], [least[each] for each in panel], width, gap) for panel in panels
    ]


def total(widths: Sequence[int], gap: int = GAP) -> int:
    """The width of columns of these widths with the gaps between them."""
    return sum(widths) + gap * (len(widths) - 1)


def _widened(columns: Sequence[TextColumn], least: Sequence[int], width: int, gap: int) -> Panel:
    """Columns with their least widths, widened where they lack most of their natural width, as far as there is room."""
    widths = list(least)
    for _ in range(width - total(widths, gap)):
        lacks = [column.natural - given for column, given in zip(columns, widths, strict=True)]
        if max(lacks) <= 0:
            break
        widths[lacks.index(max(lacks))] += 1
    return list(zip(columns, widths, strict=True))
