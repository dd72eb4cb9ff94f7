"""Losses of plug-ins, users' own functions of labels and probabilities, for training steps and for scores.

    def my_loss(y_true, y_pred, *, power=2.0):            # of keras.ops, on every backend
        return ...                                        # the loss of each image [b], or their mean

`y_pred` are probabilities [b, classes] float32. `y_true` are integers [b] int32; with `labels = "one_hot"`, label smoothing,
mixup or cutmix vectors [b, classes] float32. Parameters of the matrix are keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.facts import PLUGIN
from benchmark.matrix.cell import Cell, Parameters, Stage
from benchmark.matrix.recipes.loss import is_plugin_loss, loss_parameters
from benchmark.training.process.plugin_code import PluginError, PluginFunction, naming_plugin_line, plugin_function


@dataclass(frozen=True, slots=True)
class PluginLoss:
    """A user's loss.

    Attributes:
        function: Of labels and probabilities.
        arguments: Its keyword arguments.
        takes_vectors: Whether its labels are vectors.
        file: It is of; None for a package's.
        place: Of its definition, for messages.
    """

    function: PluginFunction
    arguments: Parameters
    takes_vectors: bool
    file: str | None
    place: str

    def mean_of(self, label_smoothing: float, *, one_hot: bool) -> Callable[..., Any]:
        """A function of labels and probabilities [b, classes] to the mean loss, with weights [b] as Keras has them.

        Args:
            label_smoothing: Share of the label spread over all.
            one_hot: Whether the labels it is given are vectors [b, classes] and not integers [b].
        """
        import keras

        def mean(truth: Any, probabilities: Any, sample_weight: Any = None) -> Any:
            if not self.takes_vectors:
                truth = keras.ops.argmax(truth, axis=-1) if one_hot else truth
                truth = keras.ops.cast(truth, "int32")
            elif label_smoothing:
                truth = truth * (1 - label_smoothing) + label_smoothing / truth.shape[-1]
            losses = self._losses(truth, probabilities)
            if sample_weight is None:
                return keras.ops.mean(losses)
            if len(losses.shape) == 0:
                raise PluginError(
                    f"{self.place}: expected the loss of each image, of shape (b,), beside class_weights, found a single "
                    "number; leave out the mean"
                )
            return keras.ops.mean(losses * sample_weight)

        return mean

    def of_examples(
        self, probabilities: NDArray[Any], labels: NDArray[Any], batch_size: int = 1024
    ) -> NDArray[np.float64]:
        """Losses [n] for probabilities [n, classes] and labels [n], computed in batches; a batch's mean is that of each."""
        import keras

        losses = np.empty(len(labels))
        for start in range(0, len(labels), batch_size):
            part = slice(start, start + batch_size)
            truth: NDArray[Any] = labels[part].astype(np.int32)
            if self.takes_vectors:
                truth = np.eye(probabilities.shape[-1], dtype=np.float32)[truth]
            given = [keras.ops.convert_to_tensor(each) for each in (truth, probabilities[part].astype(np.float32))]
            losses[part] = keras.ops.convert_to_numpy(self._losses(*given))
        return losses

    def _losses(self, truth: Any, probabilities: Any) -> Any:
        """Losses [b], or their mean, float32."""
        import keras

        with naming_plugin_line(self.file, self.place):
            losses = keras.ops.convert_to_tensor(self.function(truth, probabilities, **dict(self.arguments)))
        images = probabilities.shape[0]
        if tuple(losses.shape) not in {(), (images,), (None,)}:
            shown = "b" if images is None else images
            raise PluginError(
                f"{self.place}: expected the loss of each image, of shape ({shown},), or their mean, for y_true of shape "
                f"{tuple(truth.shape)} and y_pred of shape {tuple(probabilities.shape)}, found shape {tuple(losses.shape)}"
            )
        return keras.ops.cast(losses, "float32")


def plugin_loss(cell: Cell, stage: Stage, *, allowed: bool) -> PluginLoss | None:
    """The user's loss that a stage of a cell names, tried once; None where it names one of bench.

    Args:
        cell: Whose stage it is.
        stage: Names the function, its parameters and the digest of its code.
        allowed: Whether the user has allowed plug-ins to run; else the digest must stand in the trust file.

    Raises:
        PluginError: It may not run, cannot be loaded, or does not return finite losses of the right shape.

    Side effects:
        Whatever the plug-in does, in this process.
    """
    name, arguments = loss_parameters(stage.loss)
    if not is_plugin_loss(name):
        return None
    takes_vectors = cell.labels == "one_hot" or bool(stage.label_smoothing) or stage.is_mixed
    return _loaded(
        name.removeprefix(PLUGIN),
        tuple(arguments.items()),
        str(stage.loss_code),
        stage.loss_file,
        cell.data.num_classes,
        takes_vectors=takes_vectors,
        allowed=allowed,
    )


@lru_cache
def _loaded(
    name: str, arguments: Parameters, code: str, file: str | None, classes: int, *, takes_vectors: bool, allowed: bool
) -> PluginLoss:
    function, place = plugin_function(name, "losses", code, file, allowed=allowed)
    loss = PluginLoss(function, arguments, takes_vectors, file, place)
    labels = np.arange(classes + 1) % classes  # one more, so that losses of classes are not taken for those of images
    scores = np.cos(np.arange(len(labels) * classes).reshape(-1, classes))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    losses = loss.of_examples(probabilities, labels)
    if not np.isfinite(losses).all():
        raise PluginError(
            f"{place}: expected finite losses of probabilities from {probabilities.min():.2g} to {probabilities.max():.2g}, "
            f"found {losses[~np.isfinite(losses)][0]}; keep arguments of logarithms and divisors away from 0"
        )
    return loss
