"""Divides the columns of a wide table among panels that fit a width."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from rich.cells import cell_len

GAP = 2
READABLE_TEXT = 16
"""A text is wrapped at less than this only where that saves a panel."""
_UNITS = r"(?:%|s|ms|min|h|B|[KMGT]iB)(?=[,;.:)]*(?:\s|\Z))"


@dataclass(frozen=True)
class TextColumn:
    """A column of a table as texts.

    Attributes:
        title: Its heading, which may wrap between words; empty where the table has no headings.
        texts: Its cells, one for each row.
        is_number: Aligned at the right; never wrapped.
        is_verdict: Never wrapped.
        identifies: Whether it is repeated in every panel.
        headings: Lines to print before a row, across all columns, by the number of the row.
        styles: Of each cell, as rich names them; none where it is empty.
        stays: Whether it is a column even where all its cells are the same.
        has_paths: Whether paths in it stay in one piece, to be copied, also where they are longer than a line.
        heads: Whether rows that share its value may stand under it as a heading, where that saves a panel.
    """

    title: str
    texts: tuple[str, ...]
    is_number: bool = False
    is_verdict: bool = False
    identifies: bool = False
    headings: Mapping[int, str] = field(default_factory=dict)
    styles: tuple[str, ...] = ()
    stays: bool = False
    heads: bool = False
    has_paths: bool = False

    @cached_property
    def natural(self) -> int:
        """The width at which no cell wraps."""
        return max([1, self._title_word, *map(cell_len, self.texts)])

    @cached_property
    def wrapped(self) -> int:
        """The width at which cells wrap between words only. Numbers and verdicts never wrap."""
        if self.is_number or self.is_verdict:
            return self.natural
        indents = (len(text) - len(text.lstrip()) for text in self.texts)
        longest = (indent + longest_word(text) for indent, text in zip(indents, self.texts, strict=True))
        return max([1, self._title_word, *longest])

    @property
    def _title_word(self) -> int:
        return longest_word(self.title)


def words(text: str) -> list[str]:
    """The words of a text, between which a line may end; a number, its interval and its unit are one."""
    return re.split(rf"(?<!\u00b1)(?<!\+/-)(?:(?<!\d)\s+|\s+(?!{_UNITS}))(?!\u00b1|\+/-)", text.strip())


def longest_word(text: str) -> int:
    """In cells of a terminal."""
    return max(map(cell_len, words(text))) if " " in text else cell_len(text)


Panel: TypeAlias = list[tuple[TextColumn, int]]
"""Columns side by side, each with its width."""


def fold(columns: Sequence[TextColumn], width: int, gap: int = GAP) -> list[Panel]:
    """Divide columns among panels of at most this width; the identifying columns are in every panel.

    Headings wrap where all columns then fit side by side. Texts keep their full width unless wrapping them between words
    saves a panel; nothing is ever broken inside a word.

    Returns:
        No panels when not even the identifying columns and one other fit.
    """
    natural = [column.natural for column in columns]
    titled = [max(least, cell_len(column.title)) for column, least in zip(columns, natural, strict=True)]
    if total(titled, gap) <= width:
        return [list(zip(columns, titled, strict=True))]
    best: list[Panel] = []
    wrapped = [column.wrapped for column in columns]
    readable = [max(least, min(whole, READABLE_TEXT)) for least, whole in zip(wrapped, natural, strict=True)]
    for least in (natural, readable, wrapped):
        panels = _fill(columns, width, gap, least)
        if panels and (not best or len(panels) < len(best)):
            best = [
                _widened([(columns[each], least[each], natural[each]) for each in panel], width, gap)
                for panel in panels
            ]
    return best


def _fill(columns: Sequence[TextColumn], width: int, gap: int, least: Sequence[int]) -> list[list[int]]:
    """Fill panels one after another; none when a column does not fit beside the identifying ones."""
    names = [index for index, column in enumerate(columns) if column.identifies]
    panels: list[list[int]] = []
    for index in [index for index, column in enumerate(columns) if not column.identifies]:
        if panels and total([least[each] for each in (*panels[-1], index)], gap) <= width:
            panels[-1].append(index)
        elif total([least[each] for each in (*names, index)], gap) <= width:
            panels.append([*names, index])
        else:
            return []
    return panels or ([names] if total([least[each] for each in names], gap) <= width else [])


def total(widths: Sequence[int], gap: int = GAP) -> int:
    """The width of columns of these widths with the gaps between them."""
    return sum(widths) + gap * (len(widths) - 1)


def _widened(columns: Sequence[tuple[TextColumn, int, int]], width: int, gap: int) -> Panel:
    """Columns, their least and natural widths: widened where they lack most of the latter, as far as there is room."""
    widths = [least for _, least, _ in columns]
    for _ in range(width - total(widths, gap)):
        lacks = [natural - given for (_, _, natural), given in zip(columns, widths, strict=True)]
        if max(lacks) <= 0:
            break
        widths[lacks.index(max(lacks))] += 1
    return [(column, given) for (column, _, _), given in zip(columns, widths, strict=True)]
