"""Early stopping, learning-rate reduction, and the keeper of the best weights, each with a state that JSON can hold.

Keras's own callbacks forget their counters when a run resumes (https://github.com/keras-team/keras/issues/14862).
These are updated with each finished epoch, and their state can be saved and restored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from numpy.typing import NDArray

from benchmark.events import EpochFinished
from benchmark.matrix.cell import Cell, Stage
from benchmark.prediction_metrics import LOWER_IS_BETTER

WeightArrays: TypeAlias = dict[str, NDArray[Any]]
"""Weights of a model by the paths of their variables, such as `dense/kernel`."""


Metrics: TypeAlias = Mapping[str, float | None]
"""Further metrics of an epoch's validation images, such as `val_macro_f1`."""

OF_EVENT = frozenset({"val_accuracy", "val_loss"})
"""What `EpochFinished` tells of the validation images."""


def monitors_of(cell: Cell) -> frozenset[str]:
    """The further metrics that decide anything in a cell, as `val_macro_f1`."""
    rules = [rule for stage in cell.stages for rule in (stage.early_stopping, stage.reduce_learning_rate) if rule]
    return frozenset({cell.monitor, *(rule.monitor for rule in rules)}) - OF_EVENT


def monitored(epoch: EpochFinished, monitor: str, metrics: Metrics) -> float | None:
    """The value of what is monitored after an epoch; None when it is missing or not finite."""
    value = getattr(epoch, monitor) if monitor in OF_EVENT else metrics.get(monitor)
    return None if value is None or not math.isfinite(value) else float(value)


LOWER = frozenset(f"val_{name}" for name in LOWER_IS_BETTER)
"""What bench has to monitor of which less is better."""


def gain(
    epoch: EpochFinished, monitor: str, metrics: Metrics = MappingProxyType({}), lower: Collection[str] = LOWER
) -> float:
    """The monitored value with the sign that makes larger better; minus infinity when there is none.

    `lower` are the metrics of which less is better.
    """
    value = monitored(epoch, monitor, metrics)
    if value is None:
        return -math.inf
    return -value if monitor in lower else value


class PlateauCounter:
    """Counts epochs since `monitor` last improved by more than `min_delta`."""

    def __init__(self, monitor: str, patience: int, min_delta: float = 0.0, lower: Collection[str] = LOWER) -> None:
        self._monitor = monitor
        self._lower = lower
        self._patience = patience
        self._min_delta = min_delta
        self._best = -math.inf
        self._waited = 0

    def is_exhausted_after(self, epoch: EpochFinished, metrics: Metrics) -> bool:
        """Counts the next epoch; True when as many epochs as `patience` have passed without improvement."""
        value = gain(epoch, self._monitor, metrics, self._lower)
        if value > self._best + self._min_delta:
            self._best, self._waited = value, 0
            return False
        self._waited += 1
        return self._waited >= self._patience

    def restart(self) -> None:
        """Sets the count to zero; the best value stays."""
        self._waited = 0

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as JSON can hold it."""
        return {"best": self._best if math.isfinite(self._best) else None, "waited": self._waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to what `state` returned."""
        self._best = -math.inf if state["best"] is None else state["best"]
        self._waited = state["waited"]


class StageCallbacks:
    """Early stopping and learning-rate reduction of one stage.

    Attributes:
        learning_rate: For the next epoch.
        stopped: Whether early stopping has ended the stage.
    """

    def __init__(self, stage: Stage, lower: Collection[str] = LOWER) -> None:
        self.learning_rate = stage.learning_rate
        self.stopped = False
        self._reduce = reduce = stage.reduce_learning_rate
        stop = stage.early_stopping
        self._stop_patience = PlateauCounter(stop.monitor, stop.patience, stop.min_delta, lower) if stop else None
        self._reduce_patience = PlateauCounter(reduce.monitor, reduce.patience, lower=lower) if reduce else None

    def update(self, epoch: EpochFinished, metrics: Metrics = MappingProxyType({})) -> None:
        """Decides after a finished epoch about the next one."""
        if self._stop_patience and self._stop_patience.is_exhausted_after(epoch, metrics):
            self.stopped = True
        if self._reduce and self._reduce_patience and self._reduce_patience.is_exhausted_after(epoch, metrics):
            reduced = max(self.learning_rate * self._reduce.factor, self._reduce.min_learning_rate)
            # a record of an older version may have a floor above the rate: reducing never raises it
            self.learning_rate = min(self.learning_rate, reduced)
            self._reduce_patience.restart()

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as JSON can hold it."""
        return {
            "learning_rate": self.learning_rate,
            "stopped": self.stopped,
            "early_stopping": self._stop_patience.state() if self._stop_patience else None,
            "reduce_learning_rate": self._reduce_patience.state() if self._reduce_patience else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to what `state` returned."""
        self.learning_rate = state["learning_rate"]
        self.stopped = state["stopped"]
        if self._stop_patience:
            self._stop_patience.restore(state["early_stopping"])
        if self._reduce_patience:
            self._reduce_patience.restore(state["reduce_learning_rate"])


class BestWeights:
    """Keeps the weights of the best epoch of a cell, over all its stages.

    Better is a higher `monitor`, of losses and errors a lower one; a tie of `val_accuracy` goes to the lower validation
    loss, any other to the earlier epoch. With `keep = "last"`, or without a validation split, the latest weights are kept.

    Attributes:
        epoch: The epoch that the kept weights come from, from 1 over the whole cell; 0 before the first.
        weights: The kept weights; empty before the first epoch.
        plain: What they are the average of, where they are one; else None.
    """

    def __init__(self, keep: str, monitor: str, lower: Collection[str] = LOWER) -> None:
        self._last = keep == "last"
        self._monitor = monitor
        self._lower = lower
        self._best: tuple[float, float] | None = None
        self.epoch = 0
        self.weights: WeightArrays = {}
        self.plain: WeightArrays | None = None

    def update(
        self,
        epoch: EpochFinished,
        weights: WeightArrays,
        plain: WeightArrays | None = None,
        metrics: Metrics = MappingProxyType({}),
    ) -> bool:
        """Keeps the weights of a finished epoch if they are to be kept; True when it is the best so far.

        The weights are kept without copying, so nobody may change them later.
        """
        rank = (
            gain(epoch, self._monitor, metrics, self._lower),
            gain(epoch, "val_loss") if self._monitor in OF_EVENT else 0.0,
        )
        # without validation every rank is minus infinity: then each later epoch counts as better
        improved = self._best is None or rank > self._best or epoch.val_loss is None
        if improved:
            self._best = rank
        if improved or self._last:
            self.epoch, self.weights, self.plain = epoch.epoch, weights, plain
        return improved

    def state(self) -> dict[str, Any]:
        """What `restore` needs beside the weights, as JSON can hold it."""
        best = self._best and [value if math.isfinite(value) else None for value in self._best]
        return {"best": best, "epoch": self.epoch}

    def restore(self, state: Mapping[str, Any], weights: WeightArrays, plain: WeightArrays | None = None) -> None:
        """Goes back to what `state` returned, with the weights that were kept then."""
        gains = [-math.inf if value is None else value for value in state["best"] or ()]
        self._best = (gains[0], gains[1]) if gains else None
        self.epoch, self.weights, self.plain = state["epoch"], weights, plain
