"""The training step and the prediction on TensorFlow, traced once for all batch sizes.

Keras's own `fit` and `train_on_batch` trace a first time for full batches and again when the last, smaller one comes,
and tracing is what small cells spend most time on; here the batch dimension is open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmark.prediction_metrics import HALF
from benchmark.training.steps.base import BatchResult, Inputs, Steps, count_of


class TensorFlowSteps(Steps):
    """See `dispatch.compiled_steps`; the optimizer is built."""

    def __init__(
        self,
        model: keras.Model,
        core: keras.Model,
        optimizer: Any,
        loss: Any,
        *,
        one_hot: bool,
        multi_label: bool,
        given: str,
    ) -> None:
        images, taken = tf.TensorSpec((None, *core.input_shape[1:]), given), core.inputs[0].dtype
        further = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs[1:]]
        inputs = (images, *further) if further else images
        classes = core.output_shape[-1]
        labels = tf.TensorSpec((None, classes), tf.float32) if one_hot else tf.TensorSpec((None,), tf.int32)
        variables = model.trainable_variables

        def trained(x: Any, y: Any, use: Callable[[list[Any]], None]) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                given_to = (tf.cast(x[0], taken), *x[1:]) if further else tf.cast(x, taken)
                probabilities = model(given_to, training=True)
                value = loss(y, probabilities)
                total = tf.add_n([value, *model.losses]) if model.losses else value
                scaled = optimizer.scale_loss(total)
            use(tape.gradient(scaled, variables))
            if multi_label:
                hits = tf.reduce_all(tf.equal(probabilities >= HALF, y >= HALF), axis=-1)
            else:
                truth = tf.argmax(y, axis=-1, output_type=tf.int32) if one_hot else y
                hits = tf.equal(tf.argmax(probabilities, axis=-1, output_type=tf.int32), truth)
            return total, tf.reduce_sum(tf.cast(hits, tf.int32))

        def apply(gradients: list[Any]) -> None:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

        def gather(x: Any, y: Any, share: Any) -> tuple[Any, Any]:
            def keep(gradients: list[Any]) -> None:
                for kept, gradient in zip(self._kept, gradients, strict=True):
                    if gradient is not None:
                        kept.assign_add(share * gradient)

            return trained(x, y, keep)

        def apply_kept() -> None:
            apply([kept.value() for kept in self._kept])
            for kept in self._kept:
                kept.assign(tf.zeros_like(kept))

        self._learning = variables
        self._kept: list[Any] = []
        self._train = tf.function(lambda x, y: trained(x, y, apply), input_signature=(inputs, labels), autograph=False)
        share = tf.TensorSpec((), tf.float32)
        self._gather = tf.function(gather, input_signature=(inputs, labels, share), autograph=False)
        self._apply_kept = tf.function(apply_kept, input_signature=(), autograph=False)
        self._predict = forward_pass(core, given)

    def train(self, inputs: Inputs, labels: NDArray[Any], share: float = 1.0, *, update: bool = True) -> BatchResult:
        if share == 1:
            loss, correct = self._train(inputs, labels)
            return BatchResult(count_of(inputs), loss, correct)
        if not self._kept:
            self._kept += [tf.Variable(tf.zeros_like(variable.value)) for variable in self._learning]
        loss, correct = self._gather(inputs, labels, np.float32(share))
        if update:
            self._apply_kept()
        return BatchResult(count_of(inputs), loss, correct)


def forward_pass(model: keras.Model, given: str = "uint8") -> Callable[[NDArray[Any]], Any]:
    """Images or features [b, …] of the type `given` to the output of `model` in its own type, with dropout off."""
    images, taken = tf.TensorSpec((None, *model.input_shape[1:]), given), model.inputs[0].dtype
    forward: Callable[[NDArray[Any]], Any] = tf.function(
        lambda x: model(tf.cast(x, taken), training=False), input_signature=(images,), autograph=False
    )
    return forward


def moving_average(share: float) -> Callable[[list[Any], list[Any]], list[Any]]:
    """See `dispatch.compiled_average`."""
    moved: Callable[[list[Any], list[Any]], list[Any]] = tf.function(
        lambda averages, values: [mean + share * (one - mean) for mean, one in zip(averages, values, strict=True)],
        autograph=False,
    )
    return moved


def scores_of(model: keras.Model, activation: Any) -> tuple[Any, Callable[[int], Any]]:
    """See `dispatch.scores_of`."""
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(activation)
        scores = model(activation, training=False)[0]
        each = tf.unstack(scores)
    return scores, lambda label: tape.gradient(each[label], activation)
