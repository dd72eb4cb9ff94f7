"""Accuracy and loss of a network on a set of examples, averaged in float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.training.data.dataset import ExampleSet, Images

if TYPE_CHECKING:
    from benchmark.training.steps.base import Steps

_SMALLEST = 1e-7
"""Probabilities are clipped to [1e-7, 1 - 1e-7] before the logarithm, as Keras does."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracy as a fraction 0..1; loss as mean cross-entropy in nats, without label smoothing."""

    accuracy: float
    loss: float


def evaluate(steps: Steps, examples: ExampleSet, batch_size: int, on_batch: Callable[[], object]) -> Scores:
    """Scores of the current weights, with dropout and augmentation off.

    The loss is plain cross-entropy in every stage: smoothed labels are a way to train, and a loss against them could
    not be compared between strategies.

    The examples are not empty; `on_batch` is called after each batch and may raise to stop.
    """
    return compute_scores(predict(steps, examples, batch_size, on_batch), examples.split.labels)


def predict(
    steps: Steps,
    examples: ExampleSet,
    batch_size: int,
    on_batch: Callable[[], object],
    change: Callable[[Images], Images] | None = None,
) -> NDArray[np.float32]:
    """Probabilities [n, classes] of the current weights, in the order of the examples.

    Arguments as `evaluate`; `change` maps each batch of images to what is predicted on, by default the images.
    """
    parts = []
    for images, _ in examples.batches(batch_size):
        parts.append(steps.predict(images if change is None else change(images)))
        on_batch()
    return np.concatenate(parts)


def compute_scores(probabilities: NDArray[Any], labels: NDArray[Any]) -> Scores:
    """Accuracy and loss of probabilities [n, classes] for labels [n]; of equal probabilities the first class counts."""
    correct = probabilities.argmax(axis=-1) == labels
    return Scores(float(correct.mean()), float(cross_entropies(probabilities, labels).mean()))


def cross_entropies(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """-ln p(label) for each row of `probabilities` [n, classes]; NaN where the probability is NaN."""
    of_label = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(of_label, _SMALLEST, 1 - _SMALLEST))
