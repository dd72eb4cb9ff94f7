"""Draws test accuracy against training time, a point for each group; hollow where no timing is valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.errors import UserError
from benchmark.reporting.figures.curves import plain_log_ticks
from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY
from benchmark.reporting.statistics.intervals import Measurement, measure

LOG_RATIO = 8.0
"""Times that differ by more than this are drawn on a logarithmic scale."""

_BODY_INCHES = 3.0
_EMPTY_INCHES = 0.7
_LEGEND_LINE = 0.145


@dataclass(frozen=True, slots=True)
class GroupPoint:
    """One group in the figure: its marker, the mean and interval of both quantities, and why its timing is not valid.

    `seeds` has the seconds and the accuracy of each seed that has both.
    """

    label: str
    color: str
    marker: str
    seconds: Measurement
    accuracy: Measurement
    invalid: str = ""
    seeds: tuple[tuple[float, float], ...] = ()


@style.styled
def draw_accuracy_by_time(dataset: str, groups: Sequence[Group], varying: Sequence[str] = ()) -> Figure:
    """One point for each group: mean of the seeds with 95 % intervals both ways, and a small one for each seed.

    Args:
        dataset: On which all groups were tested.
        groups: Those without a valid timing are drawn hollow; those without any are named below the figure instead.
        varying: Settings that tell groups of the same names apart.
    """
    points, untimed = _points(groups, varying)
    columns = 2 if len(points) > 3 else 1
    lines = -(-len(points) // columns)
    notes = []
    if untimed:
        names = "; ".join(untimed)
        notes = [f"Without a timing, and so not shown: {names}."]
    if invalid := dict.fromkeys(point.invalid for point in points if point.invalid):
        notes.append(f"Hollow: no valid timing ({'; '.join(invalid)}).")
    body = style.sheet(
        _BODY_INCHES + _LEGEND_LINE * lines if points else _EMPTY_INCHES,
        f"{dataset}: test accuracy against time",
        "mean over the seeds, bars: 95 % interval from two seeds on; small dots: seeds; training with validation",
        notes,
    )
    axes = body.add_subplot()
    if not points:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no timing", transform=axes.transAxes, ha="center", va="center")
        return style.finish(body)
    _draw_points(axes, points)
    handles = [_handle(point, style.SHEET_INCHES / columns - 0.6) for point in points]
    body.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=1.5)
    return style.finish(body)


def plot_accuracy_by_time(axes: Axes, groups: Sequence[Group], varying: Sequence[str] = ()) -> None:
    """The same on axes of the caller's, with a legend on them; groups without a timing are left out.

    Raises:
        UserError: None of the groups has one.
    """
    points, _ = _points(groups, varying)
    if not points:
        raise UserError("accuracy by time: none of these cells has a timing")
    _draw_points(axes, points)
    axes.legend(handles=[_handle(point, style.SHEET_INCHES - 0.6) for point in points], fontsize="small")


def _draw_points(axes: Axes, points: Sequence[GroupPoint]) -> None:
    axes.set_xlabel("fit time (s)")
    axes.set_ylabel("test accuracy (fraction)")
    for point in points:
        _draw_point(axes, point)
    _scale_axes(axes, points)


def _handle(point: GroupPoint, room_inches: float) -> Line2D:
    """The marker of a group in the legend, with as much of its name as there is room for, and n."""
    n = f" (n = {point.accuracy.n}"
    n += ")" if point.seconds.n == point.accuracy.n else f", {point.seconds.n} timed)"
    room = room_inches - text_fitting.width(n, style.SMALL_POINTS)
    return Line2D(
        [],
        [],
        color=point.color,
        marker=point.marker,
        markerfacecolor="none" if point.invalid else None,
        markersize=6,
        linestyle="none",
        label=text_fitting.cut(point.label, style.SMALL_POINTS, room) + n,
    )


def _points(groups: Sequence[Group], varying: Sequence[str]) -> tuple[list[GroupPoint], list[str]]:
    has_own_colors = len(groups) <= len(style.PALETTE)
    colors: dict[str, str] = {}
    used: dict[str, int] = {}
    points: list[GroupPoint] = []
    untimed: list[str] = []
    for group in groups:
        label = ", ".join([group.model, group.strategy, *group.describe(varying)])
        timed, invalid = group.marked_values(FIT_SECONDS)
        seconds = measure(timed.values())
        scores = group.values(TEST_ACCURACY)
        accuracy = measure(scores.values())
        color = colors.setdefault(
            label if has_own_colors else group.model, style.PALETTE[len(colors) % len(style.PALETTE)]
        )
        if seconds is None or accuracy is None:
            untimed.append(label)
            continue
        # groups of one colour differ in the marker; with colours of their own the markers change all the same
        number = len(points) if has_own_colors else used.get(color, 0)
        used[color] = used.get(color, 0) + 1
        marker = style.MARKERS[number % len(style.MARKERS)]
        seeds = tuple((timed[seed], scores[seed]) for seed in timed if seed in scores)
        points.append(GroupPoint(label, color, marker, seconds, accuracy, invalid, seeds))
    return points, untimed


def _draw_point(axes: Axes, point: GroupPoint) -> None:
    if len(point.seeds) > 1:
        axes.plot(*zip(*point.seeds, strict=True), ".", color=point.color, markersize=3, alpha=0.6, zorder=1)
    axes.errorbar(
        point.seconds.mean,
        point.accuracy.mean,
        xerr=_error_bar(point.seconds, least=point.seconds.mean * 0.02),
        yerr=_error_bar(point.accuracy, least=0.0),
        color=point.color,
        marker=point.marker,
        markerfacecolor="none" if point.invalid else None,
        markersize=6,
        elinewidth=1.0,
        capsize=2,
        linestyle="none",
    )


def _error_bar(measured: Measurement, *, least: float) -> list[list[float]] | None:
    """Lengths below and above the mean; the lower end stays at or above `least`, the smallest possible value."""
    if measured.half_width is None:
        return None
    return [[min(measured.half_width, measured.mean - least)], [measured.half_width]]


def _scale_axes(axes: Axes, points: Sequence[GroupPoint]) -> None:
    means = [point.seconds.mean for point in points]
    axes.grid(visible=True)
    if min(means) > 0 and max(means) > LOG_RATIO * min(means):
        axes.set_xscale("log")
        axes.set_xlabel("fit time (s, logarithmic)")
        plain_log_ticks(axes, "x")
    else:
        axes.set_xlim(left=0)
    low, high = axes.get_ylim()
    # an interval may reach beyond 0..1, which no accuracy does
    axes.set_ylim(max(low, -0.02), min(high, 1.02))
