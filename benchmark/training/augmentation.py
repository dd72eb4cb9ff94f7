"""Random transformations of training images as Keras layers, whose randomness is a pure function of (seed, epoch).

Keras's random layers count up a state as they draw. Here that state is set anew at each epoch's begin, for these
layers and for dropout alike, so that an epoch can be trained again after a restart with the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmark.matrix.cell import Parameters

_PIXELS = (0.0, 255.0)
_FLIPS = {"horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}
_SEED_STATE = "seed_generator_state"

# float32 under every policy: positions and hues do not fit into 8 bits of mantissa
_SAME = {"seed": 0, "dtype": "float32"}


def augmentation_layers(augment: Parameters, channels: int) -> list[keras.layers.Layer]:
    """The layers that a stage's `augment` table names, geometry before colour, each for values 0..255.

    Args:
        augment: (name, value) pairs; amounts are fractions 0..1, an amount of 0 is left out.
        channels: 1 or 3. Saturation and hue of `color_jitter` exist only for 3.
    """
    wanted: Mapping[str, Any] = dict(augment)
    return [layer for name, make in _LAYERS.items() if wanted.get(name) for layer in make(wanted[name], channels)]


def _flip(mode: str, _channels: int) -> list[keras.layers.Layer]:
    return [layers.RandomFlip(_FLIPS[mode], name="augment_flip", **_SAME)]


def _rotation(turn: float, _channels: int) -> list[keras.layers.Layer]:
    return [layers.RandomRotation(turn, name="augment_rotation", **_SAME)]


def _zoom(amount: float, _channels: int) -> list[keras.layers.Layer]:
    return [layers.RandomZoom(amount, name="augment_zoom", **_SAME)]


def _translation(amount: float, _channels: int) -> list[keras.layers.Layer]:
    return [layers.RandomTranslation(amount, amount, name="augment_translation", **_SAME)]


def _contrast(amount: float, _channels: int) -> list[keras.layers.Layer]:
    return [layers.RandomContrast(amount, value_range=_PIXELS, name="augment_contrast", **_SAME)]


def _brightness(amount: float, _channels: int) -> list[keras.layers.Layer]:
    return [layers.RandomBrightness(amount, value_range=_PIXELS, name="augment_brightness", **_SAME)]


def _color_jitter(amount: float, channels: int) -> list[keras.layers.Layer]:
    """Brightness, contrast, and in colour saturation and hue, each by up to `amount`."""
    jitter = [
        layers.RandomBrightness(amount, value_range=_PIXELS, name="augment_jitter_brightness", **_SAME),
        layers.RandomContrast(amount, value_range=_PIXELS, name="augment_jitter_contrast", **_SAME),
    ]
    if channels == 3:
        # Keras multiplies the saturation by x / (1 - x): these ends make that 1 - amount and 1 + amount. Its values
        # must lie in 0..1, for it clips the saturation to the value range
        ends = ((1 - amount) / (2 - amount), (1 + amount) / (2 + amount))
        jitter += [
            layers.Rescaling(1 / 255, dtype="float32", name="augment_jitter_to_unit"),
            layers.RandomSaturation(ends, value_range=(0.0, 1.0), name="augment_jitter_saturation", **_SAME),
            layers.RandomHue(amount, value_range=(0.0, 1.0), name="augment_jitter_hue", **_SAME),
            layers.Rescaling(255, dtype="float32", name="augment_jitter_to_pixels"),
        ]
    return jitter


_LAYERS: dict[str, Callable[[Any, int], list[keras.layers.Layer]]] = {
    "flip": _flip,
    "rotation": _rotation,
    "zoom": _zoom,
    "translation": _translation,
    "contrast": _contrast,
    "brightness": _brightness,
    "color_jitter": _color_jitter,
}


def reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Sets every random state of `model` (augmentation, dropout) to what `epoch` of a cell with `seed` begins with."""
    states = [variable for variable in model.variables if variable.path.endswith(_SEED_STATE)]
    for index, state in enumerate(states):
        words = np.random.SeedSequence([seed, epoch, index]).generate_state(2) % (2**31 - 1)
        state.assign(words.astype(keras.backend.standardize_dtype(state.dtype)))
    if keras.backend.backend() == "torch":
        import torch

        # there dropout without a seed of its own draws from the global generator, whatever its state says
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
