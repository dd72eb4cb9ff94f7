"""How a wide table is folded into panels, each as wide as the terminal at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rich.cells import cell_len

GAP = 2
NARROWEST_TEXT = 8


@dataclass(frozen=True, slots=True)
class Strip:
    """One column, laid out.

    Attributes:
        title: Its heading; it may wrap between words.
        texts: Its cells.
        is_number, is_verdict, identifies: What it is.
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
        """The width below which the column becomes unreadable."""
        if self.is_number or self.is_verdict:
            return self.natural
        return min(self.wrapped, max(NARROWEST_TEXT, self._title_word))

    @property
    def _title_word(self) -> int:
        return max((cell_len(word) for word in self.title.split()), default=1)


Panel: TypeAlias = list[tuple[Strip, int]]
"""Columns that stand side by side, each with its width."""


def fold(strips: Sequence[Strip], width: int) -> list[Panel]:
    """Columns divided among panels, so that each fits the width; the identifying ones stand in every panel.

    Names keep their full width unless wrapping them between words saves a panel; they are broken inside a word only
    where nothing else would fit.

    Returns:
        No panel at all when not even the identifying columns and one other fit.
    """
    whole = _fill(strips, width, [strip.natural for strip in strips])
    wrapped = _fill(strips, width, [strip.wrapped for strip in strips])
    broken = _fill(strips, width, [strip.least for strip in strips])
    return min(filter(None, (whole, wrapped)), key=len, default=broken)


def _fill(strips: Sequence[Strip], width: int, least: Sequence[int]) -> list[Panel]:
    """Panels filled one after another; none when a column does not fit beside the identifying ones."""
    names = [index for index, strip in enumerate(strips) if strip.identifies]
    panels: list[list[int]] = []
    for index, strip in enumerate(strips):
        if strip.identifies:
            continue
        if panels and total([least[each] for each in (*panels[-1], index)]) <= width:
            panels[-1].append(index)
        elif total([least[each] for each in (*names, index)]) <= width:
            panels.append([*names, index])
        else:
            return []
    return [_widened([strips[each] for each in panel], [least[each] for each in panel], width) for panel in panels]


def total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _widened(strips: Sequence[Strip], least: Sequence[int], width: int) -> Panel:
    """The least widths and what room is left over, given where a column is furthest from its natural width."""
    widths = list(least)
    for _ in range(width - total(widths)):
        lacks = [strip.natural - given for strip, given in zip(strips, widths, strict=True)]
        if max(lacks) <= 0:
            break
        widths[lacks.index(max(lacks))] += 1
    return list(zip(strips, widths, strict=True))
