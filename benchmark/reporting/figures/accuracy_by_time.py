"""Test accuracy against the seconds of training: what the accuracy cost, where timings can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.reporting.figures.curves import plain_log_ticks
from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.style import (
    MARKERS,
    PALETTE,
    SHEET_INCHES,
    SMALL_POINTS,
    finished,
    sheet,
    styled,
)
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY
from benchmark.reporting.rows.varying_settings import describe
from benchmark.reporting.statistics import Measurement, measure

LOG_RATIO = 8.0
"""Times that differ by more than this are drawn on a logarithmic scale."""

_BODY_INCHES = 3.0
_EMPTY_INCHES = 0.7
_LEGEND_LINE = 0.145


@dataclass(frozen=True, slots=True)
class Point:
    """One group in the picture."""

    label: str
    color: str
    marker: str
    seconds: Measurement
    accuracy: Measurement


@styled
def draw_time(dataset: str, groups: Sequence[Group], varying: Sequence[str] = ()) -> Figure:
    """One point for each group: mean of the seeds with 95 % intervals both ways.

    Args:
        dataset: On which all groups were tested.
        groups: Those without a valid timing are named below the picture instead.
        varying: Settings that tell groups of the same names apart.
    """
    points, untimed = _points(groups, varying)
    columns = 2 if len(points) > 3 else 1
    lines = -(-len(points) // columns)
    notes = []
    if untimed:
        names = "; ".join(untimed)
        notes = [f"Without a valid timing (resumed, or disturbed by other load), and so not shown: {names}."]
    body = sheet(
        _BODY_INCHES + _LEGEND_LINE * lines if points else _EMPTY_INCHES,
        f"{dataset}: test accuracy against time",
        "mean over the seeds, bars: 95 % interval from two seeds on; training with validation",
        notes,
    )
    axes = body.add_subplot()
    axes.set_xlabel("fit time (s)")
    axes.set_ylabel("test accuracy (fraction)")
    if not points:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no valid timing", transform=axes.transAxes, ha="center", va="center")
        return finished(body)
    for point in points:
        _draw(axes, point)
    _scale(axes, points)
    handles = [_handle(point, columns) for point in points]
    body.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=1.5)
    return finished(body)


def _points(groups: Sequence[Group], varying: Sequence[str]) -> tuple[list[Point], list[str]]:
    own_colors = len(groups) <= len(PALETTE)
    colors: dict[str, str] = {}
    used: dict[str, int] = {}
    points: list[Point] = []
    untimed: list[str] = []
    for group in groups:
        label = _label(group, varying)
        seconds = measure(group.values(FIT_SECONDS).values())
        accuracy = measure(group.values(TEST_ACCURACY).values())
        color = colors.setdefault(label if own_colors else group.model, PALETTE[len(colors) % len(PALETTE)])
        if seconds is None or accuracy is None:
            untimed.append(label)
            continue
        marker = MARKERS[used.get(color, 0) % len(MARKERS)] if not own_colors else MARKERS[len(points) % len(MARKERS)]
        used[color] = used.get(color, 0) + 1
        points.append(Point(label, color, marker, seconds, accuracy))
    return points, untimed


def _label(group: Group, varying: Sequence[str]) -> str:
    settings = [f"{name} {describe(group.settings[name])}" for name in varying if name in group.settings]
    return ", ".join([group.model, group.strategy, *settings])


def _draw(axes: Axes, point: Point) -> None:
    axes.errorbar(
        point.seconds.mean,
        point.accuracy.mean,
        xerr=_bar(point.seconds, least=point.seconds.mean * 0.02),
        yerr=_bar(point.accuracy, least=0.0),
        color=point.color,
        marker=point.marker,
        markersize=6,
        elinewidth=1.0,
        capsize=2,
        linestyle="none",
    )


def _handle(point: Point, columns: int) -> Line2D:
    n = f" (n = {point.accuracy.n}"
    n += ")" if point.seconds.n == point.accuracy.n else f", {point.seconds.n} timed)"
    room = SHEET_INCHES / columns - 0.6 - text_fitting.width(n, SMALL_POINTS)
    label = text_fitting.cut(point.label, SMALL_POINTS, room) + n
    return Line2D([], [], color=point.color, marker=point.marker, markersize=6, linestyle="none", label=label)


def _bar(found: Measurement, *, least: float) -> list[list[float]] | None:
    """Below and above the mean; a bar never leaves what is possible at its lower end."""
    if found.half_width is None:
        return None
    return [[min(found.half_width, found.mean - least)], [found.half_width]]


def _scale(axes: Axes, points: Sequence[Point]) -> None:
    means = [point.seconds.mean for point in points]
    axes.grid(visible=True)
    if min(means) > 0 and max(means) > LOG_RATIO * min(means):
        axes.set_xscale("log")
        axes.set_xlabel("fit time (s, logarithmic)")
        plain_log_ticks(axes, "x")
    else:
        axes.set_xlim(left=0)
    low, high = axes.get_ylim()
    # an interval may reach beyond what an accuracy can be; the picture need not
    axes.set_ylim(max(low, -0.02), min(high, 1.02))
