"""Draws what cells and runs took against what was expected of them before they began."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.reporting.figures.drawing import style
from benchmark.reporting.figures.groups.curves import plain_log_ticks

RUN = "whole run, as it was forecast"
"""The basis of the forecast of a run."""

_LOOKS = {
    "same shape": (style.BLUE, "o"),
    "same model": (style.GREEN, "s"),
    "other code": (style.SKY, "P"),
    "cost model": (style.ORANGE, "^"),
    "usual": (style.VERMILLION, "v"),
    "unknown": (style.PURPLE, "X"),
    RUN: (style.BLACK, "D"),
}
_WORDS = {
    "same shape": "from cells that differ in the seed",
    "same model": "from other cells of the model",
    "other code": "from the model with other code of yours",
    "cost model": "from other models on this machine",
    "usual": "from the usual speed elsewhere",
    "unknown": "a guess: a command's first time",
}
_BODY_INCHES = 3.4


@dataclass(frozen=True, slots=True)
class Forecast:
    """What was expected of a cell or a run, and what came of it.

    Attributes:
        expected, actual: Seconds, both above 0.
        basis: What the forecast of a cell follows from (`forecast.estimate.Basis`), or `RUN`.
    """

    expected: float
    actual: float
    basis: str


@style.styled
def draw_forecasts(title: str, forecasts: Sequence[Forecast]) -> Figure:
    """A point for each cell and run, with logarithmic axes; below the line it took less than was expected.

    Args:
        title: Of which machine.
        forecasts: At least one.
    """
    cells = [each for each in forecasts if each.basis != RUN]
    runs = len(forecasts) - len(cells)
    counts = [f"{len(cells)} cells"] if cells else []
    counts += [f"{runs} runs" if runs > 1 else "one run"] if runs else []
    body = style.sheet(
        _BODY_INCHES,
        f"{title}: forecast against actual time",
        f"{' and '.join(counts)}; line: as expected, dotted: half and twice as long; {in_words(cells or forecasts)}",
        ["A cell's forecast is made of what had been recorded on this machine before the cell began."] if cells else [],
    )
    axes = body.add_subplot()
    plot_forecasts(axes, forecasts)
    return style.finish(body)


def in_words(forecasts: Sequence[Forecast]) -> str:
    """How good the forecasts were: `median error: a factor of 1.2`."""
    factor = math.exp(median(abs(math.log(each.actual / each.expected)) for each in forecasts))
    return f"median error: a factor of {factor:.3g}"


def plot_forecasts(axes: Axes, forecasts: Sequence[Forecast]) -> None:
    """Draw the points onto axes, with a legend on them."""
    ends = [value for each in forecasts for value in (each.expected, each.actual)]
    low, high = min(ends) / 2, max(ends) * 2
    axes.set_xscale("log")
    axes.set_yscale("log")
    for factor, line in ((1.0, "solid"), (0.5, "dotted"), (2.0, "dotted")):
        axes.plot([low, high], [low * factor, high * factor], color=style.GREY, linewidth=0.8, linestyle=line, zorder=0)
    for basis, (color, marker) in _LOOKS.items():
        points = [(each.expected, each.actual) for each in forecasts if each.basis == basis]
        if points:
            axes.plot(
                *zip(*points, strict=True), linestyle="none", marker=marker, color=color, markersize=5, alpha=0.75,
                label=f"{_WORDS.get(basis, basis)} ({len(points)})",
            )  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    for which in ("x", "y"):
        plain_log_ticks(axes, which)
    axes.set_xlabel("expected (s, logarithmic)")
    axes.set_ylabel("actual (s, logarithmic)")
    axes.grid(visible=True)
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize="small")
