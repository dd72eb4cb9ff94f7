"""The learning rate of each update, as a stage's schedule has it: a pure function, so that it can resume anywhere."""

from __future__ import annotations

import math

from benchmark.matrix.cell import Stage
from benchmark.matrix.recipes.schedule import schedule_parameters

_ROUNDING = 1e-9
"""A step is due even where its place in updates came out of the division a little late."""


def rate_after(stage: Stage, updates: int, updates_per_epoch: int) -> float:
    """The learning rate after so many updates of a stage, which is the one that the next update takes.

    Decays follow `keras.optimizers.schedules`, and run from the end of the warm-up to that of the planned epochs;
    steps count epochs of the stage, as in `torch.optim.lr_scheduler.MultiStepLR`.

    Args:
        stage: Its `learning_rate` is what all factors refer to.
        updates: From 0 to all updates of the stage.
        updates_per_epoch: At least 1.
    """
    kind, own = schedule_parameters(stage.schedule)
    total = stage.epochs * updates_per_epoch
    if kind == "one_cycle":
        return stage.learning_rate * _one_cycle(updates, total, own["warmup_share"], own["initial"], own["final"])
    warmup = own["warmup_epochs"] * updates_per_epoch
    if updates < warmup:
        return stage.learning_rate * updates / warmup
    if kind == "exponential":
        return float(stage.learning_rate * own["factor"] ** ((updates - warmup) / updates_per_epoch))
    if kind == "step":
        return float(
            stage.learning_rate * own["factor"] ** _steps(updates / updates_per_epoch, own["every"], own["at"])
        )
    if kind == "constant":
        return stage.learning_rate
    left = 1 - min((updates - warmup) / (total - warmup), 1.0)
    if kind == "cosine":
        left = (1 + math.cos(math.pi * (1 - left))) / 2
    return float(stage.learning_rate * (own["final"] + (1 - own["final"]) * left ** own.get("power", 1.0)))


def _steps(epochs: float, every: float | None, at: tuple[float, ...] | None) -> int:
    """How many steps are due after so many epochs."""
    if every is not None:
        return math.floor(epochs / every + _ROUNDING)
    return sum(epochs >= place - _ROUNDING for place in at or ())


def _one_cycle(updates: int, total: int, share: float, initial: float, final: float) -> float:
    """The factor of `torch.optim.lr_scheduler.OneCycleLR` with two phases of cosine; after its last update `final`."""
    peak = share * total - 1
    if updates < peak:
        return _between(initial, 1.0, updates / peak)
    return _between(1.0, final, min((updates - peak) / (total - 1 - peak), 1.0))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
