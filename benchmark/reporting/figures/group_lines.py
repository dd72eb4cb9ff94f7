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

LEGEND_LINE_INCHES = 0.145


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


def legend_columns(count: int) -> int:
    """In how many columns the names of so many groups stand below a figure."""
    return 1 if count <= 3 else 2


def legend_inches(count: int) -> float:
    """The height of a legend of so many groups, below a figure."""
    return LEGEND_LINE_INCHES * -(-count // legend_columns(count)) + 0.1


def fitting_labels(labels: Sequence[str], more: Sequence[str] = ()) -> list[str]:
    """Names of groups shortened for a legend below a figure, each with what stands behind it, such as ` (n = 3)`."""
    room = style.SHEET_INCHES / legend_columns(len(labels)) - 0.75
    behind = list(more) or [""] * len(labels)
    room -= max(text_fitting.width(each, style.SMALL_POINTS) for each in behind)
    short = text_fitting.cut_distinct(list(labels), style.SMALL_POINTS, room)
    return [label + each for label, each in zip(short, behind, strict=True)]
