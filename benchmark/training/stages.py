"""A stage made ready: which layers learn, the optimizer, the loss, and the training model with augmentation in front."""

from __future__ import annotations

import math
from typing import Any

import keras

from benchmark.matrix.cell import Stage
from benchmark.training.augmentation import augmentation_layers
from benchmark.training.networks.network import Network

# parameters that shrink nothing by being small; the usual exceptions from weight decay
_NOT_DECAYED = ["bias", "gamma", "beta"]


def set_trainable(network: Network, train: str) -> int:
    """Lets the layers of `train` learn and freezes the others; returns the number of trainable parameters.

    Frozen batch normalisation normalises by its moving averages and leaves them as they are, in training too.

    Args:
        network: Its core model is changed.
        train: `head`, `last:N` (the head and the last N layers of the backbone), or `all`.
    """
    learning = set(network.head)
    if train == "all":
        learning.update(network.backbone)
    elif train.startswith("last:"):
        count = int(train.removeprefix("last:"))
        learning.update(network.backbone[max(len(network.backbone) - count, 0) :])
    for layer in network.core.layers:
        layer.trainable = layer.name in learning
    return sum(math.prod(variable.shape) for variable in network.core.trainable_variables)


def training_model(network: Network, stage: Stage) -> keras.Model:
    """The core model behind the stage's augmentation; the core itself when there is none."""
    core = network.core
    shape = core.input_shape[1:]
    images = x = keras.Input(shape, name="training_images", dtype="float32")
    augmentation = augmentation_layers(stage.augment, shape[-1])
    if not augmentation:
        return core
    for layer in augmentation:
        x = layer(x)
    return keras.Model(images, core(x), name="training")


def build_optimizer(stage: Stage, precision: str) -> Any:
    """The stage's optimizer, not yet built. float16 scales the loss, as its gradients would else vanish."""
    decay = stage.weight_decay or None
    # AdamW refuses to be without decay; without it, it is Adam
    name = "adam" if stage.optimizer == "adamw" and decay is None else stage.optimizer
    momentum = {} if stage.momentum is None else {"momentum": stage.momentum}
    optimizer = _OPTIMIZERS[name](stage.learning_rate, weight_decay=decay, **momentum)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


_OPTIMIZERS: dict[str, Any] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


def is_one_hot(labels: str, stages: tuple[Stage, ...]) -> bool:
    """Whether labels are told as vectors: when asked for, and when smoothing needs them (the loss is the same)."""
    return labels == "one_hot" or any(stage.label_smoothing for stage in stages)


def build_loss(stage: Stage, *, one_hot: bool) -> Any:
    """Cross-entropy of probabilities, with the stage's label smoothing."""
    if one_hot:
        return keras.losses.CategoricalCrossentropy(label_smoothing=stage.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy()
