"""How several groups look in one figure: a colour and a line style for each, and what tells them apart in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.rows.groups import Group

DASHED = (0, (4, 1.5))
"""A line style of matplotlib: offset, then lengths of dash and gap, in widths of the line."""
_DASHES: tuple[Any, ...] = ("solid", DASHED, (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5)))

MOST_TOLD_APART = 20
"""Of more lines in one picture than this nobody can say which is which."""

_LEGEND_LINE_INCHES = 0.145
_HANDLE_INCHES = 0.75
_MOST_LINES = 24
"""A legend with more names has two columns, though long names must be cut for that."""


@dataclass(frozen=True, slots=True)
class GroupLook:
    """Colour, line style and marker of one of several groups; no two of the first 28 have both of the first."""

    color: str
    dashes: Any
    marker: str


def look_of(number: int) -> GroupLook:
    """The look of the group at a place: all colours first, then the same with dashes."""
    again, place = divmod(number, len(style.PALETTE))
    return GroupLook(style.PALETTE[place], _DASHES[again % len(_DASHES)], style.MARKERS[number % len(style.MARKERS)])


def labels_of(groups: Sequence[Group], varying: Sequence[str]) -> list[str]:
    """What tells groups apart: those of dataset, model and strategy that differ, and the settings that vary."""
    differ = [place for place in range(3) if len({group.names[place] for group in groups}) > 1]
    names = [[group.names[place] for place in differ] + group.describe(varying) for group in groups]
    return [", ".join(each or [group.strategy]) for each, group in zip(names, groups, strict=True)]


@dataclass(frozen=True, slots=True)
class LegendBelow:
    """The names of groups below a figure: as they fit there, in how many columns, and the height that they need."""

    labels: tuple[str, ...]
    columns: int

    @property
    def inches(self) -> float:
        return _LEGEND_LINE_INCHES * -(-len(self.labels) // self.columns) + 0.1


def legend_below(labels: Sequence[str], more: Sequence[str]) -> LegendBelow:
    """Arrange a legend: in two columns where there are many names, or all are short.

    Args:
        labels: What the groups are called.
        more: What stands behind each name, such as ` (n = 3)`.
    """
    behind = max(text_fitting.width(each, style.SMALL_POINTS) for each in more)
    longest = max(text_fitting.width(text_fitting.legible(label), style.SMALL_POINTS) for label in labels)
    fits = longest + behind <= style.SHEET_INCHES / 2 - _HANDLE_INCHES
    columns = 2 if len(labels) > 3 and (fits or len(labels) > _MOST_LINES) else 1
    room = style.SHEET_INCHES / columns - _HANDLE_INCHES - behind
    short = text_fitting.cut_distinct(list(labels), style.SMALL_POINTS, room)
    return LegendBelow(tuple(label + each for label, each in zip(short, more, strict=True)), columns)
