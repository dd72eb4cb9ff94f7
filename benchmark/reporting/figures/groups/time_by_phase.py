"""Draws where the time of each group went: seconds of every phase, and their shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.notation import number
from benchmark.reporting.rows.phases import PHASES

MOST_BARS = 45
"""With more bars a picture is longer than a page."""

_COLORS: Mapping[str, str] = {  # light and dark by turns, for who sees no colours
    "start": style.GREEN,
    "tracing": style.ORANGE,
    "input": style.VERMILLION,
    "steps": style.BLUE,
    "validation": style.SKY,
    "checkpoint": style.PURPLE,
    "evaluation": style.BLACK,
    "rest": "#b0b0b0",
}
_BAR_INCHES = 0.2
NAME_INCHES = 2.4
"""The room for the name of a bar."""

Phases = Mapping[str, float]
"""Seconds by phase, with the keys of `PHASES`."""


@style.styled
def draw_time_by_phase(title: str, groups: Mapping[str, Phases], notes: Sequence[str] = ()) -> Figure:
    """Two panels: the mean seconds of each group's cells by phase, and the shares of their sum.

    Args:
        title: What the groups have in common.
        groups: Mean seconds by phase, of each group by its label.
        notes: What is not shown.
    """
    shown = _shown_phases(groups)
    body = style.sheet(
        _BAR_INCHES * len(groups) + 1.0,
        f"{title}: time by phase",
        "mean over the cells of a row, from the start of the process to its end; the number is the sum in seconds",
        notes,
    )
    seconds, shares = body.subplots(1, 2, sharey=True)
    plot_phases(seconds, groups)
    labels = text_fitting.cut_distinct(list(groups), style.SMALL_POINTS, NAME_INCHES)
    seconds.set_yticks(range(len(groups)), labels)
    _stack(shares, [_shares(phases) for phases in groups.values()])
    shares.set_xlim(0, 1)
    shares.set_xlabel("share")
    shares.xaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f} %")
    shares.tick_params(axis="y", length=0)
    body.legend(handles=_handles(shown), loc="outside lower center", ncols=min(len(shown), 4), columnspacing=1.2)
    return style.finish(body)


def plot_phases(axes: Axes, groups: Mapping[str, Phases], *, legend: bool = False) -> None:
    """Draw a bar of seconds for each group onto axes, the first at the top.

    Args:
        axes: To draw on.
        groups: Mean seconds by phase, of each group by its label.
        legend: Whether the axes get a legend of the phases.
    """
    _stack(axes, list(groups.values()))
    longest = max((sum(phases.values()) for phases in groups.values()), default=1.0)
    for place, phases in enumerate(groups.values()):
        total = sum(phases.values())
        axes.text(total + longest * 0.02, place, number(total, "seconds"), va="center", fontsize=style.SMALL_POINTS)
    axes.set_xlim(0, longest * 1.2)
    axes.set_xlabel("seconds")
    axes.set_yticks(range(len(groups)), [text_fitting.legible(label) for label in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    if legend:
        axes.legend(handles=_handles(_shown_phases(groups)), fontsize="small")


def _stack(axes: Axes, bars: Sequence[Phases]) -> None:
    left = [0.0] * len(bars)
    for phase, color in _COLORS.items():
        widths = [max(each.get(phase, 0.0), 0.0) for each in bars]
        if any(widths):
            axes.barh(
                range(len(bars)), widths, left=left, height=0.72, color=color,
                edgecolor="white", linewidth=0.4,
            )  # fmt: skip
            left = [a + b for a, b in zip(left, widths, strict=True)]


def _shares(phases: Phases) -> Phases:
    total = sum(phases.values()) or 1.0
    return {name: seconds / total for name, seconds in phases.items()}


def _shown_phases(groups: Mapping[str, Phases]) -> list[str]:
    return [name for name in _COLORS if any(phases.get(name, 0.0) > 0 for phases in groups.values())]


def _handles(phases: Sequence[str]) -> list[Patch]:
    return [Patch(facecolor=_COLORS[name], edgecolor="white", linewidth=0.4, label=PHASES[name]) for name in phases]
