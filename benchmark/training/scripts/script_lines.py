"""The lines that a program writes to `BENCH_EVENTS`, strictly read; docs/script-cells.md describes each.

A program is a stranger: whatever is no such line raises `ScriptProtocolError`, which says what was expected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from benchmark.errors import BenchError

SCHEMA = 1
"""Version of what a script is given and may report."""

LINE_LIMIT_BYTES = 1 << 20
_SHOWN_CHARACTERS = 200
_MOST_EPOCHS = 1_000_000
_NUMBERS_AS_TEXT = {"nan": math.nan, "infinity": math.inf, "inf": math.inf, "-infinity": -math.inf, "-inf": -math.inf}


class ScriptProtocolError(BenchError):
    """A program reported what cannot be, or nothing where it has to report something."""


@dataclass(frozen=True, slots=True)
class EpochLine:
    """An epoch ended; None where it does not say.

    Attributes:
        epoch: Its number, from 1 over the whole cell; None for the next one.
        stage: From 1.
        train_loss, val_loss: A value that is not finite means that the cell has diverged.
        train_accuracy, val_accuracy: Fractions 0..1.
        seconds: How long it took; None takes the time since the line before.
    """

    epoch: int | None = None
    stage: int | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ResumeLine:
    """The program goes on after this epoch, with a state of its own."""

    epoch: int


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """A sign of life between epochs."""

    batch: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True)
class FinishLine:
    """The results: for each set of images probabilities, `[n, classes]`, or the path of a file of them.

    Attributes:
        test_accuracy: As the program counts it, 0..1, to be compared with what follows from its probabilities.
        best_epoch: The epoch whose model has answered; None for the last one.
        parameters, trainable_parameters: Of its model.
    """

    probabilities: str | list[Any]
    validation_probabilities: str | list[Any] | None = None
    lockbox_probabilities: str | list[Any] | None = None
    test_accuracy: float | None = None
    best_epoch: int | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None


ScriptLine: TypeAlias = EpochLine | ResumeLine | ProgressLine | FinishLine

_KINDS: Mapping[str, type[ScriptLine]] = {
    "epoch": EpochLine,
    "resume": ResumeLine,
    "progress": ProgressLine,
    "finish": FinishLine,
}
_LOSSES = frozenset({"train_loss", "val_loss"})
_COUNTS = frozenset({"epoch", "stage", "batch", "batches", "best_epoch", "parameters", "trainable_parameters"})
_FRACTIONS = frozenset({"train_accuracy", "val_accuracy", "test_accuracy"})


def read_line(line: bytes) -> ScriptLine:
    """What a line says.

    Raises:
        ScriptProtocolError: It is no line that a program may write.
    """
    record = _parsed(line)
    kind = record.pop("event", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ScriptProtocolError(f'"event": expected one of {", ".join(_KINDS)}, found {_shown(kind)}')
    known = {field.name: field for field in fields(_KINDS[kind])}
    if unknown := sorted(record.keys() - known.keys()):
        raise ScriptProtocolError(f"{kind}: expected the keys {', '.join(known)}, found {_shown(unknown[0])}")
    values = {name: _checked(kind, name, value) for name, value in record.items()}
    missing = [
        name for name, field in known.items() if field.default is field.default_factory and values.get(name) is None
    ]
    if missing:
        raise ScriptProtocolError(f"{kind}: expected the key {missing[0]}, found none")
    return _KINDS[kind](**values)


def _parsed(line: bytes) -> dict[str, Any]:
    if len(line) > LINE_LIMIT_BYTES:
        raise ScriptProtocolError(f"expected lines of at most {LINE_LIMIT_BYTES} bytes, found a longer one")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ScriptProtocolError(f"expected a line of JSON, an object, found {_shown(line.decode(errors='replace'))}")
    return record


def _checked(kind: str, name: str, value: Any) -> Any:
    where = f"{kind}: {name}"
    if value is None:
        return None
    if name.endswith("probabilities"):
        if isinstance(value, list) or (isinstance(value, str) and value and "\0" not in value):
            return value
        raise ScriptProtocolError(f"{where}: expected the path of a file or a list of rows, found {_shown(value)}")
    if name in _COUNTS:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62:
            return value
        raise ScriptProtocolError(f"{where}: expected a whole number that is not negative, found {_shown(value)}")
    number = _number(value)
    if number is None:
        raise ScriptProtocolError(f"{where}: expected a number, found {_shown(value)}")
    if name in _LOSSES:
        return number
    low, high = (0.0, 1.0) if name in _FRACTIONS else (0.0, math.inf)
    if not (low <= number <= high and math.isfinite(number)):
        expected = "a fraction from 0 to 1" if name in _FRACTIONS else "a finite number that is not negative"
        raise ScriptProtocolError(f"{where}: expected {expected}, found {_shown(value)}")
    return number


def _number(value: Any) -> float | None:
    """A number of JSON, or one that is not finite as other languages write it."""
    if isinstance(value, str):
        return _NUMBERS_AS_TEXT.get(value.lower())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


@dataclass(slots=True)
class EpochCount:
    """Which epoch may be reported next.

    Attributes:
        earlier: How many epochs earlier attempts have reported.
        is_again: Whether there were earlier attempts: one may have saved a state and not lived to report its last epoch.
        last: The number of the last one; 0 before the first.
        stages: How many stages the cell has.
        resumed_from: Where the program went on from; None when it began at the beginning.
    """

    stages: int
    earlier: int = 0
    is_again: bool = False
    last: int = 0
    stage: int = 1
    stage_epoch: int = 0
    begun: bool = False
    resumed_from: int | None = None

    def resume(self, epoch: int) -> None:
        """The program goes on after this epoch.

        Raises:
            ScriptProtocolError: Some epoch was reported before, or none of this number ever.
        """
        if self.begun:
            raise ScriptProtocolError("resume: expected before the first epoch of an attempt, found after it")
        if epoch > self.earlier + self.is_again:
            raise ScriptProtocolError(
                f"resume: expected an epoch that an earlier attempt has reported (there are {self.earlier}), found {epoch}"
            )
        self.begun = True
        if epoch:
            self.last = self.resumed_from = epoch

    def begin(self, line: EpochLine) -> None:
        """Takes the number of the first epoch of an attempt for where it goes on from; the others say nothing of that.

        Raises:
            ScriptProtocolError: No such epoch was ever reported.
        """
        first = line.epoch or 1
        if not self.begun and first - 1 > self.earlier + self.is_again:
            raise ScriptProtocolError(
                f"epoch: expected the number 1, or that after one of the {self.earlier} that earlier attempts have reported, "
                f"found {first}"
            )
        if not self.begun:
            self.resume(max(first - 1, 0))

    def follow(self, line: EpochLine) -> None:
        """Takes in an epoch.

        Raises:
            ScriptProtocolError: It is not the one that comes next.
        """
        expected = self.last + 1
        if line.epoch not in {None, expected}:
            raise ScriptProtocolError(f"epoch: expected the number {expected}, found {line.epoch}")
        if expected > _MOST_EPOCHS:
            raise ScriptProtocolError(f"epoch: expected at most {_MOST_EPOCHS:,} epochs")
        stage = self.stage if line.stage is None else line.stage
        if not self.stage <= stage <= self.stages:
            raise ScriptProtocolError(f"epoch: expected a stage from {self.stage} to {self.stages}, found {stage}")
        self.stage_epoch = self.stage_epoch + 1 if stage == self.stage else 1
        self.stage, self.last = stage, expected
