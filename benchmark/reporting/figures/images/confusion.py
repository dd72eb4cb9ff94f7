"""Draws confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.style import LABEL_POINTS, SMALL_POINTS, finish, sheet, styled
from benchmark.reporting.predictions.stored_predictions import Predictions

MOST_FIELDS = 500
"""With more classes several that follow each other share a field: more would not be seen, and take gigabytes."""
MOST_NUMBERED = 25
"""With more classes the cells are too small for their numbers, and not every class is named."""

_NAME_INCHES = 1.2
_MATRIX_INCHES = 4.0


@styled
def draw_confusion(title: str, members: Sequence[Predictions]) -> Figure:
    """The confusion matrix: counts as numbers, the share of each true class as shade."""
    names = members[0].class_names
    together = -(-len(names) // MOST_FIELDS)
    classes = -(-len(names) // together)
    counts: NDArray[np.int64] = np.zeros((classes, classes), dtype=np.int64)
    for member in members:
        np.add.at(counts, (member.labels // together, member.predicted // together), 1)
    accuracy = np.mean(np.concatenate([member.predicted == member.labels for member in members]))
    body = sheet(
        _MATRIX_INCHES + 0.9, f"{title}: confusion on the test data", f"{describe_n(members)}; accuracy {accuracy:.4f}"
    )
    axes = body.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    step = -(-classes // MOST_NUMBERED)
    shown = list(range(0, classes, step))
    labels = text_fitting.cut_distinct([names[field * together] for field in shown], SMALL_POINTS, _NAME_INCHES)
    column = _MATRIX_INCHES / len(shown)
    upright = all(text_fitting.width(label, SMALL_POINTS) < column * 0.9 for label in labels)
    axes.set_xticks(shown, labels, rotation=0 if upright else 90)
    axes.set_yticks(shown, labels)
    axes.set_xlabel("predicted class" if together == 1 else f"predicted class, {together} to a field")
    axes.set_ylabel("true class")
    axes.spines[:].set_visible(True)
    if step == 1:
        _write_counts(axes, counts, shares, column)
    bar = body.colorbar(shade, ax=axes, shrink=0.8, pad=0.02, format=lambda value, _: f"{value:.0%}")
    bar.set_label("share of the true class", fontsize=LABEL_POINTS)
    bar.outline.set_visible(False)
    return finish(body)


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64], column_inches: float) -> None:
    longest = text_fitting.width(str(counts.max()), 1.0)
    points = min(LABEL_POINTS, 0.88 * column_inches / longest, column_inches * 72 * 0.6)
    for true, predicted in np.argwhere(counts):
        axes.text(
            predicted,
            true,
            str(counts[true, predicted]),
            ha="center",
            va="center",
            fontsize=points,
            color="white" if shares[true, predicted] > 0.5 else "black",
        )


def describe_n(members: Sequence[Predictions]) -> str:
    """On how many images and seeds a figure rests: `n = 360 images x 3 seeds, added up`."""
    sizes = [len(member.labels) for member in members]
    if len(members) == 1:
        return f"n = {sizes[0]:,} images, one seed"
    if len(set(sizes)) == 1:
        return f"n = {sizes[0]:,} images x {len(members)} seeds, added up"
    return f"n = {sum(sizes):,} predictions of {len(members)} seeds, added up"
