"""Accuracy and loss of a network on a set of examples, averaged in float64 on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.prediction_metrics import cross_entropies, predicted_classes, prediction_metrics
from benchmark.training.data.dataset import ExampleSet, Images
from benchmark.training.losses import ExampleLosses
from benchmark.training.plugin_metrics import PluginMetric

if TYPE_CHECKING:
    from benchmark.training.steps.base import Steps


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracy as a fraction 0..1; loss as the mean of what `training/losses.py` gives for each image; further metrics."""

    accuracy: float
    loss: float
    further: Mapping[str, float | None] = field(default_factory=dict)


def evaluate(
    steps: Steps,
    examples: ExampleSet,
    batch_size: int,
    on_batch: Callable[[], object],
    losses: ExampleLosses = cross_entropies,
    *,
    further: bool = False,
    own: Collection[PluginMetric] = (),
) -> Scores:
    """Scores of the current weights, with dropout and augmentation off; `further` metrics too where they are asked for.

    The examples are not empty; `on_batch` is called after each batch and may raise to stop. `own` are metrics of the user's.
    """
    probabilities, labels = predict(steps, examples, batch_size, on_batch), examples.split.labels
    scores = compute_scores(probabilities, labels, losses)
    if not math.isfinite(scores.loss):
        return scores
    metrics: dict[str, float | None] = {each.name: each.value(labels, probabilities) for each in own}
    if further:
        predicted = predicted_classes(probabilities, multi_label=labels.ndim == 2)
        metrics |= prediction_metrics(labels, predicted, probabilities)
    return replace(scores, further=metrics)


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


def compute_scores(
    probabilities: NDArray[Any], labels: NDArray[Any], losses: ExampleLosses = cross_entropies
) -> Scores:
    """Accuracy and loss of probabilities [n, classes] for labels [n]; of equal probabilities the first class counts.

    For rows of several labels [n, classes] accuracy is the share of images all of whose labels are right.
    """
    correct = predicted_classes(probabilities, multi_label=labels.ndim == 2) == labels
    if labels.ndim == 2:
        correct = correct.all(axis=-1)
    return Scores(float(correct.mean()), float(losses(probabilities, labels).mean()))
