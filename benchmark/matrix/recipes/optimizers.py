"""The optimizers that a stage may name, all of Keras, and which settings of its own each has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOMENTS = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adam": _MOMENTS,
    "adamw": _MOMENTS,
    "sgd": {"momentum": 0.0, "nesterov": False},
    "rmsprop": {"momentum": 0.0, "epsilon": 1e-7},
    "adadelta": {"epsilon": 1e-7},
    "adafactor": {},
    "adagrad": {"epsilon": 1e-7},
    "adamax": _MOMENTS,
    "ftrl": {},
    "lamb": _MOMENTS,
    "lion": {"beta_1": 0.9, "beta_2": 0.99},
    "nadam": _MOMENTS,
}
"""By name, the settings of that optimizer with Keras's defaults. A setting at its default is in no id, so none of these
changes."""

OWN = "own"
"""What stands for the optimizer of a stage that trains a LightningModule, which configures it itself."""

DECIDED_BY_MODULE = (
    "optimizer", "learning_rate", "momentum", "weight_decay", "schedule", "clip_norm", "clip_value", "loss", "nesterov",
    "beta_1", "beta_2", "epsilon", "reduce_learning_rate", "label_smoothing", "class_weights", "mixup", "cutmix",
)  # fmt: skip
"""Settings of a stage that a LightningModule decides, so that the matrix may not."""

LEFT_TO_MODULE: Mapping[str, Any] = {
    **dict.fromkeys(DECIDED_BY_MODULE), "optimizer": OWN, "learning_rate": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0,
    "schedule": "constant", "nesterov": False, "loss": "cross_entropy", "mixup": 0.0, "cutmix": 0.0,
}  # fmt: skip
"""What a stage has in the place of these settings; its loss is that of scores alone."""

OWN_SETTINGS = ("nesterov", "beta_1", "beta_2", "epsilon")
"""Settings that are refused where an optimizer has none; `momentum` has always been ignored there."""


def with_normal_optimizer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a stage in which those of its optimizer have one form: None or False where they change nothing."""
    own = OPTIMIZERS.get(settings["optimizer"], {})
    at_default = {name: None for name in ("beta_1", "beta_2", "epsilon") if settings[name] == own.get(name)}
    momentum = settings["momentum"] if "momentum" in own else None
    # without momentum there is nothing to look ahead with
    nesterov = settings["nesterov"] and not ("nesterov" in own and momentum == 0)
    return {**settings, **at_default, "momentum": momentum, "nesterov": nesterov}


def optimizers_with(setting: str) -> list[str]:
    """The names of the optimizers that have a setting."""
    return [name for name, own in OPTIMIZERS.items() if setting in own]
