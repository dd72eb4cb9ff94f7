"""What a stage trains with: trainable layers, order of images, optimizer, and the model with augmentation in front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from benchmark.catalog.facts import LIGHTNING
from benchmark.matrix.cell import Cell, Stage
from benchmark.matrix.recipes.loss import BALANCED
from benchmark.matrix.recipes.optimizers import OPTIMIZERS
from benchmark.training.augmenting.augmentation import augmentation_layers
from benchmark.training.augmenting.mixing import mixed_inputs
from benchmark.training.data.dataset import Dataset, ExampleSet, balanced_order, epoch_order
from benchmark.training.data.stratification import Indices
from benchmark.training.losses import build_loss, class_weights, is_one_hot
from benchmark.training.networks.network import Network
from benchmark.training.plugin_losses import plugin_loss
from benchmark.training.steps.base import Steps
from benchmark.training.steps.dispatch import compiled_steps
from benchmark.training.updates import updates_of

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
    network.learn(learning)
    return sum(math.prod(variable.shape) for variable in network.core.trainable_variables)


def training_model(network: Network, stage: Stage) -> keras.Model:
    """The core model behind the stage's augmentation and mixing; the core itself when there is none.

    It takes images [b, h, w, c]; where the stage mixes them, what `mixing.mixed_batch` returns.
    """
    core = network.core
    shape = core.input_shape[1:]
    images = x = keras.Input(shape, name="training_images", dtype="float32")
    augmentation = augmentation_layers(stage.augment, shape[-1])
    if not augmentation and not stage.is_mixed:
        return core
    for layer in augmentation:
        x = layer(x)
    if not stage.is_mixed:
        return keras.Model(images, core(x), name="training")
    further, x = mixed_inputs(x)
    return keras.Model([images, *further], core(x), name="training")


def build_optimizer(stage: Stage, precision: str, not_decayed: Sequence[Any] = ()) -> Any:
    """The stage's optimizer, not yet built. In float16 it scales the loss, as small gradients would else become zero.

    Args:
        stage: Names it and its settings.
        precision: Of the cell.
        not_decayed: Variables that weight decay leaves alone; empty where their names tell.
    """
    decay = stage.weight_decay or None
    # AdamW refuses to be without decay (https://github.com/keras-team/keras/issues/18712); without it, it is Adam
    name = "adam" if stage.optimizer == "adamw" and decay is None else stage.optimizer
    own = {key: value for key in OPTIMIZERS[name] if (value := getattr(stage, key)) is not None}
    clipping = {"global_clipnorm": stage.clip_norm, "clipvalue": stage.clip_value}
    optimizer = _OPTIMIZERS[name](stage.learning_rate, weight_decay=decay, **own, **clipping)
    if decay:
        names = None if not_decayed else _NOT_DECAYED
        optimizer.exclude_from_weight_decay(var_list=list(not_decayed), var_names=names)
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


def epoch_positions(cell: Cell, stage: Stage, training: ExampleSet, epoch: int) -> Indices:
    """The positions of the training images of an epoch, counted from 1 over the whole cell, in their order."""
    seed = cell.stream_seed("order_seed")
    if stage.sampling == BALANCED:
        return balanced_order(training.split.labels, seed, epoch)
    return epoch_order(len(training), seed, epoch)


def stage_steps(
    cell: Cell,
    stage: Stage,
    dataset: Dataset,
    model: keras.Model,
    core: keras.Model,
    *,
    given: str = "uint8",
    allow_plugins: bool = False,
) -> tuple[Steps, Any]:
    """Steps that train `model` as a stage asks and predict with `core`, and their optimizer; see `compiled_steps`."""
    if cell.architecture.framework == LIGHTNING:
        from benchmark.training.steps.lightning import LightningSteps
        from benchmark.training.steps.trainer_stand_in import TrainerStandIn

        updates = updates_of(stage, len(dataset.training))
        own = LightningSteps(model, core, TrainerStandIn(stage.epochs, updates.batches, updates.per_epoch))
        return own, own.optimizer
    one_hot = is_one_hot(cell)
    weights = class_weights(stage, dataset.training.split.labels, dataset.class_names, cell.data.source)
    not_decayed = [variable for layer in core.layers for variable in getattr(layer, "not_decayed", ())]
    optimizer = build_optimizer(stage, cell.precision, not_decayed)
    own_loss = plugin_loss(cell, stage, allowed=allow_plugins)
    loss = build_loss(stage, one_hot=one_hot, weights=weights, own=own_loss)
    steps = compiled_steps(
        model, core, optimizer, loss, one_hot=one_hot, multi_label=cell.data.multi_label, given=given
    )
    return steps, optimizer
