"""What becomes of each cell of a run: which is next, and what follows when one has ended. Whoever runs cells asks here."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from benchmark.catalog.cache import options_of
from benchmark.events import EpochFinished, Event, Failed
from benchmark.forecast.estimate import Durations, pioneers
from benchmark.forecast.remaining import Running
from benchmark.matrix.cell import Cell
from benchmark.scheduling.decisions.assignment import Assignment
from benchmark.scheduling.decisions.queue import CellQueue
from benchmark.scheduling.decisions.reuse import blocked_reason
from benchmark.scheduling.decisions.shared_stages import SharedStages
from benchmark.scheduling.decisions.turns import Turn, longest_first
from benchmark.scheduling.decisions.verdicts import Breaker, own_code, top_frame
from benchmark.scheduling.run_options import GuardedObserver, RunOptions
from benchmark.status import Cause, Status, status_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a cell starts from.

    Attributes:
        fresh: Whether it begins a new execution, whatever there is.
        parent_weights: Path and sha256 of the kept weights of its parent; None without a parent.
        shared_stages: Folders for the states at the ends of stages that other cells share, by the number of stages.
        stored_stages: Those of these numbers whose state it is to leave for others.
        clean_stages: Those of these numbers whose state is there, with timings that count.
    """

    fresh: bool = False
    parent_weights: tuple[Path, str] | None = None
    shared_stages: Mapping[int, Path] = field(default_factory=dict)
    stored_stages: tuple[int, ...] = ()
    clean_stages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a cell has ended in this run, all its attempts together.

    Attributes:
        state: `completed`, or the cause.
        detail: It in words.
        seconds: Of all its attempts in this run.
        error: The exception that ended it.
        weights: Path and sha256 of the weights it has left; None when it left none.
    """

    state: str
    detail: str | None = None
    seconds: float = 0.0
    error: Failed | None = None
    weights: tuple[Path, str] | None = None


class Decider(Protocol):
    """Whom the loop of attempts asks for cells, and tells how they end.

    Attributes:
        unfinished: Ids of the cells that have no result yet.
        stop_reason: Why the run should stop; None while there is no reason.
    """

    unfinished: set[str]
    stop_reason: str | None

    def next(self, may_start: Callable[[Cell], bool], take: Callable[[Cell], T | None]) -> tuple[Cell, T] | None:
        """Takes out the most urgent cell that can begin now, with what `take` lent it."""

    def beginning(self, cell: Cell) -> Beginning:
        """What the cell starts from, as things stand."""

    def begin(self, cell: Cell) -> None:
        """The cell has an attempt."""

    def launched(self, cell: Cell, number: int) -> None:
        """The attempt has a process; attempts count from 1 within the execution."""

    def hear(self, cell: Cell, event: Event, elapsed: float, undisturbed: Callable[[], bool]) -> None:
        """Takes in what a running cell tells, `elapsed` seconds after the start of its attempt."""

    def has_disturbed_stages(self, cell: Cell) -> bool:
        """Whether the cell has taken epochs of other cells whose timings were disturbed."""

    def end_attempt(self, cell: Cell) -> None:
        """The cell does not run any more, for now or for good."""

    def retry(self, cell: Cell) -> None:
        """The cell is ready again."""

    def settle(self, cell: Cell, ending: Ending) -> None:
        """The cell is through for this run."""

    def leave_pending(self, cell: Cell) -> None:
        """The cell cannot run here, and stays as it is."""

    def give_back(self, cell: Cell, reason: str) -> bool:
        """Hands on a cell for which a disk of this computer has no room; False where there is no other computer."""

    def unfinished_cells(self) -> Iterator[Cell]:
        """Cells that have no result yet, parents first."""

    def stop(self) -> None:
        """Nothing is started any more."""


class CellDecisions:
    """Decides for all cells of a run; the `Decider` of whoever holds the plan.

    Args:
        assignment: The work of the run.
        options: How to run.
        observer: Told how cells end.
        known: What is expected of cells from earlier runs.
        shared_stages: First stages that cells have in common.
        block: Enters that a cell cannot run, with the reason.
        turns: The turn of each cell, by how long the chain of work is that begins with it.

    Attributes:
        durations: What cells are expected to take, as far as this run has told.
        statuses: Status of each cell that was settled in this run.
        weights: Path and digest of the kept weights of finished cells, by cell id.
    """

    def __init__(
        self,
        assignment: Assignment,
        options: RunOptions,
        observer: GuardedObserver,
        known: Durations,
        shared_stages: SharedStages,
        block: Callable[[Cell, str], None],
        turns: Callable[[Sequence[Cell], Mapping[str, float]], Mapping[str, Turn]] = longest_first,
    ) -> None:
        cells = assignment.run
        self.assignment = assignment
        self.durations = Running(known)
        self.shared_stages = shared_stages
        self.statuses: dict[str, str] = {}
        self.weights: dict[str, tuple[Path, str]] = dict(assignment.weights)
        self.stop_reason: str | None = None
        self._options = options
        self._observer = observer
        self._block = block
        self._is_stopped = False
        self._queue = CellQueue(
            cells,
            self.durations.seconds,
            resources_of,
            pioneers(cells, known),
            shared_stages.awaited,
            turns,
            chained=not options.retime,
        )
        self.unfinished = self._queue.unfinished
        self._breaker = Breaker(
            len({(cell.dataset, cell.model, cell.strategy) for cell in cells}), frozenset(map(own_code, cells))
        )

    # ---- before a cell begins

    def next(self, may_start: Callable[[Cell], bool], take: Callable[[Cell], T | None]) -> tuple[Cell, T] | None:
        return self._queue.next(may_start, take)

    def beginning(self, cell: Cell) -> Beginning:
        parent = cell.parent_cell_id
        return Beginning(
            cell.cell_id in self.assignment.again,
            None if parent is None else self.weights.get(parent),
            self.shared_stages.folders(cell),
            self.shared_stages.to_store(cell, self.unfinished),
            self.shared_stages.clean(cell),
        )

    def begin(self, cell: Cell) -> None:
        self.assignment.again.discard(cell.cell_id)
        self.shared_stages.start(cell)

    def launched(self, cell: Cell, number: int) -> None:
        self._breaker.started = self._breaker.started or time.monotonic()
        self._observer.tell("cell_started", cell, number)

    # ---- while it runs

    def hear(self, cell: Cell, event: Event, elapsed: float, undisturbed: Callable[[], bool]) -> None:
        self.shared_stages.hear(cell, event, undisturbed)
        if isinstance(event, EpochFinished):
            self.durations.follow(cell, event, elapsed)

    def has_disturbed_stages(self, cell: Cell) -> bool:
        return self.shared_stages.is_disturbed(cell)

    # ---- when it has ended

    def end_attempt(self, cell: Cell) -> None:
        self.shared_stages.end(cell)

    def retry(self, cell: Cell) -> None:
        self.durations.forget(cell)
        self._queue.enqueue(cell)

    def settle(self, cell: Cell, ending: Ending) -> None:
        """The cell is through for this run: its children become ready, stand, or are blocked."""
        if ending.state == Status.COMPLETED:
            # what times again starts from recorded weights alone
            if ending.weights is not None and not self._options.retime:
                self.weights[cell.cell_id] = ending.weights
            self.durations.learn(cell, ending.seconds)
        self.durations.forget(cell)
        self._settle(cell, ending)
        if not self._is_stopped:
            self.shared_stages.tidy(self.unfinished, cell)

    def _settle(self, cell: Cell, ending: Ending) -> None:
        status, cause = status_of(ending.state)
        self.statuses[cell.cell_id] = status
        self._observer.tell("cell_finished", cell, status, cause, ending.seconds, ending.detail)
        if status == Status.COMPLETED:
            self._queue.finish(cell.cell_id)
            # if a rerun parent produced identical weights, children that had finished from them keep their result
            _, weights = self.weights.get(cell.cell_id, (None, None))
            for child in self._queue.children(cell.cell_id):
                if weights is not None and self.assignment.standing.get(child.cell_id) == weights:
                    self._settle(child, Ending(Status.COMPLETED))
        else:
            descendants = self._queue.drop(cell.cell_id)
            if status != Status.INTERRUPTED:
                self._block_all(cell, status, descendants)
        self._find_reason_to_stop(cell, ending)

    def leave_pending(self, cell: Cell) -> None:
        self._queue.drop(cell.cell_id)
        self._observer.note(f"{name_of(cell)} stays pending: no GPU is left for it")

    def give_back(self, cell: Cell, reason: str) -> bool:
        del cell, reason
        return False

    def unfinished_cells(self) -> Iterator[Cell]:
        return (cell for cell in self.assignment.run if cell.cell_id in self.unfinished)

    def stop(self) -> None:
        self._is_stopped = True

    def tidy(self) -> None:
        """Takes away the states of shared stages that no unfinished cell is going to need."""
        if not self._is_stopped:
            self.shared_stages.tidy(self.unfinished)

    def tell_beginning(self) -> None:
        """Records and tells which cells are blocked from the beginning."""
        for cell, reason in self.assignment.blocked:
            self._block(cell, reason)
            self._observer.tell("cell_finished", cell, Status.BLOCKED, Cause.PARENT, 0.0, reason)

    def _block_all(self, parent: Cell, status: str, descendants: Collection[Cell]) -> None:
        for cell in descendants:
            if cell.cell_id in self.assignment.standing:
                # nothing has been shown against its result
                self.statuses[cell.cell_id] = Status.COMPLETED
                continue
            reason = blocked_reason(cell, status if cell.parent_cell_id == parent.cell_id else Status.BLOCKED)
            self._block(cell, reason)
            self.statuses[cell.cell_id] = Status.BLOCKED
            self._observer.tell("cell_finished", cell, Status.BLOCKED, Cause.PARENT, 0.0, reason)

    def _find_reason_to_stop(self, cell: Cell, ending: Ending) -> None:
        place = (top_frame(ending.error.traceback) if ending.error is not None else "") or (ending.detail or "")
        self._breaker.witness(cell, ending.state, place, time.monotonic())
        if self._breaker.tripped is not None:
            self.stop_reason = self._breaker.tripped
        elif status_of(ending.state)[0] == Status.FAILED and self._options.fail_fast:
            self.stop_reason = f"{name_of(cell)} failed, and --fail-fast was given"


def resources_of(cell: Cell) -> Hashable:
    """Everything that decides whether a cell can start now: cells that agree in it can, or cannot, together."""
    data = cell.data
    weights = cell.architecture.name if cell.weights.origin == "imagenet" else None
    return (
        cell.backend, cell.device, cell.device_kind, cell.threads, data.source, data.image_size,
        data.color, weights, *options_of(data).items(),
    )  # fmt: skip


def name_of(cell: Cell) -> str:
    """The cell in a note."""
    return f"{cell.dataset}/{cell.model}/{cell.strategy} seed {cell.seed} ({cell.cell_id[:8]})"
