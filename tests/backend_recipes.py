"""Optimizers, clipping and gradient accumulation on the backend that `KERAS_BACKEND` names: prints what came out.

`resumed`: by optimizer, whether steps from restored variables come to the same bits as without a break. `accumulated`: by
optimizer, the largest difference of a weight between two updates of gathered batches (two, then the one that is left)
and two of the same images at once. `clipped`: largest norm of an update of all weights, and largest part of one, with a
learning rate of 1.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
from training_cells import DIGITS, architecture, stage

from benchmark.matrix.recipes.optimizers import OPTIMIZERS
from benchmark.training.losses import build_loss
from benchmark.training.networks.network import build_network
from benchmark.training.stages import build_optimizer, set_trainable
from benchmark.training.steps.dispatch import compiled_steps
from benchmark.training.updates import Updates

SIZE = 8


class Trained:
    """A small network with steps of a stage."""

    def __init__(self, **settings):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        spec = stage(**{"momentum": 0.9 if settings["optimizer"] in {"sgd", "rmsprop"} else None, **settings})
        network = build_network(architecture("simple_cnn", filters=(4,), dense_units=8, dropout=0.0), DIGITS)
        set_trainable(network, "all")
        self.core, self.optimizer = network.core, build_optimizer(spec, "float32")
        loss = build_loss(spec, one_hot=False)
        self.steps = compiled_steps(network.core, network.core, self.optimizer, loss, one_hot=False)

    def run(self, batches, gathered=1):
        updates = Updates(len(batches), gathered)
        for number, (images, labels) in enumerate(batches, 1):
            self.steps.train(images, labels, updates.share_of(number), update=updates.follow(number))

    @property
    def variables(self):
        return [*self.core.weights, *self.optimizer.variables]

    @property
    def arrays(self):
        return [np.array(keras.ops.convert_to_numpy(variable)) for variable in self.variables]

    @property
    def weights(self):
        return self.arrays[: len(self.core.weights)]


def batches(count, size=SIZE):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count * size, 16, 16, 1), dtype=np.uint8)
    labels = random.integers(0, 10, count * size).astype(np.int32)
    return [(images[at : at + size], labels[at : at + size]) for at in range(0, len(images), size)]


def is_resumed(settings) -> bool:
    whole, first, second = Trained(**settings), None, None
    whole.run(batches(5))
    first = Trained(**settings)
    first.run(batches(5)[:3])
    kept = first.arrays
    second = Trained(**settings)
    for variable, array in zip(second.variables, kept, strict=True):
        variable.assign(array)
    second.run(batches(5)[3:])
    return all(np.array_equal(one, two) for one, two in zip(whole.arrays, second.arrays, strict=True))


def difference(settings) -> float:
    parts = batches(3)
    whole = [tuple(np.concatenate(pair) for pair in zip(*parts[:2], strict=True)), parts[2]]
    gathered, at_once = Trained(**settings), Trained(**settings)
    gathered.run(parts, gathered=2)
    at_once.run(whole)
    pairs = zip(gathered.arrays, at_once.arrays, strict=True)
    return max(float(np.abs(one.astype(float) - two).max()) for one, two in pairs)


def update_of(**settings):
    trained = Trained(optimizer="sgd", momentum=0.0, learning_rate=1.0, **settings)
    before = trained.weights
    trained.run(batches(1))
    return np.concatenate([(one - two).ravel() for one, two in zip(before, trained.weights, strict=True)])


def main() -> None:
    specs = {name: {"optimizer": name, "weight_decay": 0.01} for name in OPTIMIZERS}
    specs |= {
        "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        "betas": {"optimizer": "adam", "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "clip_norm": 0.1},
    }
    free, by_norm, by_value = update_of(), update_of(clip_norm=0.1), update_of(clip_value=0.01)
    told = {
        "resumed": {name: is_resumed(spec) for name, spec in specs.items()},
        "accumulated": {name: difference(specs[name]) for name in ("adam", "sgd", "nesterov", "betas")},
        "clipped": {
            "norm": float(np.linalg.norm(by_norm)),
            "direction": float(by_norm @ free / np.linalg.norm(by_norm) / np.linalg.norm(free)),
            "value": float(np.abs(by_value).max()),
            "cut": float(np.abs(by_value - np.clip(free, -0.01, 0.01)).max()),
        },
    }
    print(json.dumps(told))


if __name__ == "__main__":
    sys.exit(main())
