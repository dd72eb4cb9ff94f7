"""Trains models of Keras on PyTorch with and without what Keras does around layers.

Prints for each network whether losses, weights and predictions are equal to the bit, and the share of layers that are computed by
their `call` alone.
"""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from training_cells import DIGITS, architecture, cell, stage

from benchmark.training.networks.network import build_network
from benchmark.training.stages import set_trainable, stage_steps, training_model
from benchmark.training.steps import torch as torch_steps
from benchmark.training.steps import torch_graph

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (24, 16, 16, 1), dtype=np.uint8)
LABELS = RANDOM.integers(0, 10, 24).astype(np.int32)
DATASET = SimpleNamespace(training=SimpleNamespace(split=SimpleNamespace(labels=LABELS)), class_names=())
SIMPLE = architecture("simple_cnn", filters=(4, 8), dense_units=8, dropout=0.3, kernel_size=3)
NETWORKS = {
    "simple_cnn": (SIMPLE, "float32", {}),
    "augmented": (SIMPLE, "float32", {"augment": (("flip", "horizontal"), ("rotation", 0.1))}),
    "half": (SIMPLE, "mixed_bfloat16", {}),
    "resnet18": (architecture("resnet18", filters=(4, 4, 8, 8), dropout=0.1), "float32", {"weight_decay": 0.01}),
    "frozen": (architecture("resnet18", filters=(4, 4, 8, 8), dropout=0.1), "float32", {"train": "last:2"}),
}


class Own(keras.layers.Layer):
    """A layer as a plug-in may have it: with a loss, a state and layers of its own."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(6, activation="relu", kernel_regularizer="l2")
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x, training=None):
        self.add_loss(0.01 * keras.ops.mean(x))
        if training:
            self.seen.assign(self.seen + 1)
        return self.inner(x)


def strange():
    """A model in a model that is used twice, an own layer, an activity regularizer, an operation, a fixed `training`."""
    image = keras.Input((4, 4, 2))
    shared = keras.Model(image, keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3, padding="same")(image)))
    x = given = keras.Input((16, 16, 1))
    x = keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(2, 3, strides=4, padding="same")])(x)
    x = keras.layers.Add()([shared(x), shared(keras.layers.ReLU()(x))])
    x = keras.layers.BatchNormalization()(keras.ops.sin(x), training=False)
    x = keras.layers.Dense(8, activity_regularizer="l2")(keras.layers.Flatten()(x))
    x = keras.layers.Dropout(0.5)(Own()(x))
    return keras.Model(given, keras.layers.Dense(10, activation="softmax")(x))


def trained(name, *, plainly):
    torch_steps.without_ceremony = torch_graph.without_ceremony if plainly else lambda model: model
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    known, precision, settings = NETWORKS.get(name, (None, "float32", {}))
    keras.config.set_dtype_policy(precision)
    spec = stage(**settings)
    if known is None:
        core = model = strange()
    else:
        network = build_network(known, DIGITS)
        set_trainable(network, spec.train)
        core, model = network.core, training_model(network, spec)
    steps, _ = stage_steps(cell(backend="torch", precision=precision), spec, DATASET, model, core)
    torch.manual_seed(5)
    losses = [float(steps.train(IMAGES[:8], LABELS[:8]).loss) for _ in range(4)]
    weights = [keras.ops.convert_to_numpy(weight).tobytes() for weight in model.variables]
    return core, (losses, weights, steps.predict(IMAGES).tobytes())


def compared(name):
    core, plainly = trained(name, plainly=True)
    _, usually = trained(name, plainly=False)
    nodes = [each for depth in core._nodes_by_depth.values() for each in depth if not each.is_input]
    plain = sum(torch_graph._node(each, core).call is not None for each in nodes)
    return [a == b for a, b in zip(plainly, usually, strict=True)], plain / len(nodes)


def grown():
    """A model that was trained so is part of a larger one, and is computed and described as ever."""
    core, _ = trained("simple_cnn", plainly=True)
    first = core._run_through_graph
    torch_graph.without_ceremony(core)
    images = keras.Input(core.input_shape[1:])
    whole = keras.Model(images, core(images))
    same = torch.equal(whole(torch.tensor(IMAGES).float()), core(torch.tensor(IMAGES).float()))
    return [
        core._run_through_graph is first,
        same,
        keras.Model.from_config(core.get_config()).count_params() == core.count_params(),
    ]


if __name__ == "__main__":
    print(json.dumps({name: compared(name) for name in NETWORKS}))
