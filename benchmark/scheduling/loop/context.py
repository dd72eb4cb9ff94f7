"""What the parts of one run's loop share, and how cells are called in its notes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from benchmark import machine
from benchmark.forecast.estimate import Durations, pioneers
from benchmark.forecast.running import Running
from benchmark.matrix.cell import Cell
from benchmark.scheduling.decisions.assignment import Assignment
from benchmark.scheduling.decisions.queue import CellGraph
from benchmark.scheduling.decisions.shared_stages import Sharing
from benchmark.scheduling.loop.retrying_recorder import Book
from benchmark.scheduling.options import GuardedObserver, RunOptions
from benchmark.scheduling.processes.slots import Slots


@dataclass(frozen=True, slots=True)
class Desk:
    """The work, the means, the record, and whom to tell."""

    assignment: Assignment
    options: RunOptions
    book: Book
    observer: GuardedObserver
    durations: Running
    graph: CellGraph
    slots: Slots
    sharing: Sharing

    def note(self, text: str) -> None:
        self.observer.tell("note", text)


def lay_out(
    assignment: Assignment,
    book: Book,
    options: RunOptions,
    observer: GuardedObserver,
    durations: Durations,
    sharing: Sharing,
) -> Desk:
    """The desk at the beginning of a run on this machine."""
    first, running = pioneers(assignment.run, durations), Running(durations)
    return Desk(
        assignment=assignment,
        options=options,
        book=book,
        observer=observer,
        durations=running,
        graph=CellGraph(assignment.run, running.seconds, lane_of, first, sharing.awaited),
        slots=slots_of(options),
        sharing=sharing,
    )


def slots_of(options: RunOptions) -> Slots:
    """What this machine has for a run with these options."""
    jobs = 1 if options.exclusive else options.jobs
    return Slots(machine.available_cores(), range(machine.gpu_count()), jobs, options.gpu_share)


def lane_of(cell: Cell) -> Hashable:
    """Everything that decides whether a cell can start now: cells of one lane can, or cannot, together."""
    data = cell.data
    weights = cell.architecture.name if cell.weights.origin == "imagenet" else None
    return (
        cell.backend, cell.device, cell.device_kind, cell.threads, data.source, data.location,
        data.test_fraction, data.class_names, data.image_size, data.color, weights,
    )  # fmt: skip


def name_of(cell: Cell) -> str:
    """The cell in a note."""
    return f"{cell.dataset}/{cell.model}/{cell.strategy} seed {cell.seed} ({cell.cell_id[:8]})"
