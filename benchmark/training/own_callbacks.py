"""Users' own callbacks, those of Keras among them: loaded, made for each stage, called while it is trained, and kept.

    class Watch(keras.callbacks.Callback):        # or any class with some of `HOOKS`
        def on_epoch_end(self, epoch, logs=None):
            if logs["val_loss"] < 0.1:
                self.model.stop_training = True   # ends the stage

    def report(epoch, logs): ...                  # what is called after each epoch; True ends the stage

A state holds the attributes of a callback, or what its `state` returns; where that cannot be, a stage that was interrupted
begins anew.
"""

from __future__ import annotations

import copy
import enum
import inspect
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.matrix.cell import Stage
from benchmark.matrix.recipes.callback_list import callback_arguments
from benchmark.training.artifacts.plain_values import NotPlainError, pack, unpack
from benchmark.training.callbacks import StageCallbacks
from benchmark.training.process.plugin_code import PluginError, naming_plugin_line, plugin_function

HOOKS = (
    "on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end",
    "on_test_begin", "on_test_end",
)  # fmt: skip
_ALIASES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}
_SET_ANEW = frozenset({"model", "_model", "params", "_params"})
"""Attributes that `set_model` and `set_params` set."""


class _EpochFunction:
    """A function of epoch and logs as a callback."""

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self._function, self._arguments = function, arguments

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> Any:
        return self._function(epoch, logs, **self._arguments)


