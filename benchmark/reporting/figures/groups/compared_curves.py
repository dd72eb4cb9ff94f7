"""Draws learning curves of several groups in one axes: a line for the mean of each group, a band for its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.errors import UserError
from benchmark.reporting.figures.drawing import style, text_fitting
from benchmark.reporting.figures.groups.curves import (
    SeedCurve,
    draw_mean,
    epochs_of_all,
    finish_axes,
    finite,
    mean_ends_early,
    note_on_means,
)
from benchmark.reporting.figures.groups.group_lines import (
    GroupLook,
    legend_below,
    look_of,
)

QUANTITIES = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
"""The columns of `history` that can be drawn so."""

_PARTS = {"val": "validation", "train": "training"}
_BODY_INCHES = 2.7
_MANY = 7
"""With more groups than this bands are lighter: they lie on each other."""


@style.styled
def draw_compared_curves(title: str, groups: Mapping[str, Sequence[SeedCurve]], notes: Sequence[str] = ()) -> Figure:
    """Accuracy and loss by epoch, validation where all groups have some, else training.

    Args:
        title: What the groups have in common.
        groups: The seeds of each group by its label, at least one with at least one epoch each.
        notes: What is not shown.
    """
    everything = [curve for curves in groups.values() for curve in curves]
    prefix = "val" if all(np.isfinite(curve.values("val_loss")).any() for curve in everything) else "train"
    legend = legend_below(list(groups), [f" (n = {len(curves)})" for curves in groups.values()])
    lines = "line: mean of the seeds, band: from the lowest to the highest seed"
    body = style.sheet(
        _BODY_INCHES + legend.inches,
        f"{title}: learning curves",
        f"{_PARTS[prefix]} data by epoch; {lines if len(everything) > len(groups) else 'one seed each'}",
        [*_note_on_one_seed(groups), *note_on_means(groups.values()), *notes],
    )
    for axes, quantity in zip(body.subplots(1, 2), ("accuracy", "loss"), strict=True):
        _draw_groups(axes, groups, f"{prefix}_{quantity}")
    body.legend(
        handles=_handles(legend.labels), loc="outside lower center", ncols=legend.columns, handlelength=2.8,
        columnspacing=1.4,
    )  # fmt: skip
    return style.finish(body)


def plot_curves(axes: Axes, groups: Mapping[str, Sequence[SeedCurve]], quantity: str) -> None:
    """Draw one quantity onto axes of the caller's, with a legend on them.

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
    _draw_groups(axes, groups, quantity)
    labels = [f"{text_fitting.legible(label)} (n = {len(curves)})" for label, curves in groups.items()]
    axes.legend(handles=_handles(labels), fontsize="small", handlelength=2.8)


def _draw_groups(axes: Axes, groups: Mapping[str, Sequence[SeedCurve]], quantity: str) -> None:
    # a group that shares its first epochs with a longer one lies on it, so that both are seen
    longest_first = sorted(enumerate(groups.values()), key=lambda item: (-epochs_of_all(item[1]), -item[0]))
    for number, curves in longest_first:
        _draw_group(axes, curves, quantity, look_of(number), alpha=0.18 if len(groups) <= _MANY else 0.08)
    part, _, name = quantity.partition("_")
    finish_axes(axes, name, [curve for curves in groups.values() for curve in curves])
    axes.set_ylabel(f"{_PARTS[part]} {axes.get_ylabel()}")


def _draw_group(axes: Axes, curves: Sequence[SeedCurve], quantity: str, look: GroupLook, *, alpha: float) -> None:
    """The mean of the seeds and their band as far as all of them go, then each seed that goes on."""
    if len(curves) > 1:
        common = epochs_of_all(curves)
        seeds = np.array([finite(curve.values(quantity)[:common]) for curve in curves])
        axes.fill_between(
            curves[0].numbers[:common],
            np.fmin.reduce(seeds),
            np.fmax.reduce(seeds),
            color=look.color,
            alpha=alpha,
            linewidth=0,
            gid="band",
        )
        if mean_ends_early(curves):
            for curve in curves:
                rest = slice(common - 1, None)
                axes.plot(
                    curve.numbers[rest],
                    finite(curve.values(quantity))[rest],
                    color=look.color,
                    linewidth=0.7,
                    alpha=0.6,
                )
    draw_mean(axes, curves, quantity, look.color, look.dashes)


def _handles(labels: Sequence[str]) -> list[Line2D]:
    looks = [look_of(number) for number in range(len(labels))]
    return [
        Line2D([], [], color=look.color, linestyle=look.dashes, linewidth=1.9, label=label)
        for look, label in zip(looks, labels, strict=True)
    ]


def _note_on_one_seed(groups: Mapping[str, Sequence[SeedCurve]]) -> list[str]:
    alone = sum(len(curves) == 1 for curves in groups.values())
    if not alone:
        return []
    which = "Each line" if alone == len(groups) else "A line with n = 1"
    return [f"{which} is one seed, and has no band: how much of a difference is chance cannot be seen."]
