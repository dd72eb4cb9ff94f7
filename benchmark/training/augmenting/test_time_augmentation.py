"""Test-time augmentation: averages predictions over an image as it is and over random views of it.

A view is a random horizontal flip and a rotation by up to 0.05 of a turn (18 degrees) to either side. Views are rounded
to whole pixel values like the data themselves, so that the compiled prediction serves them too. Their randomness is a
pure function of the seed, the number of the view, and the size of the batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark.matrix.cell import Parameters
from benchmark.training.augmenting.augmentation import augmentation_layers, reseed
from benchmark.training.data.dataset import Images

_VIEW: Parameters = (("flip", "horizontal"), ("rotation", 0.05))
"""What a view is, as a value of the setting `augment`."""

_FIRST_EPOCH = 1 << 30
"""View 1 is drawn as if in the epoch after this one, which no training reaches."""


class ViewGenerator:
    """Makes views of images [b, h, w, c] of one shape (h, w, c), drawn from a seed."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self._seed = seed
        images = x = keras.Input(shape, dtype="float32")
        for layer in augmentation_layers(_VIEW, shape[-1]):
            x = layer(x)
        self._model = keras.Model(images, x, name="view")

    def begin(self, number: int) -> None:
        """Starts view `number` (1, 2, …) of a set of images; its batches are drawn one after another by `view`."""
        reseed(self._model, self._seed, _FIRST_EPOCH + number)

    def view(self, images: Images) -> Images:
        """The current view of the next batch [b, h, w, c], uint8 like the batch itself."""
        changed = keras.ops.convert_to_numpy(self._model(images.astype(np.float32), training=True))
        return np.rint(np.clip(changed, 0, 255)).astype(np.uint8)


def average_views(
    plain: NDArray[np.float32],
    predict_all: Callable[[Callable[[Images], Images]], NDArray[np.float32]],
    viewer: ViewGenerator,
    views: int,
) -> NDArray[np.float32]:
    """The mean of the plain probabilities [n, classes] and those of `views` views, every view counting the same.

    Args:
        plain: Probabilities of the images as they are.
        predict_all: Predicts all images, [n, classes], after applying its argument to each batch of them.
        viewer: Makes the views.
        views: Number of views, at least 1.
    """
    total: NDArray[Any] = plain.astype(np.float64)
    for number in range(1, views + 1):
        viewer.begin(number)
        total += predict_all(viewer.view)
    return (total / (views + 1)).astype(np.float32)