@dataclass(frozen=True, slots=True)
class OwnCallback:
    """A user's callback.

    Attributes:
        name: In the matrix.
        target: The object with hooks.
        file: It is of; None for a package's.
        place: Of its definition, for messages.
    """

    name: str
    target: Any
    file: str | None
    place: str

    def hook(self, name: str) -> Callable[..., Any] | None:
        """A method to call; None where there is none, or where it does nothing, as most of those of Keras's base class."""
        methods = [getattr(self.target, each, None) for each in (name, _ALIASES.get(name, name))]
        # what Keras marks so is inherited from its base class; there the first calls the second
        own = [method for method in methods if method is not None and not getattr(method, "_is_default", False)]
        return (methods[0] or own[0]) if own else None

    def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Calls one of its methods.

        Raises:
            PluginError: It raises; the message begins with its line.
        """
        with naming_plugin_line(self.file, f"{self.place}: {self.name}"):
            return method(*arguments)


def load_callbacks(stage: Stage, *, allowed: bool) -> list[OwnCallback]:
    """Makes the callbacks of a stage.

    Raises:
        PluginError: One may not run, cannot be loaded or made, or is none.

    Side effects:
        Runs their files, in this process.
    """
    codes, files = dict(stage.callback_codes), dict(stage.callback_files)
    loaded = []
    for written in stage.callbacks:
        name, arguments = callback_arguments(written)
        file = files[name]
        value, place = plugin_function(name, "callbacks", codes[name], file, allowed=allowed)
        with naming_plugin_line(file, f"{place}: {name}"):
            target = _made(value, arguments)
        one = OwnCallback(name, target, file, place)
        if isinstance(target, type) or not any(map(one.hook, HOOKS)):
            found = "nothing" if target is None else type(target).__name__
            raise PluginError(
                f"{place}: expected {name} to be a callback or to make one, with {', '.join(HOOKS)}, or some of these; found {found}"
            )
        loaded.append(one)
    return loaded


def _made(value: Any, arguments: Mapping[str, Any]) -> Any:
    """The callback that a class, a function or an object is."""
    if isinstance(value, type):
        return value(**arguments)
    if any(hasattr(value, name) for name in HOOKS):
        if arguments:
            raise TypeError(
                f"expected no arguments for an object, found {', '.join(arguments)}; write a class or a function"
            )
        return copy.deepcopy(value)  # each stage has its own
    if not callable(value):
        return value
    parameters = list(inspect.signature(value).parameters)
    try:
        inspect.signature(value).bind(**arguments)
        makes_one = parameters[:2] != ["epoch", "logs"]
    except TypeError:
        makes_one = False
    return value(**arguments) if makes_one else _EpochFunction(value, arguments)


class StageHooks:
    """Calls the callbacks of one stage at its moments; a stage without any does nothing.

    Attributes:
        wants_batches: Whether any is called after each batch, for which the batch is waited for.

    Args:
        callbacks: In their order.
        model: What they see and may change: weights, `optimizer.learning_rate`, `stop_training`.
        optimizer: Of the stage.
        spec: The stage.
        stage: The rate that they set is that of the epochs that follow.
    """

    def __init__(
        self, callbacks: Sequence[OwnCallback], model: Any, optimizer: Any, spec: Stage, stage: StageCallbacks
    ) -> None:
        self._callbacks, self._model, self._optimizer, self._spec, self._stage = (
            callbacks,
            model,
            optimizer,
            spec,
            stage,
        )
        self._hooks = {
            name: [(each, method) for each in callbacks if (method := each.hook(name)) is not None] for name in HOOKS
        }
        self.wants_batches = bool(self._hooks["on_train_batch_end"])
        self._stops = False
        self._begun: list[dict[str, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    @property
    def stopped(self) -> bool:
        """Whether one has asked for the end of the stage."""
        return bool(self._callbacks) and (self._stops or bool(self._model.stop_training))

    def begin(self, params: Mapping[str, Any], seed: int) -> None:
        """The stage begins, or goes on. Callbacks may draw from the generators of `random` and NumPy."""
        if not self._callbacks:
            return
        self._model.stop_training = False
        self._model.optimizer = self._optimizer
        _seed(seed, 0)
        for each in self._callbacks:
            for name, value in (("set_params", dict(params)), ("set_model", self._model)):
                if (method := getattr(each.target, name, None)) is not None:
                    each.call(method, value)
        self._call("on_train_begin", {})
        self._begun = [dict(_attributes(each.target)) for each in self._callbacks]

    def epoch_begin(self, epoch: int, seed: int, number: int) -> None:
        """Epoch `epoch` of the stage, from 0, begins; it is the cell's epoch `number`, from 1."""
        if self._callbacks:
            _seed(seed, number)
            self._call("on_epoch_begin", epoch, {})

    def batch_begin(self, batch: int) -> None:
        """A batch, from 0, begins."""
        self._call("on_train_batch_begin", batch, {})

    def batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """A batch has been trained on; `logs` are means since the epoch began."""
        self._call("on_train_batch_end", batch, logs)

    def test_begin(self) -> None:
        """Validation begins."""
        self._call("on_test_begin", {})

    def test_end(self, logs: dict[str, Any]) -> None:
        """Validation is over."""
        self._call("on_test_end", logs)

    def epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """An epoch was trained and validated."""
        self._call("on_epoch_end", epoch, logs)

    def end(self, logs: dict[str, Any]) -> None:
        """The stage is over: all its epochs were trained, or it was stopped."""
        self._call("on_train_end", logs)
        if self._callbacks:
            del self._model.optimizer

    def _call(self, name: str, *arguments: Any) -> None:
        hooks = self._hooks[name]
        if not hooks:
            return
        before = self._rate()
        for each, method in hooks:
            answer = each.call(method, *arguments)
            # Keras takes no notice of what a callback returns
            self._stops |= answer is True and name == "on_epoch_end" and not hasattr(each.target, "set_model")
        after = self._rate()
        if after == before:
            return
        if self._spec.schedule != "constant":
            names = ", ".join(each.name for each, _ in hooks)
            raise PluginError(
                f"{hooks[0][0].place}: expected {names} to leave the learning rate to the schedule of the stage, found it set to "
                f"{after:g}; leave out the schedule or the callback"
            )
        self._stage.learning_rate = after

    def _rate(self) -> float:
        import keras

        rate = self._optimizer.learning_rate
        return rate if isinstance(rate, float) else float(keras.ops.convert_to_numpy(rate))

    def state(self, arrays: list[NDArray[Any]]) -> list[Any]:
        """What the callbacks hold, as JSON can hold it; arrays are appended to `arrays`.

        Raises:
            NotPlainError: One holds what cannot be kept; the message names it.
        """
        return [self._state_of(*pair, arrays) for pair in zip(self._callbacks, self._begun, strict=True)]

    def _state_of(self, each: OwnCallback, begun: Mapping[str, Any], arrays: list[NDArray[Any]]) -> Any:
        if _keeps_itself(each.target):
            told = each.call(each.target.state)
            try:
                return pack(told, arrays)
            except NotPlainError as error:
                raise PluginError(
                    f"{each.place}: expected {each.name}.state() to return numbers, texts, arrays, and lists and dictionaries of "
                    f"these, found {error}"
                ) from error
        if not hasattr(each.target, "__dict__"):
            raise NotPlainError(f"callback {each.name} has slots and neither `state` nor `load_state`")
        packed = {}
        for name, value in _attributes(each.target).items():
            try:
                packed[name] = pack(value, arrays)
            except NotPlainError as error:
                if value is not begun.get(name) or not (callable(value) or isinstance(value, _SETTINGS)):
                    raise NotPlainError(
                        f"callback {each.name} holds `{name}`, {error}, which no state can hold"
                    ) from error
        return packed

    def restore(self, state: Sequence[Any], arrays: Sequence[NDArray[Any]]) -> None:
        """Goes back to what `state` returned; after `begin`."""
        for each, packed in zip(self._callbacks, state, strict=True):
            if _keeps_itself(each.target):
                each.call(each.target.load_state, unpack(packed, arrays))
            else:
                vars(each.target).update({name: unpack(value, arrays) for name, value in packed.items()})


_SETTINGS = (ModuleType, os.PathLike, enum.Enum)
"""What an attribute may be that is given once and for all, though it cannot be kept."""


def _keeps_itself(target: Any) -> bool:
    return callable(getattr(target, "state", None)) and callable(getattr(target, "load_state", None))


def _attributes(target: Any) -> dict[str, Any]:
    return {name: value for name, value in getattr(target, "__dict__", {}).items() if name not in _SET_ANEW}


def _seed(seed: int, epoch: int) -> None:
    word = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    random.seed(word)
    np.random.seed(word)  # noqa: NPY002  what users draw from
