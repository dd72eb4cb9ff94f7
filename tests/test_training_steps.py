from __future__ import annotations

import keras
import numpy as np
import pytest
from training_cells import DIGITS, architecture, cell, stage

from benchmark.training.losses import build_loss, is_one_hot
from benchmark.training.networks.network import build_network
from benchmark.training.stages import build_optimizer, set_trainable, training_model
from benchmark.training.steps.base import BatchResult
from benchmark.training.steps.dispatch import compiled_steps
from benchmark.training.steps.tensorflow import TensorFlowSteps

pytestmark = pytest.mark.tf


def made(kind, spec, *, one_hot=False, precision="float32"):
    keras.utils.set_random_seed(0)
    network = build_network(architecture("basic_cnn", filters=(4, 4), dense_units=8, dropout=0.0), DIGITS)
    set_trainable(network, spec.train)
    optimizer = build_optimizer(spec, precision)
    model = training_model(network, spec)
    return kind(model, network.core, optimizer, build_loss(spec, one_hot=one_hot), one_hot=one_hot), network


class KerasSteps:
    """The same steps by Keras's own `train_on_batch`."""

    def __init__(self, model, core, optimizer, loss, *, one_hot):
        assert not one_hot
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        model.compile(optimizer=optimizer, loss=loss, metrics=metrics, auto_scale_loss=False)
        self._model, self._core = model, core

    def train(self, images, labels):
        self._model.reset_metrics()  # Keras tells running means
        logs = self._model.train_on_batch(images, labels, return_dict=True)
        return BatchResult(len(images), logs["loss"], round(float(logs["accuracy"]) * len(images)))

    def predict(self, images):
        return self._core.predict_on_batch(images)


def batches(count=6):
    random = np.random.default_rng(0)
    for size in [8] * (count - 1) + [3]:
        yield random.integers(0, 256, (size, 16, 16, 1), dtype=np.uint8), random.integers(0, 10, size).astype(np.int32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.01},
        {"optimizer": "rmsprop", "momentum": 0.0},
        {"optimizer": "adamw", "weight_decay": 0.01},
        {"train": "last:2"},
    ],
)
def test_our_step_and_kerass_own_train_alike(changes):
    ours, network = made(compiled_steps, stage(**changes))
    theirs, other = made(KerasSteps, stage(**changes))
    assert isinstance(ours, TensorFlowSteps)
    for images, labels in batches():
        a, b = ours.train(images, labels), theirs.train(images, labels)
        assert float(a.loss) == pytest.approx(float(b.loss), rel=1e-4)
        assert int(a.correct) == b.correct
    for one, two in zip(network.core.weights, other.core.weights, strict=True):
        assert np.allclose(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(two), atol=1e-4)
    images = next(batches())[0]
    assert np.allclose(ours.predict(images), theirs.predict(images), atol=1e-4)


def test_labels_as_vectors_give_the_same_loss_as_integers():
    integers, _ = made(compiled_steps, stage())
    vectors, _ = made(compiled_steps, stage(), one_hot=True)
    for images, labels in batches():
        a = integers.train(images, labels)
        b = vectors.train(images, np.eye(10, dtype=np.float32)[labels])
        assert float(a.loss) == pytest.approx(float(b.loss), rel=1e-4)
        assert int(a.correct) == int(b.correct)


def test_smoothing_needs_vectors():
    assert is_one_hot(cell(labels="integer", stages=(stage(), stage(label_smoothing=0.1))))
    assert is_one_hot(cell(labels="one_hot"))
    assert not is_one_hot(cell(labels="integer"))


def test_a_step_is_traced_once_for_all_batch_sizes():
    steps, _ = made(compiled_steps, stage(augment=(("flip", "horizontal"), ("rotation", 0.1))))
    for images, labels in batches():
        steps.train(images, labels)
        steps.predict(images)
    assert steps._train.experimental_get_tracing_count() == 1
    assert steps._predict.experimental_get_tracing_count() == 1


def test_weight_decay_leaves_biases_and_norms_alone():
    spec = stage(weight_decay=0.1)
    optimizer = build_optimizer(spec, "float32")
    network = build_network(architecture("advanced_cnn", filters=(4,), stage_dropout=(0.0,)), DIGITS)
    optimizer.build(network.core.trainable_variables)
    decayed = {v.path for v in network.core.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed == {path for path in (v.path for v in network.core.trainable_variables) if path.endswith("kernel")}


def test_float16_scales_its_loss():
    assert isinstance(build_optimizer(stage(), "mixed_float16"), keras.optimizers.LossScaleOptimizer)
    assert not isinstance(build_optimizer(stage(), "mixed_bfloat16"), keras.optimizers.LossScaleOptimizer)


def test_adamw_without_decay_trains_like_adam():
    assert type(build_optimizer(stage(optimizer="adamw", weight_decay=0.0), "float32")) is keras.optimizers.Adam
    assert type(build_optimizer(stage(optimizer="adamw", weight_decay=1e-4), "float32")) is keras.optimizers.AdamW
