"""What a stage needs of a backend's steps, whichever backend it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Inputs: TypeAlias = NDArray[Any] | tuple[NDArray[Any], ...]
"""What a model takes of a batch: images or features [b, …], and where there are further inputs the array of each behind them."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Mean loss and number of correct predictions of one batch, as scalars of the backend that may not be there yet."""

    examples: int
    loss: Any
    correct: Any


class Steps(Protocol):
    """What a stage needs of a backend. Images are [b, h, w, c] uint8, or [b, …] features of frozen layers."""

    _predict: Callable[[NDArray[Any]], Any]

    def train(self, inputs: Inputs, labels: NDArray[Any], share: float = 1.0, *, update: bool = True) -> BatchResult:
        """Updates the weights by one batch; does not wait for a device that works in the background.

        Args:
            inputs: Of the batch.
            labels: Of its images, integers [b] or vectors [b, classes].
            share: What its gradient is multiplied with where an update takes the mean of several batches.
            update: False where later batches belong to the same update, for which the gradient is kept.
        """

    def begin_epoch(self, number: int) -> None:
        """Called before each epoch of a stage, counted from 1."""
        del number  # for steps that follow it

    def end_epoch(self, values: Mapping[str, float]) -> float | None:  # noqa: ARG002  for steps with schedules of their own
        """Called after each epoch; the learning rate that it had, where the network decides it.

        Args:
            values: `train_loss` and `train_accuracy` of it, `val_loss` and `val_accuracy` where there are validation images.
        """
        return None

    def predict(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Class probabilities [b, classes], with dropout and augmentation off."""
        return np.asarray(self._predict(images), dtype=np.float32)


def count_of(inputs: Inputs) -> int:
    """How many images a batch has."""
    return len(inputs[0] if isinstance(inputs, tuple) else inputs)
