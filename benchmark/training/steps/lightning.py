"""The training step of a LightningModule: its own `training_step`, loss, optimizer and schedule, without a Trainer.

What a Trainer does beside is bench's: batches, epochs, devices, precision, validation, states. The module's `log` has no
effect, its `forward` predicts, and what it may ask of `self.trainer` a stand-in answers.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.training.networks.torch_modules import ModuleLayer
from benchmark.training.process.plugin_code import PluginError
from benchmark.training.steps.base import BatchResult, Inputs, Steps
from benchmark.training.steps.lightning_optimizer import configured
from benchmark.training.steps.torch import forward_pass
from benchmark.training.steps.trainer_stand_in import TrainerStandIn


class LightningSteps(Steps):
    """Steps that train a LightningModule by what it says itself; `model` is its layer behind the augmentation.

    Side effects:
        The module finds `trainer` in `self.trainer`.

    Raises:
        PluginError: It asks for what needs a Trainer.
    """

    def __init__(self, model: keras.Model, core: keras.Model, trainer: TrainerStandIn) -> None:
        layer: ModuleLayer = core.layers[-1]
        self._model, self._layer, self._trainer = model, layer, trainer
        self._module = cast(Any, layer.module)
        self._predict = forward_pass(core)
        self._module.trainer = trainer
        warnings.filterwarnings("ignore", message="You are trying to `self.log")
        self.optimizer = configured(self._module)
        self._batch = 0
        self._is_fresh = True
        # the layers before the module: augmentation, and enlarging
        self._front = [*(model.layers[1:-1] if model is not core else ()), *core.layers[1:-1]]

    def begin_epoch(self, number: int) -> None:
        self._trainer.begin_epoch(number)
        self._batch = 0
        if self._is_fresh:
            self._module.on_train_start()
        self._is_fresh = False

    def train(self, inputs: Inputs, labels: NDArray[Any], share: float = 1.0, *, update: bool = True) -> BatchResult:
        module, images = self._module, inputs[0] if isinstance(inputs, tuple) else inputs
        taken = self._model.inputs[0].dtype
        x = keras.ops.convert_to_tensor(np.array(images), dtype=taken)
        for layer in self._front:
            x = layer(x, training=True)
        whole = labels if labels.ndim == 1 else labels.argmax(axis=-1)
        truth = torch.from_numpy(np.array(whole)).long().to(x.device)
        batch = self._layer.scaled(x), truth
        if not self._batch:
            module.on_train_epoch_start()
        module.on_train_batch_start(batch, self._batch)
        answers: list[Any] = []
        listening = module.register_forward_hook(lambda _module, _given, made: answers.append(made))
        try:
            made = self._layer.in_training(lambda: module.training_step(batch, self._batch))
        finally:
            listening.remove()
        loss = made["loss"] if isinstance(made, dict) else made
        if not isinstance(loss, torch.Tensor):
            raise PluginError(
                f"{type(module).__name__}.training_step: expected the loss, a tensor, or a dictionary with `loss`, "
                f"found {type(loss).__name__}"
            )
        (loss * share).backward()
        module.on_after_backward()
        self._batch += 1
        if update:
            self._update()
        with torch.no_grad():
            module.on_train_batch_end(made, batch, self._batch - 1)
            logits = answers[-1] if answers else self._layer.in_training(lambda: module(batch[0]))
            correct = torch.sum(torch.argmax(logits, -1) == truth)
        return BatchResult(len(images), loss.detach(), correct)

    def _update(self) -> None:
        optimizer = self.optimizer.optimizer
        self._module.on_before_optimizer_step(optimizer)
        optimizer.step()
        self._module.on_before_zero_grad(optimizer)
        optimizer.zero_grad()
        self._trainer.global_step += 1
        self.optimizer.end_batch(self._batch)

    def end_epoch(self, values: Mapping[str, float]) -> float:
        self._module.on_train_epoch_end()
        rate = self.optimizer.learning_rate
        self.optimizer.end_epoch(self._trainer.current_epoch + 1, values)
        return rate
