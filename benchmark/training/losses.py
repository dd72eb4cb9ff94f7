"""What training makes small, for a step of each backend, and the same of stored probabilities, for scores.

Probabilities [b, classes] are those of the network: of a softmax, or with `binary_cross_entropy` of a sigmoid for each class.
They are clipped to [1e-7, 1 - 1e-7] before the logarithm, as Keras does, unless logits are at hand. Losses are means over the images, in nats.

Source of the focal loss, -(1 - p)^gamma ln p for the probability p of the true class: T.-Y. Lin et al., "Focal loss for dense
object detection", ICCV (2017), here without the weights alpha. Keras is imported late: scores of scripts need none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import DataError
from benchmark.matrix.cell import Cell, Stage
from benchmark.matrix.recipes.loss import BINARY, FOCAL, loss_parameters, needs_vectors, unknown_class
from benchmark.prediction_metrics import SMALLEST_PROBABILITY, cross_entropies
from benchmark.training.plugin_losses import PluginLoss

LOGITS = "bench_logits"
"""Attribute of probabilities that holds the logits which they were made of, where these are known: of modules of PyTorch.

The loss of logits has a gradient also where a probability is below what it is clipped to, as that of plain PyTorch has.
"""

ExampleLosses: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]
"""Probabilities [n, classes] and labels [n] to the loss of each image [n]."""


def is_one_hot(cell: Cell) -> bool:
    """Whether labels are vectors, in all stages: when the cell says so, and when a loss, smoothing or mixing needs them."""
    return cell.labels == "one_hot" or any(map(needs_vectors, cell.stages))


def build_loss(
    stage: Stage, *, one_hot: bool, weights: NDArray[np.float32] | None = None, own: PluginLoss | None = None
) -> Any:
    """The stage's loss of labels and probabilities [b, classes], with its label smoothing.

    Args:
        stage: Of the cell.
        one_hot: Whether labels are vectors [b, classes] and not integers [b]; see `is_one_hot`.
        weights: What the loss of an image is multiplied with, by its class, [classes]; None for 1.
        own: The user's function, where the stage names one.
    """
    import keras

    loss = _plain_loss(stage, one_hot=one_hot) if own is None else own.mean_of(stage.label_smoothing, one_hot=one_hot)
    if weights is None:
        return loss

    def weighted(truth: Any, probabilities: Any) -> Any:
        of_class = keras.ops.convert_to_tensor(weights)
        of_image = keras.ops.matmul(truth, of_class) if one_hot else keras.ops.take(of_class, truth)
        return loss(truth, probabilities, sample_weight=of_image)

    return weighted


def class_weights(stage: Stage, labels: NDArray[Any], names: Sequence[str], source: str) -> NDArray[np.float32] | None:
    """The weights of all classes [classes] in a stage; None where each is 1.

    `balanced` is n / (classes * images of the class), whose mean over the images is 1, as scikit-learn has it.

    Args:
        stage: Of the cell.
        labels: Of its training images, [n].
        names: Of the labels 0, 1, ….
        source: Where the images come from, for messages.

    Raises:
        DataError: A weight is of a class that there is not.
    """
    if stage.class_weights is None:
        return None
    if isinstance(stage.class_weights, str):
        return (len(labels) / (len(names) * np.bincount(labels, minlength=len(names)))).astype(np.float32)
    written = dict(stage.class_weights)
    if unknown := sorted(written.keys() - set(names)):
        raise DataError(unknown_class(unknown, names, source))
    return np.array([written.get(name, 1.0) for name in names], dtype=np.float32)


def _plain_loss(stage: Stage, *, one_hot: bool) -> Any:
    of_probabilities, of_logits = (_keras_loss(stage, one_hot=one_hot, from_logits=each) for each in (False, True))

    def loss(truth: Any, probabilities: Any, **weights: Any) -> Any:
        logits = getattr(probabilities, LOGITS, None)
        return (
            of_probabilities(truth, probabilities, **weights) if logits is None else of_logits(truth, logits, **weights)
        )

    return loss


def _keras_loss(stage: Stage, *, one_hot: bool, from_logits: bool) -> Any:
    import keras

    if not one_hot:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    name, parameters = loss_parameters(stage.loss)
    how = {"label_smoothing": stage.label_smoothing, "from_logits": from_logits}
    if name == BINARY:
        return keras.losses.BinaryCrossentropy(**how)
    if name == FOCAL:
        return keras.losses.CategoricalFocalCrossentropy(alpha=1.0, **parameters, **how)
    return keras.losses.CategoricalCrossentropy(**how)


def example_losses(stage: Stage, own: PluginLoss | None = None) -> ExampleLosses:
    """The stage's loss of each image, without label smoothing: smoothed labels are a way to train, and no score.

    `own` is the user's function, where the stage names one.
    """
    if own is not None:
        return partial(own.of_examples, batch_size=stage.batch_size)
    name, parameters = loss_parameters(stage.loss)
    if name == BINARY:
        return _binary_cross_entropies
    if name == FOCAL:
        return lambda probabilities, labels: _focal_losses(probabilities, labels, parameters["gamma"])
    return cross_entropies


def _focal_losses(probabilities: NDArray[Any], labels: NDArray[Any], gamma: float) -> NDArray[np.float64]:
    of_label = _of_labels(probabilities, labels)
    losses: NDArray[np.float64] = -((1 - of_label) ** gamma) * np.log(of_label)
    return losses


def _binary_cross_entropies(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """The mean over the classes, each of which is there or not; labels [n], or rows of 0 and 1 [n, classes]."""
    there = labels if labels.ndim > 1 else np.arange(probabilities.shape[-1]) == labels[:, None]
    chances = _clipped(np.where(there, probabilities, 1 - probabilities.astype(np.float64)))
    losses: NDArray[np.float64] = -np.log(chances).mean(axis=-1)
    return losses


def _of_labels(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    return _clipped(probabilities[np.arange(len(labels)), labels])


def _clipped(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = np.clip(
        probabilities.astype(np.float64), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY
    )
    return clipped
