"""The optimizer and the schedules that a LightningModule configures, in each of the forms that Lightning takes for one."""

from __future__ import annotations

import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.training.process.plugin_code import PluginError


@dataclass(frozen=True, slots=True)
class OwnSchedule:
    """A schedule and when it moves.

    Attributes:
        by_step: After updates; else after epochs.
        frequency: After every so many of them.
        watched: For one that watches a value: which of those that an epoch ends with.
    """

    scheduler: Any
    by_step: bool
    frequency: int
    watched: str | None

    def move(self, count: int, values: Mapping[str, float]) -> None:
        """Moves it where its turn has come; one without its value stays."""
        if count % self.frequency:
            return
        if self.watched is None:
            self.scheduler.step()
        elif self.watched in values:
            self.scheduler.step(values[self.watched])


class OwnOptimizer:
    """An optimizer and its schedules, with the state of all as one array of bytes.

    Attributes:
        optimizer: Of PyTorch.
        variables: What is saved and restored.
    """

    def __init__(self, optimizer: Any, schedules: list[OwnSchedule]) -> None:
        self.optimizer, self._schedules = optimizer, schedules
        optimizer.zero_grad()
        self.variables = [_Bytes(self)]

    @property
    def learning_rate(self) -> float:
        """Of the first group of parameters, now."""
        return float(self.optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, _: float) -> None:
        """The module decides it, not the stage."""

    def end_batch(self, batch: int) -> None:
        """Moves the schedules that count steps, after the update that ends with a batch of the epoch, counted from 1."""
        self._move(batch, {}, by_step=True)

    def end_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Moves the schedules that count epochs, after one of the stage, counted from 1, that ended with these values."""
        self._move(epoch, values, by_step=False)

    def _move(self, count: int, values: Mapping[str, float], *, by_step: bool) -> None:
        for schedule in self._schedules:
            if schedule.by_step == by_step:
                schedule.move(count, values)

    @property
    def _parts(self) -> list[Any]:
        ordered = sorted(self._schedules, key=lambda schedule: not schedule.by_step)
        return [self.optimizer, *(schedule.scheduler for schedule in ordered)]

    def packed(self) -> bytes:
        """The states of all parts."""
        buffer = io.BytesIO()
        torch.save([part.state_dict() for part in self._parts], buffer)
        return buffer.getvalue()

    def unpack(self, content: bytes) -> None:
        """Goes back to what `packed` returned."""
        with torch.serialization.safe_globals([Counter, defaultdict, dict]):
            states = torch.load(io.BytesIO(content), weights_only=True)
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


class _Bytes:
    """The state of an optimizer in the form of a variable: an array that can be assigned."""

    def __init__(self, optimizer: OwnOptimizer) -> None:
        self._optimizer = optimizer

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[np.uint8]:
        return np.frombuffer(self._optimizer.packed(), dtype=np.uint8).copy()

    def assign(self, array: NDArray[np.uint8]) -> None:
        """Restores the state."""
        self._optimizer.unpack(array.tobytes())


def configured(module: Any) -> OwnOptimizer:
    """What `configure_optimizers` of a module returns.

    Raises:
        PluginError: It is none, or several, or watches what is not known here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schedules warn of a step that comes first, which is their own
        made = module.configure_optimizers()
    place = f"{type(module).__name__}.configure_optimizers"
    schedules: Any = []
    if isinstance(made, dict):
        optimizers, schedules = [made["optimizer"]], made.get("lr_scheduler", [])
    elif isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], list):
        optimizers, schedules = made
    else:
        optimizers = list(made) if isinstance(made, list | tuple) else [made]
    if len(optimizers) == 1 and isinstance(optimizers[0], dict):
        optimizers, schedules = [optimizers[0]["optimizer"]], optimizers[0].get("lr_scheduler", [])
    kinds = ", ".join(type(one).__name__ for one in optimizers) or "none"
    if len(optimizers) > 1:
        raise PluginError(
            f"{place}: expected one optimizer, found {len(optimizers)}: {kinds}; several need a Trainer: run your script as a command"
        )
    if not optimizers or not isinstance(optimizers[0], torch.optim.Optimizer):
        raise PluginError(
            f"{place}: expected an optimizer of PyTorch, found {kinds}; return the one that trains the module"
        )
    if isinstance(optimizers[0], torch.optim.LBFGS):
        raise PluginError(
            f"{place}: expected an optimizer that makes its step of one gradient, found LBFGS, which computes several; take "
            "another one, or run your script as a command"
        )
    listed = schedules if isinstance(schedules, list | tuple) else [schedules]
    return OwnOptimizer(optimizers[0], [_schedule(one, place) for one in listed if one is not None])


def _schedule(written: Any, place: str) -> OwnSchedule:
    entry = written if isinstance(written, dict) else {"scheduler": written}
    scheduler, frequency = entry["scheduler"], int(entry.get("frequency") or 1)
    if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        return OwnSchedule(scheduler, entry.get("interval") == "step", frequency, None)
    return OwnSchedule(scheduler, by_step=False, frequency=frequency, watched=_watched(entry.get("monitor"), place))


def _watched(monitor: Any, place: str) -> str:
    """The value of an epoch that users call so: `val_loss`, `val_accuracy`, `train_loss` or `train_accuracy`."""
    name = str(monitor or "val_loss").lower()
    part = "val" if "val" in name else "train"
    for word, value in (("loss", "loss"), ("acc", "accuracy")):
        if word in name:
            return f"{part}_{value}"
    raise PluginError(
        f"{place}: expected monitor to be val_loss, val_accuracy, train_loss or train_accuracy, found {monitor!r:.100}: what the "
        "module logs is not read; run your script as a command"
    )
