"""One training step and one prediction, compiled once for each stage and backend; and the features of frozen layers.

On TensorFlow both are traced with an open batch dimension: Keras's own `fit` and `train_on_batch` trace a first time
for full batches and again when the last, smaller one comes, and tracing is what small cells spend most time on.
The other backends have modules of their own, which are imported where they are used: `jax_steps.py`, `torch_steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Mean loss and number of correct predictions of one batch, as scalars of the backend that may not be there yet."""

    examples: int
    loss: Any
    correct: Any


class Steps(Protocol):
    """What a stage needs of a backend. Images are [b, h, w, c] uint8, or [b, …] features of frozen layers."""

    def train(self, images: NDArray[Any], labels: NDArray[Any]) -> BatchResult:
        """Updates the weights by one batch; does not wait for a device that works in the background."""

    def predict(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Class probabilities [b, classes], with dropout and augmentation off."""


def compiled_steps(
    model: keras.Model, core: keras.Model, optimizer: Any, loss: Any, *, one_hot: bool, given: str = "uint8"
) -> Steps:
    """Steps that train `model` (the core behind its augmentation) and predict with `core`.

    Args:
        model: What is trained.
        core: What predicts; shares its layers with `model`.
        optimizer: Not built yet.
        loss: Of labels and probabilities.
        one_hot: Whether labels are vectors.
        given: Type of the arrays that are trained on and predicted for.

    Side effects:
        Builds the optimizer for the variables that are trainable now.
    """
    optimizer.build(model.trainable_variables)
    backend = keras.backend.backend()
    if backend == "jax":
        from benchmark.training.steps.jax import JaxSteps

        return JaxSteps(model, core, optimizer, loss, one_hot=one_hot)
    if backend == "torch":
        from benchmark.training.steps.torch import TorchSteps

        return TorchSteps(model, core, optimizer, loss, one_hot=one_hot)
    return _TensorFlowSteps(model, core, optimizer, loss, one_hot=one_hot, given=given)


def compiled_forward(model: keras.Model) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Images [b, h, w, c] to the output of `model` in its own type, with dropout off."""
    backend = keras.backend.backend()
    if backend == "jax":
        from benchmark.training.steps.jax import forward_pass

        return forward_pass(model)
    if backend == "torch":
        from benchmark.training.steps.torch import forward_pass

        return forward_pass(model)
    import tensorflow as tf

    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    forward = tf.function(
        lambda x: model(tf.cast(x, tf.float32), training=False), input_signature=(images,), autograph=False
    )
    return lambda batch: np.asarray(forward(batch))


class _TensorFlowSteps:
    def __init__(
        self, model: keras.Model, core: keras.Model, optimizer: Any, loss: Any, *, one_hot: bool, given: str
    ) -> None:
        import tensorflow as tf

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

        def predict(x: Any) -> Any:
            return core(tf.cast(x, taken), training=False)

        self._train = tf.function(train, input_signature=(images, labels), autograph=False)
        self._predict = tf.function(predict, input_signature=(images,), autograph=False)

    def train(self, images: NDArray[Any], labels: NDArray[Any]) -> BatchResult:
        loss, correct = self._train(images, labels)
        return BatchResult(len(images), loss, correct)

    def predict(self, images: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(self._predict(images), dtype=np.float32)
