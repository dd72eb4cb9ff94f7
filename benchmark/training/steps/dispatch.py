"""One training step and one prediction, compiled once for each stage, by the backend that Keras computes with.

Each backend has a module of its own, which is imported only where that backend is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark.training.steps.base import Steps


def compiled_steps(
    model: keras.Model,
    core: keras.Model,
    optimizer: Any,
    loss: Any,
    *,
    one_hot: bool,
    multi_label: bool = False,
    given: str = "uint8",
) -> Steps:
    """Steps that train `model` (the core behind its augmentation) and predict with `core`.

    The core shares its layers with `model`. The optimizer is not built yet. With `multi_label` a prediction is right where all
    labels of an image are; `given` is the type of the arrays that are trained on and predicted for.

    Side effects:
        Builds the optimizer for the variables that are trainable now.
    """
    optimizer.build(model.trainable_variables)
    backend = keras.backend.backend()
    if backend == "jax":
        from benchmark.training.steps.jax import JaxSteps

        return JaxSteps(model, core, optimizer, loss, one_hot=one_hot, multi_label=multi_label)
    if backend == "torch":
        from benchmark.training.steps.torch import TorchSteps

        return TorchSteps(model, core, optimizer, loss, one_hot=one_hot, multi_label=multi_label)
    from benchmark.training.steps.tensorflow import TensorFlowSteps

    return TensorFlowSteps(model, core, optimizer, loss, one_hot=one_hot, multi_label=multi_label, given=given)


def compiled_average(share: float) -> Callable[[list[Any], list[Any]], list[Any]]:
    """Averages and values, tensors of the backend, to new averages that are nearer to the values by a share of the way.

    Where both are equal, nothing changes, to the bit.
    """
    backend = importlib.import_module(f"benchmark.training.steps.{keras.backend.backend()}")
    average: Callable[[list[Any], list[Any]], list[Any]] = backend.moving_average(share)
    return average


def compiled_forward(model: keras.Model) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Images [b, h, w, c] to the output of `model` in its own type, with dropout off."""
    backend = importlib.import_module(f"benchmark.training.steps.{keras.backend.backend()}")
    forward: Callable[[NDArray[np.uint8]], Any] = backend.forward_pass(model)
    return lambda images: np.asarray(forward(images))


def scores_of(model: keras.Model, activation: Any) -> tuple[Any, Callable[[int], NDArray[Any]]]:
    """What `model` makes of one activation [1, …], with dropout off: [classes], and the gradient of each of these.

    Returns:
        The scores, and a function that gives ∂score/∂activation [1, …] without its first axis, for the number of a class.
    """
    backend = importlib.import_module(f"benchmark.training.steps.{keras.backend.backend()}")
    scores, gradient_of = backend.scores_of(model, activation)
    return scores, lambda label: np.asarray(keras.ops.convert_to_numpy(gradient_of(label)))[0]
