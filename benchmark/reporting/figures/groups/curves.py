"""Draws accuracy and loss by epoch: thin lines for seeds, a thick one for their mean; stages and kept epochs marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from benchmark import units
from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.style import BLUE, GREY, SMALL_POINTS, VERMILLION, finish, sheet, styled
from benchmark.reporting.figures.groups.group_lines import DASHED

LOG_RATIO = 30.0
"""A loss that falls by more than this is drawn on a logarithmic scale."""

_BODY_INCHES = 2.6
_PANEL_INCHES = 2.55


@dataclass(frozen=True, slots=True)
class SeedCurve:
    """The epochs of one seed.

    Attributes:
        seed: Which one.
        epochs: Rows of the view `history` of one execution, in order.
        best_epoch: The epoch whose weights were kept; None when nobody knows.
    """

    seed: int
    epochs: Sequence[Mapping[str, Any]]
    best_epoch: int | None

    def values(self, key: str) -> NDArray[np.float64]:
        """A column by epoch; NaN where it has none."""
        return np.array([np.nan if row[key] is None else row[key] for row in self.epochs], dtype=np.float64)

    @property
    def numbers(self) -> NDArray[np.float64]:
        return np.array([row["epoch"] for row in self.epochs], dtype=np.float64)

    @property
    def boundaries(self) -> list[float]:
        """Between which epochs a new stage begins: 3.5 when epoch 4 is its first."""
        return [row["epoch"] - 0.5 for before, row in pairwise(self.epochs) if row["stage"] != before["stage"]]


@styled
def draw_curves(
    title: str, curves: Sequence[SeedCurve], trained: Sequence[str] = (), notes: Sequence[str] = ()
) -> Figure:
    """Two panels, accuracy and loss by epoch, each with training and validation where something was validated.

    Args:
        title: Which cells.
        curves: One for each seed, with at least one epoch each.
        trained: What each stage trains (`head`, `last:30`, `all`).
        notes: Why seeds are missing.
    """
    body = sheet(_BODY_INCHES + 0.3, f"{title}: training", _subtitle(curves), [*note_on_means([curves]), *notes])
    panels = body.subplots(1, 2)
    has_validation = any(np.isfinite(curve.values("val_loss")).any() for curve in curves)
    for axes, quantity in zip(panels, ("accuracy", "loss"), strict=True):
        draw_lines(axes, curves, f"train_{quantity}", BLUE, dashed=has_validation)
        if has_validation:
            draw_lines(axes, curves, f"val_{quantity}", VERMILLION)
        mark_kept(axes, curves, f"val_{quantity}" if has_validation else f"train_{quantity}", VERMILLION)
        mark_stages(axes, curves, trained)
        finish_axes(axes, quantity, curves)
    _legend(body, has_validation=has_validation, several=len(curves) > 1)
    return finish(body)


def draw_lines(axes: Axes, curves: Sequence[SeedCurve], key: str, color: str, *, dashed: bool = False) -> None:
    """One column of each seed, thin, and their mean, thick, up to the last epoch that all seeds have."""
    style: Any = DASHED if dashed else "solid"
    several = len(curves) > 1
    for curve in curves:
        axes.plot(
            curve.numbers,
            finite(curve.values(key)),
            color=color,
            linestyle=style,
            linewidth=0.7 if several else 1.6,
            alpha=0.5 if several else 1.0,
            marker="." if len(curve.epochs) == 1 else "",
        )
    if several:
        draw_mean(axes, curves, key, color, style)


def draw_mean(axes: Axes, curves: Sequence[SeedCurve], key: str, color: str, dashes: Any) -> None:
    """The mean of all seeds up to the last epoch that all of them have, with a bar at its end where some go on."""
    common = epochs_of_all(curves)
    mean = finite(np.mean([curve.values(key)[:common] for curve in curves], axis=0))
    numbers = curves[0].numbers[:common]
    axes.plot(
        numbers,
        mean,
        color=color,
        linestyle=dashes,
        linewidth=1.9,
        marker="o" if common == 1 else "",
        markersize=4,
        gid="mean",
    )
    if mean_ends_early(curves):
        axes.plot(
            numbers[-1:], mean[-1:], color=color, marker="|", markersize=11, markeredgewidth=1.9, linestyle="none",
            gid="mean-end",
        )  # fmt: skip


def epochs_of_all(curves: Sequence[SeedCurve]) -> int:
    """How many epochs each of the seeds has."""
    return min(len(curve.epochs) for curve in curves)


def mean_ends_early(curves: Sequence[SeedCurve]) -> bool:
    """Whether some seeds go on after the first has ended, so that a mean of all of them cannot."""
    return len({len(curve.epochs) for curve in curves}) > 1


def note_on_means(groups: Iterable[Sequence[SeedCurve]]) -> list[str]:
    """Says what the bar at the end of a mean is, where there is one."""
    if not any(map(mean_ends_early, groups)):
        return []
    return [
        "A bar ends a mean where the first of its seeds ended: beyond it would be the mean of the others. Thin lines go on."
    ]


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values with NaN, which matplotlib leaves as a gap, in the place of infinities."""
    return np.where(np.isfinite(values), values, np.nan)


