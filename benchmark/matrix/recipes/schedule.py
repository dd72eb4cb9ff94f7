"""How a matrix writes the learning rate's schedule: the kinds, their parameters, and the shortest form of each.

`training/learning_rates.py` computes the rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

from benchmark.matrix.cell import Parameters
from benchmark.matrix.problems import INVALID, KeyPath, Problems
from benchmark.matrix.values import Kind, ListOf, NameOrTable, Number

_NEEDED = None
"""The default of a parameter that has to be written."""

_Table: TypeAlias = dict[str, tuple[Kind, Any]]
_EPOCHS = Number(0, 1_000_000, above=True)
_FACTOR = Number(0, 1, above=True)
_WARMUP: _Table = {"warmup_epochs": (Number(0, 1_000_000), 0.0)}
_FINAL: _Table = {"final": (Number(0, 1), 0.0)}
SCHEDULES: Mapping[str, _Table] = {
    "constant": _WARMUP,
    "cosine": {**_WARMUP, **_FINAL},
    "linear": {**_WARMUP, **_FINAL},
    "polynomial": {**_WARMUP, **_FINAL, "power": (Number(0, 100, above=True), 2.0)},
    "step": {**_WARMUP, "factor": (_FACTOR, _NEEDED), "every": (_EPOCHS, None), "at": (ListOf(_EPOCHS), None)},
    "exponential": {**_WARMUP, "factor": (_FACTOR, _NEEDED)},
    "one_cycle": {
        "warmup_share": (Number(0, 1, above=True, below=True), 0.3),
        "initial": (Number(0, 1, above=True), 0.04),
        "final": (Number(0, 1), 4e-6),
    },
}
"""By kind, the values and the default of each parameter; a parameter at its default is in no id, so these never change."""

_AT = "rising epochs of the stage, such as [3, 6]"


@dataclass(frozen=True)
class Schedule(NameOrTable):
    """The name of a schedule, or a table of its `kind` and parameters; those at their defaults are left out."""

    parameters: Mapping[str, _Table] = field(default_factory=lambda: SCHEDULES)
    needed: tuple[str, ...] = ("factor",)

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        normal = super().read(value, path, problems)
        is_step = not isinstance(normal, str) and normal is not INVALID and ("kind", "step") in normal
        return INVALID if is_step and not _has_steps(dict(normal), path, problems) else normal


def _has_steps(table: Mapping[str, Any], path: KeyPath, problems: Problems) -> bool:
    """Whether either `every` or `at` says where the steps are; notes what is wrong."""
    if ("every" in table) == ("at" in table):
        problems.add(
            path, "either every = EPOCHS or at = [EPOCHS, …] beside factor", "both" if "at" in table else "none"
        )
        return False
    if any(later <= earlier for earlier, later in pairwise(table.get("at", ()))):
        problems.add((*path, "at"), _AT, list(table["at"]))
        return False
    return True


def schedule_parameters(schedule: str | Parameters) -> tuple[str, dict[str, Any]]:
    """The kind of a schedule in normal form, and all parameters of that kind."""
    return Schedule().all_parameters(schedule)
