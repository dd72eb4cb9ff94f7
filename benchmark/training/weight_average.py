"""The moving average of a network's weights over the updates of a stage.

After each update, average <- ema * average + (1 - ema) * weights, beginning with the weights after the first update, as
optimizers of Keras do with `use_ema`. Moving averages of batch normalisation are averaged like the weights that they belong to
(as of TensorFlow's EfficientNets and timm), since those of the last few batches would not fit averaged weights. Frozen layers
stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
from numpy.typing import NDArray

from benchmark.training.callbacks import WeightArrays
from benchmark.training.steps.dispatch import compiled_average
from benchmark.training.weights.weight_files import array_copy, assign_weights, weight_arrays


class WeightAverage:
    """Averages the weights of those layers of a model that learn when it is made.

    Args:
        core: The model that is trained.
        ema: Which share of the average an update leaves, 0 < ema < 1.
    """

    def __init__(self, core: keras.Model, ema: float) -> None:
        self._core = core
        learning = [weight for layer in core.layers if layer.trainable for weight in layer.weights]
        self._variables = {one.path: one for one in learning if "float" in keras.backend.standardize_dtype(one.dtype)}
        self._move = compiled_average(1 - ema)
        self._averages: list[Any] = []

    def update(self) -> None:
        """Takes the weights in as they are after an update."""
        values = [keras.ops.convert_to_tensor(variable) for variable in self._variables.values()]
        # new arrays from the first: an optimizer writes into those of the weights
        self._averages = self._move(self._averages or values, values)

    def arrays(self) -> WeightArrays:
        """The averages by the paths of their variables; empty before the first update."""
        return {path: array_copy(mean) for path, mean in zip(self._variables, self._averages, strict=False)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Goes back to what `arrays` returned."""
        self._averages = [keras.ops.convert_to_tensor(arrays[path]) for path in self._variables if path in arrays]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averages in the place of its weights for as long as this lasts."""
        plain = weight_arrays(self._core)
        assign_weights(self._core, {**plain, **self.arrays()})
        yield
        assign_weights(self._core, plain)
