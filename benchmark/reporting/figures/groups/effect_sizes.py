"""Draws the judged differences of a report as a forest plot: each with its interval, and where no difference would be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.notation import written
from benchmark.reporting.rows.metrics import Metric
from benchmark.reporting.statistics.mean_difference import (
    BETTER,
    EQUIVALENT,
    NOT_COMPARABLE,
    NOT_RESOLVED,
    WORSE,
    Difference,
)

MOST_ROWS = 45
"""With more rows a picture is longer than a page."""

_LOOKS = {
    BETTER: (style.BLUE, "^"),
    WORSE: (style.VERMILLION, "v"),
    EQUIVALENT: (style.GREEN, "s"),
    NOT_RESOLVED: (style.GREY, "o"),
    NOT_COMPARABLE: (style.GREY, "X"),
    None: (style.GREY, "D"),
}
_ROW_INCHES = 0.21
_NAME_INCHES = 2.8
_WIDEST = 3.0
"""An interval that reaches this many times further than the points and half of the intervals goes beyond the axis."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference, and what it is the difference of."""

    label: str
    difference: Difference


@style.styled
def draw_effects(title: str, metric: Metric, effects: Sequence[Effect], notes: Sequence[str] = ()) -> Figure:
    """A row for each difference: its mean, its 95 % interval, its verdict.

    Args:
        title: What the rows have in common.
        metric: What differs.
        effects: At least one.
        notes: What is not shown.
    """
    low, high = _limits([each.difference for each in effects])
    n = _common_n(effects)
    body = style.sheet(
        _ROW_INCHES * len(effects) + 1.0,
        f"{title}: differences in {metric.title}",
        f"{f'n = {n}; ' if n else ''}mean and 95 % interval of each difference alone; verdicts are corrected for all together",
        [*_notes(effects, low, high), *notes],
    )
    axes = body.add_subplot()
    plot_effects(axes, metric, effects)
    labels = text_fitting.cut_distinct([each.label for each in effects], style.SMALL_POINTS, _NAME_INCHES)
    axes.set_yticks(range(len(effects)), labels)
    handles = _handles(effects)
    body.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.4)
    return style.finish(body)


def plot_effects(axes: Axes, metric: Metric, effects: Sequence[Effect], *, legend: bool = False) -> None:
    """Draw the rows onto axes, the first at the top, with the numbers at their right, and a legend where it is asked for."""
    differences = [each.difference for each in effects]
    low, high = _limits(differences)
    for margin in {each.margin for each in differences if each.margin}:
        axes.axvspan(-margin, margin, color=style.GREEN, alpha=0.12, linewidth=0, gid="margin")
    axes.axvline(0, color=style.GREY, linewidth=0.9)
    for place, each in enumerate(differences):
        _draw_row(axes, place, each, low, high)
    axes.set_xlim(low, high)
    axes.set_ylim(len(effects) - 0.4, -0.6)
    axes.set_yticks(range(len(effects)), [text_fitting.legible(each.label) for each in effects])
    right = axes.secondary_yaxis("right")
    right.set_yticks(
        range(len(effects)), [written(each, metric.kind, known_n=_common_n(effects)) for each in differences]
    )
    for side in (axes, right):
        side.tick_params(axis="y", length=0, pad=6, labelsize=style.SMALL_POINTS)
    right.spines[:].set_visible(False)
    axes.spines["left"].set_visible(False)
    unit = " (fraction)" if metric.kind == "accuracy" else f" ({metric.unit})" if metric.unit else ""
    way = {True: ", right is better", False: ", left is better", None: ""}[metric.higher_is_better]
    axes.set_xlabel(f"difference in {metric.title}{unit}{way}")
    axes.grid(visible=True, axis="x")
    if legend:
        axes.legend(handles=_handles(effects), fontsize="small")


def _common_n(effects: Sequence[Effect]) -> int | None:
    counts = {each.difference.n for each in effects}
    return counts.pop() if len(counts) == 1 else None


def _limits(differences: Sequence[Difference]) -> tuple[float, float]:
    """The ends of the axis: all means and usual intervals are within, and 0."""
    finite = [each for each in differences if math.isfinite(each.mean)]
    reaches = sorted(max(each.reach(-1), each.reach(1)) for each in finite if each.half_width is not None)
    usual = reaches[len(reaches) // 2] if reaches else 0.0
    most = _WIDEST * max([usual, *(abs(each.mean) for each in finite)], default=1.0)
    ends = [0.0, *(each.mean for each in finite)]
    ends += [max(each.low, -most) for each in finite if each.low is not None]
    ends += [min(each.high, most) for each in finite if each.high is not None]
    width = max(ends) - min(ends) or 1.0
    return min(ends) - 0.05 * width, max(ends) + 0.05 * width


def _draw_row(axes: Axes, place: int, each: Difference, low: float, high: float) -> None:
    color, marker = _LOOKS[each.verdict]
    if each.over_images is not None:
        wide: Any = [max(each.over_images.low, low), min(each.over_images.high, high)]
        axes.plot(wide, [place, place], color=color, linewidth=0.7, linestyle=(0, (1, 1)), gid="over images")
    if each.low is not None and each.high is not None:
        axes.plot(
            [max(each.low, low), min(each.high, high)], [place, place], color=color, linewidth=1.5, gid="interval"
        )
        for end, edge, arrow in ((each.low, low, "<"), (each.high, high, ">")):
            if (end < edge) if arrow == "<" else (end > edge):
                axes.plot(edge, place, color=color, marker=arrow, markersize=5, clip_on=False)
    hollow = each.half_width is None
    axes.plot(
        each.mean, place, color=color, marker=marker, markersize=5.5, markerfacecolor="white" if hollow else color,
        linestyle="none", zorder=3,
    )  # fmt: skip


def _notes(effects: Sequence[Effect], low: float, high: float) -> list[str]:
    notes = []
    differences = [each.difference for each in effects]
    if any(each.half_width is None for each in differences):
        notes.append("Hollow: too few seeds for an interval.")
    if any((each.low or 0.0) < low or (each.high or 0.0) > high for each in differences):
        notes.append("An arrow ends an interval that goes on.")
    if any(each.over_images for each in differences):
        notes.append("Dotted: the interval over seeds and test images.")
    if margin := next((each.margin for each in differences if each.margin), None):
        notes.append(f"Shaded: differences up to {margin:g}, which count as equivalent.")
    return notes


def _handles(effects: Sequence[Effect]) -> list[Line2D]:
    """The verdicts that there are, for a legend."""
    verdicts = {each.difference.verdict for each in effects}
    return [
        Line2D([], [], color=color, marker=marker, markersize=5.5, linewidth=1.5, label=verdict or "not judged")
        for verdict, (color, marker) in _LOOKS.items()
        if verdict in verdicts
    ]