def mark_kept(axes: Axes, curves: Sequence[SeedCurve], key: str, color: str) -> None:
    """Draw a ring on each seed's line at the epoch whose weights were kept."""
    for curve in curves:
        for place in np.flatnonzero(curve.numbers == (curve.best_epoch or 0)):
            axes.plot(
                curve.numbers[place],
                finite(curve.values(key))[place],
                marker="o",
                markersize=5,
                markerfacecolor="white",
                markeredgecolor=color,
                markeredgewidth=1.3,
                linestyle="none",
                zorder=5,
                gid="kept",
            )


def mark_stages(axes: Axes, curves: Sequence[SeedCurve], trained: Sequence[str]) -> None:
    """Draw a dotted line wherever a stage ends for some seed, and the stages' names above."""
    for boundary in sorted({place for curve in curves for place in curve.boundaries}):
        axes.axvline(boundary, color=GREY, linestyle="dotted", linewidth=1.0, gid="stage")
    longest = max(curves, key=lambda curve: len(curve.epochs))
    if not longest.boundaries:
        return
    last = len(longest.epochs) + 0.5
    edges = [0.5, *longest.boundaries, last]
    middles = [(left + right) / 2 for left, right in pairwise(edges)]
    room = [_PANEL_INCHES * (right - left) / last * 0.95 for left, right in pairwise(edges)]
    above = axes.secondary_xaxis("top")
    above.set_xticks(middles, _stage_names(trained, room))
    above.tick_params(length=0, labelsize=SMALL_POINTS, colors=GREY)
    above.spines[:].set_visible(False)


def _stage_names(trained: Sequence[str], room: Sequence[float]) -> list[str]:
    """`stage 1: head`, or less of it where there is no room."""
    names = []
    for number, inches in enumerate(room, 1):
        whole = f"stage {number}: {trained[number - 1]}" if number <= len(trained) else f"stage {number}"
        choices = [text_fitting.legible(text) for text in (whole, f"stage {number}", str(number))]
        names.append(next((text for text in choices if text_fitting.width(text, SMALL_POINTS) <= inches), ""))
    return names


def finish_axes(axes: Axes, quantity: str, curves: Sequence[SeedCurve]) -> None:
    """Set labels, units and scales of a panel; a loss that spans orders of magnitude gets a logarithmic axis."""
    last = max(len(curve.epochs) for curve in curves)
    axes.set_xlim(0.5, last + 0.5)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=7))
    axes.grid(visible=True, axis="y")
    if quantity == "accuracy":
        axes.set_ylabel("accuracy (fraction)")
        return
    drawn = np.concatenate(
        [np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines if line.get_gid() != "stage"]
    )
    positive = drawn[np.isfinite(drawn) & (drawn > 0)]
    if len(positive) and positive.max() > LOG_RATIO * positive.min():
        axes.set_yscale("log")
        plain_log_ticks(axes, "y")
        axes.set_ylabel("loss (nats, logarithmic)")
    else:
        axes.set_ylabel("loss (nats)")


def plain_log_ticks(axes: Axes, which: str) -> None:
    """Set ticks 1, 2, 5, 10 … written as plain numbers: powers of ten would need mathematical markup."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    many = high / max(low, 1e-300) > 1e3
    axis.set_major_locator(LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(body: SubFigure, *, has_validation: bool, several: bool) -> None:
    thick = 1.9 if several else 1.6
    dashes: Any = DASHED if has_validation else "solid"
    handles = [Line2D([], [], color=BLUE, linewidth=thick, linestyle=dashes, label="training")]
    if has_validation:
        handles.append(Line2D([], [], color=VERMILLION, linewidth=thick, label="validation"))
    handles.append(
        Line2D(
            [], [], marker="o", markersize=5, markerfacecolor="white", markeredgecolor=VERMILLION, markeredgewidth=1.3,
            linestyle="none", label="kept epoch",
        )
    )  # fmt: skip
    if several:
        handles += [
            Line2D([], [], color=GREY, linewidth=0.7, label="one seed"),
            Line2D([], [], color=GREY, linewidth=1.9, label="mean of seeds"),
        ]
    body.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.2, columnspacing=1.4)


def _subtitle(curves: Sequence[SeedCurve]) -> str:
    """`n = 3 seeds (0, 1, 2); 10 epochs; …`, or `n = 3 seeds (0, 1, 2), 15 cells; …`."""
    numbers = list(dict.fromkeys(curve.seed for curve in curves))
    seeds = ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
    cells = f", {len(curves)} cells" if len(curves) > len(numbers) else ""
    lengths = sorted({len(curve.epochs) for curve in curves})
    epochs = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    return (
        f"n = {units.plural(len(numbers), 'seed')} ({seeds}){cells}; {epochs} epoch{'' if lengths == [1] else 's'}; "
        "training values are means over the running epoch"
    )
