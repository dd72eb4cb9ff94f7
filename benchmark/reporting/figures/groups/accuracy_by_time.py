"""Draws accuracy against training time, a point for each group, with the Pareto front; hollow where no timing is valid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.errors import UserError
from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.figures.groups.curves import plain_log_ticks
from benchmark.reporting.figures.groups.group_lines import LEGEND_NAME_INCHES, GroupNames, legend_below
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import FIT_SECONDS, TEST_ACCURACY, Metric
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.tables.pareto import means_of, pareto_front

LOG_RATIO = 8.0
"""Times that differ by more than this are drawn on a logarithmic scale."""

_BODY_INCHES = 3.0
MOST_POINTS = 40
"""With more points nobody finds one in the legend."""
_MANY = 10
"""With more points the lines of their intervals are thinner: they lie on each other."""
_FRONT = "Pareto front of the means: none of the others is as good in less time"


@dataclass(frozen=True, slots=True)
class GroupPoint:
    """One group in the figure: its marker, the mean and interval of both quantities, and why its timing is not valid.

    `seeds` has the seconds and the score of each seed that has both.
    """

    label: str
    color: str
    marker: str
    seconds: Measurement
    score: Measurement
    invalid: str = ""
    seeds: tuple[tuple[float, float], ...] = ()


@style.styled
def draw_accuracy_by_time(
    dataset: str,
    groups: Sequence[Group],
    varying: Sequence[str] = (),
    metric: Metric = TEST_ACCURACY,
    more_notes: Sequence[str] = (),
) -> Figure:
    """One point for each group: mean of the seeds with 95 % intervals both ways, and a small one for each seed.

    Args:
        dataset: On which all groups were tested.
        groups: Those without a valid timing are drawn hollow; those without any are named below the figure instead.
        varying: Settings that tell groups of the same names apart.
        metric: What is drawn against time.
        more_notes: What is not shown.
    """
    names = GroupNames.of(groups, varying, inches=LEGEND_NAME_INCHES, places=(1, 2))
    points, untimed = _points(groups, names.labels, metric)
    notes = [*names.notes, *more_notes]
    if untimed:
        notes.append(f"Without a timing, and so not shown: {'; '.join(untimed)}.")
    if invalid := dict.fromkeys(point.invalid for point in points if point.invalid):
        notes.append(f"Hollow: no valid timing ({'; '.join(invalid)}).")
    if any(point.score.n == 1 for point in points):
        notes.append("A point with n = 1 is one seed, and has no interval.")
    front = _front(groups, metric)
    notes += [f"Dashed: {_FRONT}."] if front else []
    legend = legend_below([point.label for point in points], [_n(point) for point in points])
    body = style.sheet(
        _BODY_INCHES + legend.inches,
        f"{dataset}: {metric.title} against time",
        "mean over the seeds, bars: 95 % interval from two seeds on; small dots: seeds; training with validation",
        notes,
    )
    axes = body.add_subplot()
    _draw_points(axes, points, metric, front)
    handles = [_handle(point, label) for point, label in zip(points, legend.labels, strict=True)]
    body.legend(handles=handles, loc="outside lower center", ncols=legend.columns, handlelength=1.5)
    return style.finish(body)


def plot_accuracy_by_time(axes: Axes, groups: Sequence[Group], varying: Sequence[str], metric: Metric) -> None:
    """The same on axes of the caller's, with a legend on them; groups without a timing are left out.

    Raises:
        UserError: None of the groups has one.
    """
    names = GroupNames.of(groups, varying, inches=math.inf, places=(1, 2))
    points, _ = _points(groups, names.labels, metric)
    if not points:
        raise UserError(f"accuracy by time: none of these cells has a timing and a {metric.title}")
    _draw_points(axes, points, metric, _front(groups, metric))
    handles = [_handle(point, text_fitting.legible(point.label) + _n(point)) for point in points]
    axes.legend(handles=handles, fontsize="small")


def timed_groups(groups: Sequence[Group], metric: Metric) -> list[Group]:
    """The groups that have a point: a timing, valid or not, and the metric."""
    return [group for group in groups if group.measured(FIT_SECONDS)[0] and group.measured(metric)[0]]


def _front(groups: Sequence[Group], metric: Metric) -> list[tuple[float, float]]:
    """Seconds and score along the Pareto front, the fastest first; empty where nothing can be beaten."""
    means = means_of(groups, metric, FIT_SECONDS)
    places = [known for group in pareto_front(groups, metric, FIT_SECONDS) if (known := means[group])]
    return [(seconds, score) for score, seconds in places] if sum(map(bool, means.values())) > 1 else []


def _draw_points(
    axes: Axes, points: Sequence[GroupPoint], metric: Metric, front: Sequence[tuple[float, float]]
) -> None:
    axes.set_xlabel("fit time (s)")
    axes.set_ylabel(f"{metric.title}{' (fraction)' if metric.kind == 'accuracy' else ''}")
    for point in points:
        _draw_point(axes, point, elinewidth=1.0 if len(points) <= _MANY else 0.6)
    if front:
        end = max([point.seconds.mean for point in points if not point.invalid], default=front[-1][0])
        x, y = zip(*front, (end, front[-1][1]), strict=True)
        axes.plot(
            x, y, drawstyle="steps-post", color=style.GREY, linestyle="dashed", linewidth=0.9, zorder=0.5, gid="front"
        )
    _scale_axes(axes, points, metric)


def _n(point: GroupPoint) -> str:
    timed = "" if point.seconds.n == point.score.n else f", {point.seconds.n} timed"
    return f" (n = {point.score.n}{timed})"


def _handle(point: GroupPoint, label: str) -> Line2D:
    """The marker of a group in the legend."""
    return Line2D(
        [],
        [],
        color=point.color,
        marker=point.marker,
        markerfacecolor="none" if point.invalid else None,
        markersize=6,
        linestyle="none",
        label=label,
    )


def _points(groups: Sequence[Group], labels: Sequence[str], metric: Metric) -> tuple[list[GroupPoint], list[str]]:
    models = [group.model for group in groups]
    by_model = len(groups) > len(style.PALETTE) >= len(set(models))
    by_model = by_model and max(map(models.count, models)) <= len(style.MARKERS)
    colors: dict[str, str] = {}
    used: dict[str, int] = {}
    points: list[GroupPoint] = []
    untimed: list[str] = []
    for group, label in zip(groups, labels, strict=True):
        timed, scores = group.marked_values(FIT_SECONDS)[0], group.values(metric)
        (seconds, invalid), score = group.measured(FIT_SECONDS), group.measured(metric)[0]
        color = colors.setdefault(group.model if by_model else label, style.PALETTE[len(colors) % len(style.PALETTE)])
        if seconds is None or score is None:
            untimed.append(label)
            continue
        # groups of one model have one colour where that goes; else markers change with colours, 84 times before one returns
        number = used.get(color, 0) if by_model else len(points)
        used[color] = used.get(color, 0) + 1
        marker = style.MARKERS[number % len(style.MARKERS)]
        seeds = tuple((timed[seed], scores[seed]) for seed in timed if seed in scores)
        points.append(GroupPoint(label, color, marker, seconds, score, invalid, seeds))
    return points, untimed


def _draw_point(axes: Axes, point: GroupPoint, elinewidth: float) -> None:
    if len(point.seeds) > 1:
        axes.plot(*zip(*point.seeds, strict=True), ".", color=point.color, markersize=3, alpha=0.6, zorder=1)
    axes.errorbar(
        point.seconds.mean,
        point.score.mean,
        xerr=_error_bar(point.seconds, least=point.seconds.mean * 0.02),
        yerr=_error_bar(point.score),
        color=point.color,
        marker=point.marker,
        markerfacecolor="none" if point.invalid else None,
        markersize=6,
        elinewidth=elinewidth,
        capsize=2,
        linestyle="none",
    )


def _error_bar(measured: Measurement, *, least: float = -math.inf) -> list[list[float]] | None:
    """Lengths below and above the mean, within what the quantity can be; the lower end stays at or above `least`."""
    if measured.low is None or measured.high is None or not math.isfinite(measured.mean):
        return None
    return [[measured.mean - max(measured.low, least)], [measured.high - measured.mean]]


def _scale_axes(axes: Axes, points: Sequence[GroupPoint], metric: Metric) -> None:
    means = [point.seconds.mean for point in points]
    axes.grid(visible=True)
    if min(means) > 0 and max(means) > LOG_RATIO * min(means):
        axes.set_xscale("log")
        axes.set_xlabel("fit time (s, logarithmic)")
        plain_log_ticks(axes, "x")
    else:
        axes.set_xlim(left=0)
    if metric.kind == "accuracy":
        low, high = axes.get_ylim()
        # room for markers at the ends, and none for what no accuracy can be
        axes.set_ylim(max(low, -0.02), min(high, 1.02))
