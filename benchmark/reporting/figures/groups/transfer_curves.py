"""Draws the learning curves of a fine-tuned network beside those of the same network from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.figures.groups.curves import SeedCurve, draw_lines, finish_axes, mark_kept, note_on_means
from benchmark.reporting.figures.groups.group_lines import DASHED
from benchmark.reporting.notation import written
from benchmark.reporting.statistics.intervals import measure

_BODY_INCHES = 2.6


@dataclass(frozen=True, slots=True)
class TransferSide:
    """One of the two networks.

    Attributes:
        strategy: Name of its strategy.
        curves: One for each seed, with at least one epoch each.
        test_accuracies: Of the seeds that have one, 0..1.
    """

    strategy: str
    curves: Sequence[SeedCurve]
    test_accuracies: Sequence[float]


@style.styled
def draw_transfer(title: str, fine_tuned: TransferSide, scratch: TransferSide) -> Figure:
    """Validation accuracy and loss of both by epoch; training values where nothing was validated."""
    sides = ((fine_tuned, style.VERMILLION), (scratch, style.BLUE))
    both = [*fine_tuned.curves, *scratch.curves]
    validated = all(np.isfinite(curve.values("val_loss")).any() for curve in both)
    prefix, part = ("val", "validation") if validated else ("train", "training")
    body = style.sheet(
        _BODY_INCHES + 0.45,
        f"{title}: fine-tuned against from scratch",
        f"{part} data by epoch; thin: one seed, thick: mean of seeds, ring: kept epoch",
        note_on_means([fine_tuned.curves, scratch.curves]),
    )
    for axes, quantity in zip(body.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for side, color in reversed(sides):
            draw_lines(axes, side.curves, f"{prefix}_{quantity}", color, dashed=side is scratch)
            mark_kept(axes, side.curves, f"{prefix}_{quantity}", color)
        finish_axes(axes, quantity, both)
        axes.set_ylabel(f"{part} {axes.get_ylabel()}")
    handles = [
        Line2D(
            [], [], color=color, linewidth=1.9, linestyle=DASHED if side is scratch else "solid",
            label=_label("from scratch" if side is scratch else "fine-tuned", side),
        )
        for side, color in sides
    ]  # fmt: skip
    body.legend(handles=handles, loc="outside lower center", ncols=1, handlelength=2.8)
    return style.finish(body)


def _label(what: str, side: TransferSide) -> str:
    accuracy = measure(side.test_accuracies)
    score = "; no test accuracy" if accuracy is None else f"; test accuracy {written(accuracy, 'accuracy')}"
    room = style.SHEET_INCHES - 1.0 - text_fitting.width(score, style.SMALL_POINTS)
    return text_fitting.cut(f"{what}: {side.strategy}", style.SMALL_POINTS, room) + score
