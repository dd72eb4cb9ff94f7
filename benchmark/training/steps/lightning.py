"""The training step of a LightningModule: its own `training_step`, loss, optimizer and schedule, without a Trainer.

What a Trainer does beside is bench's: batches, epochs, devices, precision, validation, states. The module's `log` has no
effect, and its `forward` predicts.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter, defaultdict
from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.training.networks.torch_modules import ModuleLayer
from benchmark.training.process.plugin_code import PluginError
from benchmark.training.steps.base import BatchResult, Inputs, Steps
from benchmark.training.steps.torch import forward_pass


class LightningSteps(Steps):
    """Steps that train a LightningModule by what it says itself; `model` is its layer behind the augmentation.

    Raises:
        PluginError: It asks for what needs a Trainer.
    """

    def __init__(self, model: keras.Model, core: keras.Model) -> None:
        layer: ModuleLayer = core.layers[-1]
        self._model, self._layer = model, layer
        self._module: Any = layer.module
        self._predict = forward_pass(core)
        if not self._module.automatic_optimization:
            raise PluginError(
                f"{type(self._module).__name__}: expected automatic optimization, found manual, which needs a Trainer; "
                "return the loss from `training_step`, or run your script as a command"
            )
        self.optimizer = _configured(self._module)
        self._batch = 0
        # the layers before the module: augmentation, and enlarging
        self._front = [*(model.layers[1:-1] if model is not core else ()), *core.layers[1:-1]]

    def train(self, inputs: Inputs, labels: NDArray[Any], share: float = 1.0, *, update: bool = True) -> BatchResult:
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        taken = self._model.inputs[0].dtype
        x = keras.ops.convert_to_tensor(np.array(images), dtype=taken)
        for layer in self._front:
            x = layer(x, training=True)
        whole = labels if labels.ndim == 1 else labels.argmax(axis=-1)
        truth = torch.from_numpy(np.array(whole)).long().to(x.device)
        batch = self._layer.scaled(x), truth
        if not self._batch:
            self._module.on_train_epoch_start()
        answers: list[Any] = []
        listening = self._module.register_forward_hook(lambda _module, _given, made: answers.append(made))
        try:
            told = self._layer.in_training(lambda: self._module.training_step(batch, self._batch))
        finally:
            listening.remove()
        loss = told["loss"] if isinstance(told, dict) else told
        if not isinstance(loss, torch.Tensor):
            raise PluginError(
                f"{type(self._module).__name__}.training_step: expected the loss, a tensor, or a dictionary with `loss`, "
                f"found {type(loss).__name__}"
            )
        (loss * share).backward()
        if update:
            self.optimizer.step()
        self._batch += 1
        with torch.no_grad():
            logits = answers[-1] if answers else self._layer.in_training(lambda: self._module(batch[0]))
            correct = torch.sum(torch.argmax(logits, -1) == truth)
        return BatchResult(len(images), loss.detach(), correct)

    def end_epoch(self, loss: float | None) -> float:
        self._module.on_train_epoch_end()
        self._batch = 0
        rate = self.optimizer.learning_rate
        self.optimizer.end_epoch(loss)
        return rate


class OwnOptimizer:
    """The optimizer and the schedules that a LightningModule configures, with the state of all as one array of bytes.

    Attributes:
        variables: What is saved and restored.
    """

    def __init__(self, optimizer: Any, by_step: list[Any], by_epoch: list[Any]) -> None:
        self._optimizer, self._by_step, self._by_epoch = optimizer, by_step, by_epoch
        optimizer.zero_grad()
        self.variables = [_Bytes(self)]

    @property
    def learning_rate(self) -> float:
        """Of the first group of parameters, now."""
        return float(self._optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, _: float) -> None:
        """The module decides it, not the stage."""

    def step(self) -> None:
        """Updates the parameters by their gradients, which it forgets."""
        self._optimizer.step()
        self._optimizer.zero_grad()
        for schedule in self._by_step:
            schedule.step()

    def end_epoch(self, loss: float | None) -> None:
        """Moves the schedules that count epochs; those that watch a value are told the validation loss."""
        for schedule in self._by_epoch:
            if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
                if loss is not None:
                    schedule.step(loss)
            else:
                schedule.step()

    @property
    def _parts(self) -> list[Any]:
        return [self._optimizer, *self._by_step, *self._by_epoch]

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


def _configured(module: Any) -> OwnOptimizer:
    """What `configure_optimizers` returns, in each of the forms that Lightning takes for one optimizer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # schedules warn of a step that comes first, which is their own
        told = module.configure_optimizers()
    schedules: Any = []
    if isinstance(told, dict):
        optimizers, schedules = [told["optimizer"]], told.get("lr_scheduler", [])
    elif isinstance(told, tuple) and len(told) == 2 and isinstance(told[0], list):
        optimizers, schedules = told
    else:
        optimizers = list(told) if isinstance(told, list | tuple) else [told]
    if len(optimizers) != 1 or not isinstance(optimizers[0], torch.optim.Optimizer):
        raise PluginError(
            f"{type(module).__name__}.configure_optimizers: expected one optimizer, found {len(optimizers)}: "
            f"{', '.join(type(one).__name__ for one in optimizers)}; several need a Trainer: run your script as a command"
        )
    listed = schedules if isinstance(schedules, list) else [schedules]
    entries = [one if isinstance(one, dict) else {"scheduler": one} for one in listed]
    by_step = [one["scheduler"] for one in entries if one.get("interval") == "step"]
    return OwnOptimizer(
        optimizers[0], by_step, [one["scheduler"] for one in entries if one["scheduler"] not in by_step]
    )
