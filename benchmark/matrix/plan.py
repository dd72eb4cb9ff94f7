"""The plan of a matrix on one machine: its cells, and the combinations that were left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from benchmark.matrix.cell import Cell
from benchmark.matrix.report_spec import ReportSpec

Order: TypeAlias = Literal["longest", "interleaved", "random"]
"""The words of `order` in `[matrix]`; `scheduling/decisions/turns.py` says what each means."""

ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True, slots=True)
class MachineKind:
    """The properties of a machine on which the cells of a matrix depend.

    Attributes:
        gpus, cores: Number of GPUs and of processor cores.
        threads: The measured number for `threads = "auto"`, by speed key (see `speed_key.py`).
        backends: Names of the installed backends; None where that does not matter.
    """

    gpus: int
    cores: int
    threads: Mapping[str, int] = field(default_factory=dict)
    backends: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An impossible combination, with a reason that names the cure."""

    dataset: str
    model: str
    strategy: str
    seed: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that `bench run` needs to know of a matrix.

    Attributes:
        name: Name of the matrix, if it has one.
        path: Path of the file.
        text: Content of the file.
        cells: Parents before their children, otherwise in the order of the matrix.
        left_out: Impossible combinations.
        notes: Remarks for the user: merged duplicates, parents added back, rules that match nothing.
        axes: Names of the axes on which the cells have more than one value.
        report: The comparisons that the matrix asks for.
        order: In which order cells run; None where the matrix does not say.
        auto: Ids of the cells with `threads = "auto"`, by speed key.
        undecided: Those speed keys that have not been measured on the machine; one thread is assumed.
    """

    name: str | None
    path: str
    text: str
    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    report: ReportSpec = field(default_factory=ReportSpec)
    order: Order | None = None
    auto: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    undecided: tuple[str, ...] = ()
