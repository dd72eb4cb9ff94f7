"""The training step and the prediction on TensorFlow, traced once for all batch sizes.

Keras's own `fit` and `train_on_batch` trace a first time for full batches and again when the last, smaller one comes,
and tracing is what small cells spend most time on; here the batch dimension is open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from benchmark.training.steps.base import BatchResult, Steps


class TensorFlowSteps(Steps):
    """See `dispatch.compiled_steps`; the optimizer is built."""

    def __init__(
        self, model: keras.Model, core: keras.Model, optimizer: Any, loss: Any, *, one_hot: bool, given: str
    ) -> None:
        images = tf.TensorSpec((None, *core.input_shape[1:]), given)
        taken = core.inputs[0].dtype
        classes = core.output_shape[-1]
        labels = tf.TensorSpec((None, classes), tf.float32) if one_hot else tf.TensorSpec((None,), tf.int32)
        variables = model.trainable_variables

        def train(x: Any, y: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                probabilities = model(tf.cast(x, taken), training=True)
                value = loss(y, probabilities)
                total = tf.add_n([value, *model.losses]) if model.losses else value
                scaled = optimizer.scale_loss(total)
            optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables, strict=True))
            truth = tf.argmax(y, axis=-1, output_type=tf.int32) if one_hot else y
            hits = tf.equal(tf.argmax(probabilities, axis=-1, output_type=tf.int32), truth)
            return total, tf.reduce_sum(tf.cast(hits, tf.int32))

        self._train = tf.function(train, input_signature=(images, labels), autograph=False)
        self._predict = forward_pass(core, given)

    def train(self, images: NDArray[Any], labels: NDArray[Any]) -> BatchResult:
        loss, correct = self._train(images, labels)
        return BatchResult(len(images), loss, correct)


def forward_pass(model: keras.Model, given: str = "uint8") -> Callable[[NDArray[Any]], Any]:
    """Images or features [b, …] of the type `given` to the output of `model` in its own type, with dropout off."""
    images, taken = tf.TensorSpec((None, *model.input_shape[1:]), given), model.inputs[0].dtype
    forward: Callable[[NDArray[Any]], Any] = tf.function(
        lambda x: model(tf.cast(x, taken), training=False), input_signature=(images,), autograph=False
    )
    return forward
