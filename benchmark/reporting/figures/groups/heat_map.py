"""Draws a metric of all groups as a heat map: a row for each dataset and model, a column for each strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.figures.groups.group_lines import GroupNames
from benchmark.reporting.notation import number, written
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.statistics.intervals import Measurement

MOST_ROWS = 60
"""With more rows a picture is longer than two pages."""
_MOST_COLUMNS = 40

_LINE_INCHES = 0.22
_NAME_INCHES = 2.4
_BAR_INCHES, _HEADING_INCHES = 0.75, 1.2
_LEAST_SPAN = 0.02
"""The scale of shades is at least as long: of accuracies in their unit, of others as a part of the largest."""
_DARK = 0.55
"""From this share of the scale on text is white."""

Place = tuple[str, ...]
"""Dataset, model and varying settings of a row."""


@style.styled
def draw_heat_map(title: str, metric: Metric, groups: Sequence[Group], varying: Sequence[str] = ()) -> Figure:
    """The mean of each group as a shade and, where there is room, as a number with its 95 % interval.

    Args:
        title: What the groups have in common.
        metric: What is shown.
        groups: Those without a value say why.
        varying: Settings that tell groups of the same names apart; they stand with the model.
    """
    places, strategies, fields = _fields(groups, varying)
    left_out = {
        "further rows": len({_place(group, varying) for group in groups}) - len(places),
        "further strategies": len({group.strategy for group in groups}) - len(strategies),
    }
    names = _row_names(fields, places, varying)
    heading = _Heading.of(strategies, names.labels)
    body = style.sheet(
        max(_LINE_INCHES * len(places), 0.5) + 0.25 + heading.inches,
        f"{title}: {metric.title}",
        f"mean over the seeds, ± 95 % interval where there is room; {_direction(metric)}",
        [*names.notes, *(f"Not shown: {count} {what}." for what, count in left_out.items() if count)],
    )
    plot_fields(body.add_subplot(), metric, places, names.labels, strategies, fields)
    return style.finish(body)


def plot_heat_map(axes: Axes, metric: Metric, groups: Sequence[Group], varying: Sequence[str]) -> None:
    """The same on axes of the caller's."""
    places, strategies, fields = _fields(groups, varying)
    plot_fields(axes, metric, places, _row_names(fields, places, varying).labels, strategies, fields)


def plot_fields(
    axes: Axes,
    metric: Metric,
    places: Sequence[Place],
    names: Sequence[str],
    strategies: Sequence[str],
    fields: Mapping[tuple[Place, str], Group],
) -> None:
    """Draw all fields onto axes, with their names, a colour bar, and lines between datasets."""
    values = np.full((len(places), len(strategies)), np.nan)
    measured: dict[tuple[int, int], Measurement] = {}
    for (row, place), (column, strategy) in _all(places, strategies):
        group = fields.get((place, strategy))
        known = group.measured(metric)[0] if group else None
        if known is not None:
            measured[row, column], values[row, column] = known, known.mean
    scale = _scale(values[np.isfinite(values)], metric)
    shades = axes.imshow(np.ma.masked_invalid(values), cmap=_shades(), norm=scale, aspect="auto")
    room = _column_inches(strategies, names)
    _name_axes(axes, names, _Heading.of(strategies, names))
    write = _writer(list(measured.values()), metric, room)
    for (row, place), (column, strategy) in _all(places, strategies):
        if (row, column) in measured:
            text = write(measured[row, column])
            dark = scale(values[row, column]) > _DARK
            _write(axes, row, column, text, "white" if dark else "black")
        elif (place, strategy) in fields:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#e8e8e8", linewidth=0))
            _write(axes, row, column, _why(fields[place, strategy], room), style.GREY)
    for row in range(1, len(places)):
        if places[row][0] != places[row - 1][0]:
            axes.axhline(row - 0.5, color=style.GREY, linewidth=1.0)
    figure = axes.get_figure(root=False)
    assert figure is not None
    bar = figure.colorbar(shades, ax=axes, pad=0.02, fraction=0.08, format=lambda value, _: f"{value:g}")
    bar.outline.set_visible(False)


def _scale(values: NDArray[np.float64], metric: Metric) -> Normalize:
    """From the lowest to the highest value, and not less than would be seen as a difference where there is hardly any."""
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    least = _LEAST_SPAN if metric.kind == "accuracy" else _LEAST_SPAN * max(abs(low), abs(high)) or 1.0
    beyond = max(least - (high - low), 0.0) / 2
    return Normalize(low - beyond, high + beyond)


