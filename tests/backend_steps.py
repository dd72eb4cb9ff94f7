"""Our training steps against Keras's own trainer, on the backend that `KERAS_BACKEND` names: prints what differs.

For each case the largest relative difference of a loss and the largest absolute difference of a weight after one epoch
of `Model.fit` (unshuffled) and of our steps, and of the probabilities afterwards.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
from training_cells import DIGITS, architecture, stage

from benchmark.training.augmenting.augmentation import reseed
from benchmark.training.losses import build_loss
from benchmark.training.networks.network import build_network
from benchmark.training.stages import build_optimizer, set_trainable, training_model
from benchmark.training.steps.dispatch import compiled_forward, compiled_steps

CASES = {
    "adam": (stage(), False),
    "sgd": (stage(optimizer="sgd", momentum=0.9, learning_rate=0.01), False),
    "rmsprop": (stage(optimizer="rmsprop", momentum=0.0), False),
    "adamw": (stage(optimizer="adamw", weight_decay=0.01), False),
    "partly frozen": (stage(train="last:2"), False),
    "smoothed": (stage(label_smoothing=0.1), True),
    "augmented": (stage(augment=(("flip", "horizontal"), ("rotation", 0.1))), False),
    "cropped": (stage(augment=(("randaugment", (("layers", 2), ("magnitude", 0.3))), ("random_crop", 2))), False),
}
SIZES = [8] * 5 + [3]
CLASSES = 10
SEED = 0


class Losses(keras.callbacks.Callback):
    """Each batch's loss out of the running means that Keras tells; draws begin where ours do."""

    def __init__(self):
        super().__init__()
        self.told, self._sum, self._seen = [], 0.0, 0

    def on_train_batch_begin(self, batch, logs=None):
        # on PyTorch `fit` has drawn before: it ran the model once to learn its shapes, and so did the loader of its data
        if batch == 0:
            reseed(self.model, SEED, 1)

    def on_train_batch_end(self, batch, logs=None):
        seen = self._seen + SIZES[batch]
        total = logs["loss"] * seen
        self.told.append((total - self._sum) / SIZES[batch])
        self._sum, self._seen = total, seen


def network_for(spec):
    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    name, options = "advanced_cnn", {"filters": (4,), "stage_dropout": (0.1,), "dense_units": 8, "dropout": 0.2}
    network = build_network(architecture(name, **options), DIGITS)
    set_trainable(network, spec.train)
    return network, training_model(network, spec)


def arrays(network):
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in network.core.weights]


def ours(spec, one_hot, images, labels):
    network, model = network_for(spec)
    optimizer, loss = build_optimizer(spec, "float32"), build_loss(spec, one_hot=one_hot)
    steps = compiled_steps(model, network.core, optimizer, loss, one_hot=one_hot)
    reseed(model, SEED, 1)
    ends = np.cumsum(SIZES)
    parts = [slice(end - size, end) for end, size in zip(ends, SIZES, strict=True)]
    results = [steps.train(images[part], labels[part]) for part in parts]
    losses = [float(result.loss) for result in results]
    return losses, sum(int(result.correct) for result in results), arrays(network), steps.predict(images), network


def theirs(spec, one_hot, images, labels):
    network, model = network_for(spec)
    kind = keras.metrics.CategoricalAccuracy if one_hot else keras.metrics.SparseCategoricalAccuracy
    model.compile(build_optimizer(spec, "float32"), build_loss(spec, one_hot=one_hot), metrics=[kind(name="accuracy")])
    losses = Losses()
    told = model.fit(images, labels, batch_size=SIZES[0], shuffle=False, verbose=0, callbacks=[losses])
    correct = round(told.history["accuracy"][0] * len(images))
    return losses.told, correct, arrays(network), network.core.predict(images, verbose=0, batch_size=len(images))


def compared(spec, one_hot):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (sum(SIZES), 16, 16, 1), dtype=np.uint8)
    labels = random.integers(0, CLASSES, sum(SIZES)).astype(np.int32)
    labels = np.eye(CLASSES, dtype=np.float32)[labels] if one_hot else labels
    losses, correct, weights, predicted, network = ours(spec, one_hot, images, labels)
    forward = compiled_forward(network.core)(images)
    other_losses, other_correct, other_weights, other_predicted = theirs(spec, one_hot, images, labels)
    return {
        "loss": max(abs(a - b) / b for a, b in zip(losses, other_losses, strict=True)),
        "correct": abs(correct - other_correct),
        "weights": max(float(np.abs(a - b).max()) for a, b in zip(weights, other_weights, strict=True)),
        "predicted": float(np.abs(predicted - other_predicted).max()),
        "forward": float(np.abs(forward - predicted).max()),
    }


def main() -> None:
    names = sys.argv[1:] or CASES
    print(json.dumps({name: compared(*CASES[name]) for name in names}))


if __name__ == "__main__":
    main()
