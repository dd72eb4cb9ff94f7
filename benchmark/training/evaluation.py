"""Accuracy and loss of a network on a set of examples, added up in float64 on the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.training.data import Examples
from benchmark.training.steps import Steps

_SMALLEST = 1e-7
"""Probabilities are clipped to [1e-7, 1 - 1e-7] before the logarithm, as Keras does."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracy as a fraction 0..1; loss as mean cross-entropy in nats, without label smoothing."""

    accuracy: float
    loss: float


def evaluate(steps: Steps, examples: Examples, batch_size: int, on_batch: Callable[[], object]) -> Scores:
    """Scores of the current weights, with dropout and augmentation off.

    The loss is plain cross-entropy in every stage: smoothed labels are a way to train, and a loss against them could
    not be compared between strategies.

    Args:
        steps: Predict with the weights that are evaluated.
        examples: At least one.
        batch_size: Images in one forward pass.
        on_batch: Called after each batch; may raise to stop.
    """
    correct, loss = 0, 0.0
    labels = examples.split.labels
    start = 0
    for images, _ in examples.batches(batch_size):
        probabilities = steps.predict(images)
        truth = labels[start : start + len(images)]
        start += len(images)
        correct += int((probabilities.argmax(axis=-1) == truth).sum())
        loss += float(cross_entropies(probabilities, truth).sum())
        on_batch()
    return Scores(correct / len(examples), loss / len(examples))


def cross_entropies(probabilities: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.float64]:
    """-ln p(label) for each row of `probabilities` [n, classes]; NaN where the probability is NaN."""
    of_label = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(of_label, _SMALLEST, 1 - _SMALLEST))
