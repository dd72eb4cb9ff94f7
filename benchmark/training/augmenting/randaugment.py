"""RandAugment (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719) as a Keras layer that draws for each image by itself.

Keras's own layer (3.15) applies one operation to a whole batch, turns and shears to one side only, and posterizes the more
the weaker it is set. The operations and their ranges here are those of torchvision, whose 31 magnitudes are 0..1.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
_NUMBER = {name: number for number, name in enumerate(OPERATIONS)}

_SHEAR = 0.3
_TRANSLATION = 150 / 331
"""Of the height or width."""
_TURN = math.radians(30)
_ENHANCEMENT = 0.9
_POSTERIZED_BITS = 4
_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""


class RandAugment(keras.layers.Layer):
    """Applies to each image [h, w, c], values 0..255, `count` operations one after the other, each drawn with its direction.

    Args:
        count: How many.
        magnitude: Of all operations, 0..1.
        seed: Of Keras's random state.
        **options: Those of every layer.
    """

    def __init__(self, count: int, magnitude: float, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self._count = count
        self._magnitude = magnitude
        self._seeds = keras.random.SeedGenerator(seed)

    def call(self, images: Any, *, training: bool = False) -> Any:
        """Returns the images as drawn; outside training as they are."""
        if not training:
            return images
        shape = (ops.shape(images)[0],)
        for _ in range(self._count):
            chosen = keras.random.randint(shape, 0, len(OPERATIONS), seed=self._seeds)
            sign = 1.0 - 2.0 * ops.cast(keras.random.randint(shape, 0, 2, seed=self._seeds), "float32")
            images = apply_operations(images, chosen, sign, self._magnitude)
        return images

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def apply_operations(images: Any, chosen: Any, sign: Any, magnitude: float) -> Any:
    """Applies to each image its own operation.

    Args:
        images: [b, h, w, c], values 0..255.
        chosen: [b], positions in `OPERATIONS`.
        sign: [b], 1 or -1: the direction of those that have one.
        magnitude: 0..1.

    Returns:
        Images of the same shape and range.
    """
    changed = _moved(images, chosen, sign, magnitude)
    factor = _each(1.0 + sign * _ENHANCEMENT * magnitude)
    grey = ops.sum(images * np.array(_LUMA, np.float32), axis=-1, keepdims=True) if images.shape[-1] == 3 else images
    enhanced_from = {
        "brightness": ops.zeros_like(images),
        "color": grey,
        "contrast": ops.mean(grey, axis=(1, 2, 3), keepdims=True),
        "sharpness": _blurred(images),
    }
    step = 2.0 ** round(_POSTERIZED_BITS * magnitude)
    others = {
        **{name: ops.clip(base + factor * (images - base), 0.0, 255.0) for name, base in enhanced_from.items()},
        "posterize": ops.floor(ops.round(images) / step) * step,
        "solarize": ops.where(images >= 255.0 * (1 - magnitude), 255.0 - images, images),
        "autocontrast": _stretched(images),
        "equalize": _equalized(images),
    }
    for name, other in others.items():
        changed = ops.where(_each(chosen) == _NUMBER[name], other, changed)
    return changed


def _each(values: Any) -> Any:
    """Values [b] as [b, 1, 1, 1]."""
    return ops.reshape(values, (-1, 1, 1, 1))


def _moved(images: Any, chosen: Any, sign: Any, magnitude: float) -> Any:
    """Sheared about the corner, shifted by whole pixels or turned about the middle; black comes in."""
    height, width = images.shape[1:3]

    def amount(name: str, most: float) -> Any:
        return ops.where(chosen == _NUMBER[name], sign * most, 0.0)

    shear_x, shear_y = (amount(f"shear_{axis}", _SHEAR * magnitude) for axis in "xy")
    angle = amount("rotate", _TURN * magnitude)
    shift_x = amount("translate_x", int(_TRANSLATION * width * magnitude))
    shift_y = amount("translate_y", int(_TRANSLATION * height * magnitude))
    # from a place in the result to the place in the image that is seen there, both counted from the middle of a pixel
    cos, sin, (x, y) = ops.cos(angle), ops.sin(angle), ((width - 1) / 2, (height - 1) / 2)
    rows = (
        cos, shear_x - sin, x - cos * x + sin * y + 0.5 * shear_x - shift_x,
        shear_y + sin, cos, y - sin * x - cos * y + 0.5 * shear_y - shift_y,
        ops.zeros_like(cos), ops.zeros_like(cos),
    )  # fmt: skip
    return ops.image.affine_transform(
        images, ops.stack(rows, axis=-1), interpolation="nearest", fill_mode="constant", fill_value=0
    )


def _blurred(images: Any) -> Any:
    """The mean of nine pixels, of which the middle one counts five times; the border stays."""
    height, width = images.shape[1:3]
    if min(height, width) < 3:
        return images
    neighbours = sum(
        images[:, row : height - 2 + row, column : width - 2 + column] for row in range(3) for column in range(3)
    )
    inner = (neighbours + 4.0 * images[:, 1:-1, 1:-1]) / 13.0
    inside = np.zeros((1, height, width, 1), dtype=bool)
    inside[:, 1:-1, 1:-1] = True
    return ops.where(inside, ops.pad(inner, ((0, 0), (1, 1), (1, 1), (0, 0))), images)


def _stretched(images: Any) -> Any:
    """Each channel from 0 to 255; one of a single value as it is."""
    low, high = (extreme(images, axis=(1, 2), keepdims=True) for extreme in (ops.min, ops.max))
    return ops.where(high > low, (images - low) * 255.0 / ops.maximum(high - low, 1e-6), images)


def _equalized(images: Any) -> Any:
    """Each channel with all values about as often, as `PIL.ImageOps.equalize`."""
    height, width, channels = images.shape[1:]
    values = ops.cast(ops.clip(ops.round(images), 0, 255), "int32")
    planes = ops.shape(images)[0] * channels
    flat = ops.reshape(ops.transpose(values, (0, 3, 1, 2)), (planes, height * width))
    places = flat + 256 * ops.expand_dims(ops.arange(planes, dtype="int32"), -1)
    # in integers: sums of floats have no deterministic implementation on a GPU in PyTorch, nor in every TensorFlow
    ones = ops.reshape(ops.ones_like(places), (-1,))
    counts = ops.reshape(ops.segment_sum(ones, ops.reshape(places, (-1,)), num_segments=planes * 256), (planes, 256))
    below = ops.cumsum(counts, axis=-1) - counts
    # all pixels but those of the brightest value there is
    step = ops.max(ops.where(counts > 0, below, 0), axis=-1, keepdims=True) // 255
    table = ops.minimum((below + step // 2) // ops.maximum(step, 1), 255)
    table = ops.where(step > 0, table, ops.expand_dims(ops.arange(256, dtype="int32"), 0))
    equalized = ops.cast(ops.take(ops.reshape(table, (-1,)), places, axis=0), "float32")
    return ops.transpose(ops.reshape(equalized, (-1, channels, height, width)), (0, 2, 3, 1))
