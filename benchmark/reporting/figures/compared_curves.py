"""Draws one quantity by epoch of several groups onto axes, so that they can be compared: a colour for each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmark.errors import UserError
from benchmark.reporting.figures.curves import DASHED, SeedCurve, draw_lines, finish_axes, mark_kept
from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.style import PALETTE

QUANTITIES = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
"""The columns of `history` that can be drawn so."""

_PARTS = {"val": "validation", "train": "training"}


def plot_curves(axes: Axes, groups: Mapping[str, Sequence[SeedCurve]], quantity: str) -> None:
    """Draw thin lines for seeds and a thick one for their mean, with rings at the kept epochs and a legend.

    Args:
        axes: To draw on.
        groups: The seeds of each group by its label, at least one with at least one epoch each.
        quantity: One of `QUANTITIES`.

    Raises:
        UserError: `quantity` is none, or none of the groups has recorded it.
    """
    if quantity not in QUANTITIES:
        raise UserError(f"metric: expected one of {', '.join(QUANTITIES)}, got {quantity!r}")
    everything = [curve for curves in groups.values() for curve in curves]
    if not any(np.isfinite(curve.values(quantity)).any() for curve in everything):
        raise UserError(
            f"metric: no epoch of these cells has a {quantity}; without validation data there are train_… alone"
        )
    handles = []
    for number, (label, curves) in enumerate(groups.items()):
        again, place = divmod(number, len(PALETTE))
        draw_lines(axes, curves, quantity, PALETTE[place], dashed=again % 2 == 1)
        mark_kept(axes, curves, quantity, PALETTE[place])
        shown = f"{text_fitting.legible(label)} (n = {len(curves)})"
        dashes: Any = DASHED if again % 2 else "solid"
        handles.append(Line2D([], [], color=PALETTE[place], linestyle=dashes, linewidth=1.9, label=shown))
    part, _, name = quantity.partition("_")
    finish_axes(axes, name, everything)
    axes.set_ylabel(f"{_PARTS[part]} {axes.get_ylabel()}")
    axes.legend(handles=handles, fontsize="small")
