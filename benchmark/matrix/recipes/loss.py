"""How a matrix writes what training makes small: the names of losses, their parameters, and the weights of classes.

`training/losses.py` computes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.catalog.facts import PLUGIN
from benchmark.matrix.cell import Parameters, Stage
from benchmark.matrix.problems import INVALID, KeyPath, Problems, name_problem, quoted
from benchmark.matrix.values import Kind, NameOrTable, Number

CROSS_ENTROPY = "cross_entropy"
BINARY = "binary_cross_entropy"
FOCAL = "focal"
LOSSES: Mapping[str, Mapping[str, tuple[Kind, Any]]] = {
    CROSS_ENTROPY: {},
    FOCAL: {"gamma": (Number(0, 100), 2.0)},
    BINARY: {},
}
"""By name, the values and the default of each parameter; a parameter at its default is in no id, so these never change."""


@dataclass(frozen=True)
class Loss(NameOrTable):
    """A loss of bench, or `plugin:NAME`, whose parameters are the keyword arguments of its function."""

    @property
    def expected(self) -> str:
        return f"{super().expected}; or plugin:NAME, or a table of that kind and its keyword arguments"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        table = value if isinstance(value, dict) else {"kind": value}
        kind = table.get("kind")
        if not is_plugin_loss(kind):
            return super().read(value, path, problems)
        if problem := name_problem(str(kind).removeprefix(PLUGIN)):
            return problems.add(path, f"after {PLUGIN} {problem}", kind)
        for name, argument in table.items():
            is_finite = not isinstance(argument, float) or math.isfinite(argument)
            if not isinstance(argument, bool | int | float | str) or not is_finite:
                return problems.add((*path, name), "a finite number, a text, true or false", argument)
        return tuple(sorted(table.items())) if len(table) > 1 else kind

    def all_parameters(self, value: str | Parameters) -> tuple[str, dict[str, Any]]:
        written = {"kind": value} if isinstance(value, str) else dict(value)
        kind = written.pop("kind")
        return (kind, written) if is_plugin_loss(kind) else super().all_parameters(value)


LOSS = Loss(LOSSES)
BALANCED = "balanced"


@dataclass(frozen=True)
class ClassWeights:
    """false for None, `balanced`, or a table of weights by the names of classes; a weight of 1 is left out."""

    expected: str = 'false, "balanced", or a table of weights by class name, such as { cat = 2 }'

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if value is False or value == BALANCED:
            return value or None
        if not isinstance(value, dict):
            return problems.add(path, self.expected, value)
        read = {name: Number(0).read(weight, (*path, name), problems) for name, weight in value.items()}
        if INVALID in read.values():
            return INVALID
        if read and not any(read.values()):
            return problems.add(path, "a class whose weight is above 0", value)
        return tuple(sorted((name, weight) for name, weight in read.items() if weight != 1)) or None


def loss_parameters(loss: str | Parameters) -> tuple[str, dict[str, Any]]:
    """The name of a loss in normal form, and all parameters of it."""
    return LOSS.all_parameters(loss)


def is_plugin_loss(kind: Any) -> bool:
    """Whether a loss, by the name of its kind, is a function of the user's."""
    return isinstance(kind, str) and kind.startswith(PLUGIN)


def is_binary(stages: Iterable[Stage]) -> bool:
    """Whether the network ends in a sigmoid for each class, and not in a softmax over them: the same in all stages."""
    return any(stage.loss == BINARY for stage in stages)


def needs_vectors(stage: Stage) -> bool:
    """Whether a stage can only be trained with labels as vectors; the cross-entropy is the same with both.

    The user's own loss takes them as they are: integers, unless smoothing or mixing makes vectors of them.
    """
    has_vectors_only = stage.loss != CROSS_ENTROPY and stage.loss_code is None
    return bool(stage.label_smoothing) or stage.is_mixed or has_vectors_only


def unknown_class(unknown: Sequence[str], names: Sequence[str], source: str) -> str:
    """Says that `class_weights` names classes that a source does not have."""
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"class_weights: {source} has no class {quoted(unknown[0])}; its classes are {shown}"
