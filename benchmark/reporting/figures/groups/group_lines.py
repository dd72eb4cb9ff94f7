"""How several groups look in one figure: a colour and a line style for each, and what tells them apart in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group

DASHED = (0, (4, 1.5))
"""A line style of matplotlib: offset, then lengths of dash and gap, in widths of the line."""
_DASHES: tuple[Any, ...] = ("solid", DASHED, (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5)))

MOST_TOLD_APART = 20
"""Of more lines in one picture than this nobody can say which is which."""

_LEGEND_LINE_INCHES = 0.145
_HANDLE_INCHES = 0.75
_NAMES = ("dataset", "model", "strategy")
LEGEND_NAME_INCHES = 2.0
"""Names up to this width stand in two columns below a figure."""
_MOST_LINES = 40
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
    return list(GroupNames.of(groups, varying, inches=math.inf).labels)


@dataclass(frozen=True, slots=True)
class GroupNames:
    """What groups are called in a picture.

    Attributes:
        labels: One for each group; of settings the values alone where names would leave no room for them.
        notes: What the parts of such a label are.
    """

    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, groups: Sequence[Group], varying: Sequence[str], *, inches: float, places: Sequence[int] = ()
    ) -> GroupNames:
        """Name groups.

        Args:
            groups: Of one picture.
            varying: Settings that tell groups of the same names apart.
            inches: The room that the picture has for a name.
            places: Which of dataset, model and strategy are named; by default those that differ.
        """
        differ = [place for place in range(3) if len({group.names[place] for group in groups}) > 1]
        shown = list(places) or differ
        names = [[group.names[place] for place in shown] for group in groups]
        whole = [", ".join([*each, *group.describe(varying)]) for each, group in zip(names, groups, strict=True)]
        whole = [label or group.strategy for label, group in zip(whole, groups, strict=True)]
        widest = max(
            (text_fitting.width(text_fitting.legible(label), style.SMALL_POINTS) for label in whole), default=0
        )
        if widest <= inches or not varying:
            return cls(tuple(whole))
        values = [[describe(group.settings.get(name)) for name in varying] for group in groups]
        parts = [*(_NAMES[place] for place in shown), *varying]
        note = f"Names are {', '.join(part.replace('_', ' ') for part in parts)}."
        return cls(tuple(", ".join([*a, *b]) for a, b in zip(names, values, strict=True)), (note,))


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
