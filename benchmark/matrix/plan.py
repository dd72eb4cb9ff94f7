"""What a matrix comes to on this machine: its cells, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.matrix.cell import Cell
from benchmark.matrix.report_spec import ReportSpec


@dataclass(frozen=True, slots=True)
class MachineKind:
    """What of a machine decides which cells a matrix comes to on it.

    Attributes:
        gpus, cores: How many GPUs and processor cores it has.
        threads: What `threads = "auto"` comes to there, as far as that has been measured, by pace (see `pace.py`).
        backends: Libraries that Keras can compute with there; None where that does not matter.
    """

    gpus: int
    cores: int
    threads: Mapping[str, int] = field(default_factory=dict)
    backends: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A combination that is impossible, and the reason, which names the cure."""

    dataset: str
    model: str
    strategy: str
    seed: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that `bench run` needs to know of a matrix.

    Attributes:
        name: Of the matrix, if it has one.
        path: Of the file.
        text: Of the file.
        cells: Parents before their children, otherwise in the order of the matrix.
        left_out: Impossible combinations.
        notes: Remarks for the user: merged duplicates, parents that came back, rules that match nothing.
        axes: Names of the axes on which the cells have more than one value.
        report: The comparisons that the matrix asks for.
        auto: Ids of the cells whose threads are `auto`, by pace.
        undecided: Those paces of them for which the machine has not been measured; one thread is assumed.
    """

    name: str | None
    path: str
    text: str
    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    report: ReportSpec = field(default_factory=ReportSpec)
    auto: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    undecided: tuple[str, ...] = ()
