"""What a cell got wrong on the test images: how often which class was taken for which, and the surest mistakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from benchmark.reporting.page_content import MistakenImage, Mistakes
from benchmark.reporting.predictions.stored_predictions import Predictions

if TYPE_CHECKING:
    from benchmark.images.compressed_images import ImageArray

CONFUSIONS, SUREST = 5, 8
_SIDE = 56
"""Pixels of the side of a picture on the page."""


def mistakes_of(predictions: Predictions, images: ImageArray | None, percent: Callable[[float], str]) -> Mistakes:
    """The mistakes among a cell's predictions.

    Args:
        predictions: For its test images.
        images: The prepared test set [n, h, w, c] uint8, which their indices point into; None where it is not at hand.
        percent: Writes a probability.
    """
    counts: dict[tuple[int, int], int] = {}
    rows = predictions.wrong.tolist()
    for row in rows:
        pair = int(predictions.labels[row]), int(predictions.predicted[row])
        counts[pair] = counts.get(pair, 0) + 1
    names, confidence = predictions.class_names, predictions.confidence
    surest = tuple(
        MistakenImage(
            int(predictions.indices[row]),
            names[int(predictions.labels[row])],
            names[int(predictions.predicted[row])],
            percent(float(confidence[row])),
            "" if images is None else _png(images, int(predictions.indices[row])),
        )
        for row in rows[:SUREST]
    )
    return Mistakes(len(rows), len(predictions.labels), _most_frequent(counts, names), surest)


def _most_frequent(counts: Mapping[tuple[int, int], int], names: tuple[str, ...]) -> tuple[tuple[str, str, int], ...]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple((names[true], names[predicted], count) for (true, predicted), count in ordered[:CONFUSIONS])


def _png(images: ImageArray, index: int) -> str:
    from PIL import Image

    image = images[index]
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image[..., :3])
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
