"""What a stage trains with: trainable layers, optimizer, loss, and the model with augmentation in front."""

from __future__ import annotations

import math
from typing import Any

import keras

from benchmark.matrix.cell import Cell, Stage
from benchmark.matrix.optimizers import OPTIMIZERS
from benchmark.training.augmentation import augmentation_layers
from benchmark.training.networks.network import Network
from benchmark.training.steps.base import Steps
from benchmark.training.steps.dispatch import compiled_steps

_NOT_DECAYED = ["bias", "gamma", "beta"]
"""Biases, and scale and offset of normalisation, are excepted from weight decay, as is usual."""


def set_trainable(network: Network, train: str) -> int:
    """Makes the layers that `train` names trainable and freezes the others; returns the number of trainable parameters.

    Frozen batch normalisation runs in inference mode, in training too: it normalises by its moving averages and leaves
    them as they are (https://keras.io/api/layers/normalization_layers/batch_normalization/).

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
    """The stage's optimizer, not yet built. In float16 it scales the loss, as small gradients would else become zero."""
    decay = stage.weight_decay or None
    # AdamW refuses to be without decay (https://github.com/keras-team/keras/issues/18712); without it, it is Adam
    name = "adam" if stage.optimizer == "adamw" and decay is None else stage.optimizer
    own = {key: value for key in OPTIMIZERS[name] if (value := getattr(stage, key)) is not None}
    clipping = {"global_clipnorm": stage.clip_norm, "clipvalue": stage.clip_value}
    optimizer = _OPTIMIZERS[name](stage.learning_rate, weight_decay=decay, **own, **clipping)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


_OPTIMIZERS: dict[str, Any] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "adadelta": keras.optimizers.Adadelta,
    "adafactor": keras.optimizers.Adafactor,
    "adagrad": keras.optimizers.Adagrad,
    "adamax": keras.optimizers.Adamax,
    "ftrl": keras.optimizers.Ftrl,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "nadam": keras.optimizers.Nadam,
}


def is_one_hot(cell: Cell) -> bool:
    """Whether labels are vectors: when the cell says so, and when label smoothing needs them (the loss is the same)."""
    return cell.labels == "one_hot" or any(stage.label_smoothing for stage in cell.stages)


def build_loss(stage: Stage, *, one_hot: bool) -> Any:
    """Mean cross-entropy of probabilities [b, classes], in nats, with the stage's label smoothing; see `is_one_hot`."""
    if one_hot:
        return keras.losses.CategoricalCrossentropy(label_smoothing=stage.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy()


def stage_steps(
    cell: Cell, stage: Stage, model: keras.Model, core: keras.Model, *, given: str = "uint8"
) -> tuple[Steps, Any]:
    """Steps that train `model` as a stage asks and predict with `core`, and their optimizer; see `compiled_steps`."""
    one_hot = is_one_hot(cell)
    optimizer, loss = build_optimizer(stage, cell.precision), build_loss(stage, one_hot=one_hot)
    return compiled_steps(model, core, optimizer, loss, one_hot=one_hot, given=given), optimizer
