"""Random transformations of training images as Keras layers, whose randomness is a pure function of (seed, epoch).

Keras's random layers count up a state as they draw. Here that state is set anew at each epoch's begin, for these
layers and for dropout alike, so that an epoch can be trained again after a restart with the same draws.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmark.matrix.cell import Parameters
from benchmark.training.augmenting.randaugment import RandAugment

SEED_STATE = "seed_generator_state"
"""How the paths of the variables end that hold the states of Keras's random layers."""

_PIXELS = (0.0, 255.0)
_FLIPS = {"horizontal": "horizontal", "vertical": "vertical", "both": "horizontal_and_vertical"}

# float32 under every policy: positions and hues do not fit into the 8 significant bits of bfloat16
_OPTIONS: dict[str, Any] = {"seed": 0, "dtype": "float32"}


class RandomCrop(layers.RandomTranslation):
    """Cuts images of the same size out of images with `padding` black pixels at each side, each at a place of its own.

    Keras's own `RandomCrop` cuts all images of a batch at one place, and pads none.
    """

    def __init__(self, padding: int, **options: Any) -> None:
        super().__init__(0.0, 0.0, fill_mode="constant", fill_value=0.0, interpolation="nearest", **options)
        self._padding = padding

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Draws by how many pixels each image of a batch moves."""
        if not training:
            return None
        shape = self.backend.shape(data)
        moves = self.backend.random.randint(
            (shape[0], 2), -self._padding, self._padding + 1, seed=seed or self.generator
        )
        return {"translations": self.backend.cast(moves, "float32"), "input_shape": shape}


def augmentation_layers(augment: Parameters, channels: int) -> list[keras.layers.Layer]:
    """The layers that a stage's `augment` table names, geometry before colour, each for values 0..255.

    Args:
        augment: (name, value) pairs; amounts are fractions 0..1 or pixels, an amount of 0 is left out.
        channels: 1 or 3. Saturation and hue of `color_jitter`, and `grayscale`, exist only for 3.
    """
    settings: Mapping[str, Any] = dict(augment)
    return [layer for name, make in _LAYERS.items() if settings.get(name) for layer in make(settings[name], channels)]


def _color_jitter(amount: float, channels: int) -> list[keras.layers.Layer]:
    """Brightness, contrast, and in colour saturation and hue, each by up to `amount`."""
    jitter = [
        layers.RandomBrightness(amount, value_range=_PIXELS, name="augment_jitter_brightness", **_OPTIONS),
        layers.RandomContrast(amount, value_range=_PIXELS, name="augment_jitter_contrast", **_OPTIONS),
    ]
    if channels == 3:
        # Keras multiplies the saturation by x / (1 - x): these ends make that 1 - amount and 1 + amount. Its values
        # must lie in 0..1, for it clips the saturation to the value range
        ends = ((1 - amount) / (2 - amount), (1 + amount) / (2 + amount))
        jitter += [
            layers.Rescaling(1 / 255, dtype="float32", name="augment_jitter_to_unit"),
            layers.RandomSaturation(ends, value_range=(0.0, 1.0), name="augment_jitter_saturation", **_OPTIONS),
            layers.RandomHue(amount, value_range=(0.0, 1.0), name="augment_jitter_hue", **_OPTIONS),
            layers.Rescaling(255, dtype="float32", name="augment_jitter_to_pixels"),
        ]
    return jitter


_LAYERS: dict[str, Callable[[Any, int], list[keras.layers.Layer]]] = {
    "random_crop": lambda padding, _: [RandomCrop(padding, name="augment_random_crop", **_OPTIONS)],
    "flip": lambda mode, _: [layers.RandomFlip(_FLIPS[mode], name="augment_flip", **_OPTIONS)],
    "rotation": lambda turn, _: [layers.RandomRotation(turn, name="augment_rotation", **_OPTIONS)],
    "zoom": lambda amount, _: [layers.RandomZoom(amount, name="augment_zoom", **_OPTIONS)],
    "translation": lambda part, _: [layers.RandomTranslation(part, part, name="augment_translation", **_OPTIONS)],
    "contrast": lambda amount, _: [
        layers.RandomContrast(amount, value_range=_PIXELS, name="augment_contrast", **_OPTIONS)
    ],
    "brightness": lambda amount, _: [
        layers.RandomBrightness(amount, value_range=_PIXELS, name="augment_brightness", **_OPTIONS)
    ],
    "color_jitter": _color_jitter,
    "grayscale": lambda share, channels: (
        [layers.RandomGrayscale(share, name="augment_grayscale", **_OPTIONS)] if channels == 3 else []
    ),
    "randaugment": lambda table, _: [
        RandAugment(dict(table)["layers"], dict(table)["magnitude"], name="augment_randaugment", **_OPTIONS)
    ],
    # Keras draws the probability itself from a range
    "erase": lambda share, _: [
        layers.RandomErasing((share, share), value_range=_PIXELS, name="augment_erase", **_OPTIONS)
    ],
}


def reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Sets every random state of `model` (augmentation, dropout) to what `epoch` of a cell with this `augment_seed` begins with.

    Side effects: on PyTorch seeds the global generators too.
    """
    states = [variable for variable in model.variables if variable.path.endswith(SEED_STATE)]
    for index, state in enumerate(states):
        words = np.random.SeedSequence([seed, epoch, index]).generate_state(2) % (2**31 - 1)
        state.assign(words.astype(keras.backend.standardize_dtype(state.dtype)))
    if keras.backend.backend() == "torch":
        import torch

        # PyTorch's dropout takes no generator (https://github.com/pytorch/pytorch/issues/25104), so layers without a
        # seed of their own draw from the global one, whatever their state says
        word = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
        torch.manual_seed(word)
        # a user's own module may draw from these
        random.seed(word)
        np.random.seed(word)  # noqa: NPY002
