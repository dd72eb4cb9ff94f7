"""The training step and the prediction on PyTorch: forward, gradients, update, one operation after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.prediction_metrics import HALF
from benchmark.training.steps.base import BatchResult, Inputs, Steps
from benchmark.training.steps.torch_graph import without_ceremony


class TorchSteps(Steps):
    """See `dispatch.compiled_steps`; the optimizer is built."""

    def __init__(
        self, model: keras.Model, core: keras.Model, optimizer: Any, loss: Any, *, one_hot: bool, multi_label: bool
    ) -> None:
        self._model = without_ceremony(model)
        self._optimizer = optimizer
        self._loss = loss
        self._one_hot, self._multi_label = one_hot, multi_label
        self._learning = model.trainable_variables
        self._taken = model.inputs[0].dtype
        self._predict = forward_pass(core)
        self._kept: list[Any] = []

    def train(self, inputs: Inputs, labels: NDArray[Any], share: float = 1.0, *, update: bool = True) -> BatchResult:
        truth = _tensor(labels)
        images, *further = inputs if isinstance(inputs, tuple) else (inputs,)
        tensors = [_tensor(images, self._taken), *map(_tensor, further)]
        probabilities = self._model(tensors if further else tensors[0], training=True)
        total = sum(self._model.losses, start=self._loss(truth, probabilities))
        values = [variable.value for variable in self._learning]
        gradients = list(torch.autograd.grad(self._optimizer.scale_loss(total), values, allow_unused=True))
        with torch.no_grad():
            if share < 1:
                gradients = [None if one is None else share * one for one in gradients]
            if self._kept:
                gradients = [_sum(*pair) for pair in zip(self._kept, gradients, strict=True)]
            self._kept = [] if update else gradients
            if update:
                self._optimizer.apply(gradients, self._learning)
            if self._multi_label:
                hits = ((probabilities >= HALF) == (truth >= HALF)).all(-1)
            else:
                hits = torch.argmax(probabilities, -1) == (truth.argmax(-1) if self._one_hot else truth)
            correct = torch.sum(hits)
        return BatchResult(len(images), total.detach(), correct)


def forward_pass(model: keras.Model) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Images or features [b, …] to the output of `model` in its own type, with dropout off."""
    taken, model = model.inputs[0].dtype, without_ceremony(model)

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            return np.asarray(keras.ops.convert_to_numpy(model(_tensor(batch, taken), training=False)))

    return run


def moving_average(share: float) -> Callable[[list[Any], list[Any]], list[Any]]:
    """See `dispatch.compiled_average`."""

    def moved(averages: list[Any], values: list[Any]) -> list[Any]:
        with torch.no_grad():
            return [torch.lerp(mean, one, share) for mean, one in zip(averages, values, strict=True)]

    return moved


def _sum(kept: Any, gradient: Any) -> Any:
    return gradient if kept is None else kept if gradient is None else kept + gradient


def _tensor(array: NDArray[Any], dtype: str | None = None) -> Any:
    """On the cell's device; PyTorch takes no memory that must not be written."""
    return keras.ops.convert_to_tensor(array if array.flags.writeable else array.copy(), dtype=dtype)


def scores_of(model: keras.Model, activation: Any) -> tuple[Any, Callable[[int], Any]]:
    """See `dispatch.scores_of`."""
    watched = activation.detach().requires_grad_()
    scores = model(watched, training=False)[0]
    return scores.detach(), lambda label: torch.autograd.grad(scores[label], watched, retain_graph=True)[0]
