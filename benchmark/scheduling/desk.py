"""What the parts of one run's loop share, and how cells are called in its notes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from benchmark import machine
from benchmark.matrix.cell import Cell
from benchmark.scheduling.assignment import Assignment
from benchmark.scheduling.book import Book
from benchmark.scheduling.forecast import Durations
from benchmark.scheduling.graph import CellGraph
from benchmark.scheduling.options import GuardedObserver, RunOptions
from benchmark.scheduling.resources import Slots


@dataclass(frozen=True, slots=True)
class Desk:
    """The work, the means, the record, and whom to tell."""

    assignment: Assignment
    options: RunOptions
    book: Book
    observer: GuardedObserver
    durations: Durations
    graph: CellGraph
    slots: Slots

    def note(self, text: str) -> None:
        self.observer.tell("note", text)


def lay_out(
    assignment: Assignment, book: Book, options: RunOptions, observer: GuardedObserver, durations: Durations
) -> Desk:
    """The desk at the beginning of a run on this machine."""

    def expected(cell: Cell) -> float:
        seconds = durations.seconds(cell)
        return float(cell.epochs) if seconds is None else seconds

    jobs = 1 if options.exclusive else options.jobs
    return Desk(
        assignment=assignment,
        options=options,
        book=book,
        observer=observer,
        durations=durations,
        graph=CellGraph(assignment.run, expected, lane_of),
        slots=Slots(machine.available_cores(), range(machine.gpu_count()), jobs),
    )


def lane_of(cell: Cell) -> Hashable:
    """Everything that decides whether a cell can start now: cells of one lane can, or cannot, together."""
    data = cell.data
    return (cell.backend, cell.device, cell.device_kind, cell.threads, data.source, data.image_size, data.color)


def name_of(cell: Cell) -> str:
    """The cell in a note."""
    return f"{cell.dataset}/{cell.model}/{cell.strategy} seed {cell.seed} ({cell.cell_id[:8]})"