def _shades() -> ListedColormap:
    """Blues of which the lightest is no white: white is where nothing was to be measured."""
    return ListedColormap(colormaps["Blues"](np.linspace(0.12, 1, 256)))


def _fields(
    groups: Sequence[Group], varying: Sequence[str]
) -> tuple[list[Place], list[str], dict[tuple[Place, str], Group]]:
    """Rows, columns, and the group of each field that has one; groups of a dataset stay together."""
    of_dataset: dict[str, dict[Place, None]] = {}
    for group in groups:
        of_dataset.setdefault(group.dataset, {})[_place(group, varying)] = None
    places = [place for several in of_dataset.values() for place in several][:MOST_ROWS]
    strategies = list(dict.fromkeys(group.strategy for group in groups))[:_MOST_COLUMNS]
    # of several groups with equal names and settings the newest stands first
    fields = {(_place(group, varying), group.strategy): group for group in reversed(groups)}
    return places, strategies, fields


def _place(group: Group, varying: Sequence[str]) -> Place:
    return group.dataset, group.model, *group.describe(varying)


def _row_names(
    fields: Mapping[tuple[Place, str], Group], places: Sequence[Place], varying: Sequence[str]
) -> GroupNames:
    """The names of rows without the dataset where it is the same in all."""
    groups = {place: group for (place, _), group in fields.items()}
    shown = (0, 1) if len({place[0] for place in places}) > 1 else (1,)
    names = GroupNames.of([groups[place] for place in places], varying, inches=_NAME_INCHES, places=shown)
    return replace(names, labels=tuple(text_fitting.cut_distinct(list(names.labels), style.SMALL_POINTS, _NAME_INCHES)))


def _all(places: Sequence[Place], strategies: Sequence[str]) -> list[tuple[tuple[int, Place], tuple[int, str]]]:
    return [(row, column) for row in enumerate(places) for column in enumerate(strategies)]


@dataclass(frozen=True, slots=True)
class _Heading:
    """The names of the columns as they fit: beside each other where possible, else upright; and the height they need."""

    labels: tuple[str, ...]
    is_upright: bool
    inches: float

    @classmethod
    def of(cls, strategies: Sequence[str], names: Sequence[str]) -> _Heading:
        room = _column_inches(strategies, names)
        labels = text_fitting.cut_distinct(list(strategies), style.SMALL_POINTS, max(room, _HEADING_INCHES))
        longest = max(text_fitting.width(label, style.SMALL_POINTS) for label in labels)
        return cls(tuple(labels), longest > room, longest + 0.1 if longest > room else 0.2)


def _column_inches(strategies: Sequence[str], names: Sequence[str]) -> float:
    """The room for text within a column, beside the names of the rows."""
    longest = max(text_fitting.width(name, style.SMALL_POINTS) for name in names)
    return 0.94 * (style.SHEET_INCHES - longest - 0.2 - _BAR_INCHES) / len(strategies)


def _name_axes(axes: Axes, names: Sequence[str], heading: _Heading) -> None:
    axes.set_xticks(range(len(heading.labels)), heading.labels, rotation=90 if heading.is_upright else 0)
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.tick_top()
    style.hide_frame(axes)


def _writer(measured: Sequence[Measurement], metric: Metric, inches: float) -> Callable[[Measurement], str]:
    """The longest way of writing that fits into all fields: with interval, the mean alone, or nothing."""

    def whole(value: Measurement) -> str:
        return written(value, metric.kind, known_n=value.n)

    def mean(value: Measurement) -> str:
        return number(value.mean, metric.kind)

    for way in (whole, mean):
        if all(text_fitting.width(way(each), style.SMALL_POINTS) <= inches for each in measured):
            return way
    return lambda _: ""


def _why(group: Group, inches: float) -> str:
    """Why a group has no value, in a word or two, where there is room for it."""
    what = group.missing[0].what if group.missing else "-"
    choices = (what, what.partition(" (")[0], "-")
    return next((text for text in choices if text_fitting.width(text, style.SMALL_POINTS) <= inches), "")


def _write(axes: Axes, row: int, column: int, text: str, color: str) -> None:
    if text:
        axes.text(column, row, text, ha="center", va="center", fontsize=style.SMALL_POINTS, color=color)


def _direction(metric: Metric) -> str:
    if metric.higher_is_better is None:
        return "darker is more"
    return "darker is more, which is better" if metric.higher_is_better else "darker is more, which is worse"
