"""RandAugment's operations against Pillow's, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from benchmark.training.augmenting.augmentation import augmentation_layers, reseed

pytestmark = pytest.mark.tf

NEAREST, AFFINE = Image.Resampling.NEAREST, Image.Transform.AFFINE


def by_pillow(image, name, sign, magnitude):
    width, height = image.size
    factor = 1 + sign * 0.9 * magnitude
    right, down = int(150 / 331 * width * magnitude), int(150 / 331 * height * magnitude)
    moves = {
        "shear_x": (1, sign * 0.3 * magnitude, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, sign * 0.3 * magnitude, 1, 0),
        "translate_x": (1, 0, -sign * right, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, -sign * down),
    }
    if name in moves:
        return image.transform(image.size, AFFINE, moves[name], NEAREST)
    return {
        "identity": lambda: image,
        "rotate": lambda: image.rotate(sign * 30 * magnitude),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "color": lambda: ImageEnhance.Color(image).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(4 * magnitude)),
        "solarize": lambda: ImageOps.solarize(image, 255 * (1 - magnitude)),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }[name]()


@pytest.mark.parametrize("shape", [(32, 32, 3), (24, 40, 1)])
@pytest.mark.parametrize("magnitude", [0.3, 1.0])
def test_each_operation_is_that_of_pillow(shape, magnitude):
    from benchmark.training.augmenting.randaugment import OPERATIONS, apply_operations

    array = np.random.default_rng(0).normal(120, 40, shape).clip(10, 220).astype(np.uint8)
    image = Image.fromarray(array if shape[-1] == 3 else array[..., 0])
    chosen = np.tile(np.arange(len(OPERATIONS)), 2)
    sign = np.repeat(np.array([1, -1], np.float32), len(OPERATIONS))
    images = np.repeat(array[None].astype(np.float32), len(chosen), axis=0)
    out = np.asarray(apply_operations(images, chosen, sign, magnitude))
    for one, number, direction in zip(out, chosen, sign, strict=True):
        expected = np.asarray(by_pillow(image, OPERATIONS[number], direction, magnitude)).reshape(shape)
        # Pillow rounds between its steps
        assert np.abs(one - expected).max() < 1.5, (OPERATIONS[number], direction)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_changed_by_itself_and_reseeding_repeats_it(channels):
    import keras

    (layer,) = augmentation_layers((("randaugment", (("layers", 2), ("magnitude", 0.5))),), channels)
    images = keras.Input((20, 20, channels))
    model = keras.Model(images, layer(images))
    batch = np.repeat(np.random.default_rng(0).uniform(0, 255, (1, 20, 20, channels)), 64, axis=0).astype(np.float32)
    reseed(model, 3, 7)
    first = np.asarray(model(batch, training=True))
    reseed(model, 3, 7)
    assert np.array_equal(first, np.asarray(model(batch, training=True)))
    assert len(np.unique(first.round(), axis=0)) > 30
    assert first.min() >= -1e-3
    assert first.max() <= 255 + 1e-3
    assert np.array_equal(np.asarray(model(batch, training=False)), batch)
