"""Draws a few training images of each class."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from benchmark.reporting.figures.drawing import text_fitting
from benchmark.reporting.figures.drawing.image_tiles import channels_note, join_images
from benchmark.reporting.figures.drawing.prepared_images import PreparedImages
from benchmark.reporting.figures.drawing.style import SMALL_POINTS, finish, hide_frame, sheet, styled

COLUMNS = 10
MOST_ROWS = 20
_NAME_INCHES = 1.3
_BODY_INCHES = 4.7


@styled
def draw_training_images(name: str, images: PreparedImages) -> Figure:
    """A row of training images for each class, chosen at random with a fixed seed.

    Args:
        name: What the dataset is called.
        images: Its images; those of the validation part are among the training images here.
    """
    classes = list(range(len(images.class_names)))[:MOST_ROWS]
    rows = [_choose(images, label) for label in classes]
    size = images.side
    channels = images.data.channels
    colour = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    left_out = len(images.class_names) - len(classes)
    body = sheet(
        max(_BODY_INCHES / COLUMNS * len(classes), 0.5),
        f"{name}: training images",
        f"{COLUMNS} of each class at {size} x {size} pixels, {colour}; "
        f"n = {sum(images.counts.training) + sum(images.counts.validation):,} with the validation part",
        [*([f"{left_out} more classes are not shown."] if left_out else []), *channels_note(channels)],
    )
    axes = body.add_subplot()
    gap = max(1, round(size * 0.06))
    axes.imshow(
        join_images([[images.training[place] for place in row] for row in rows], gap, COLUMNS), interpolation="auto"
    )
    hide_frame(axes)
    axes.set_xticks([])
    names = text_fitting.cut_distinct([images.class_names[label] for label in classes], SMALL_POINTS, _NAME_INCHES)
    axes.set_yticks([row * (size + gap) + (size - 1) / 2 for row in range(len(rows))], names)
    return finish(body)


def _choose(images: PreparedImages, label: int) -> list[int]:
    places = np.flatnonzero(images.training_labels == label)
    chosen = np.random.default_rng([0, label]).permutation(places)[:COLUMNS]
    return [int(place) for place in np.sort(chosen)]
