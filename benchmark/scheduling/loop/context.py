"""The state of one run: all that its loop shares and changes has this one owner."""

from __future__ import annotations

import selectors
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmark import machine
from benchmark.catalog.cache import options_of
from benchmark.forecast.estimate import Durations, pioneers
from benchmark.forecast.remaining import Running
from benchmark.matrix.cell import Cell
from benchmark.scheduling.decisions.assignment import Assignment
from benchmark.scheduling.decisions.queue import CellQueue
from benchmark.scheduling.decisions.shared_stages import SharedStages
from benchmark.scheduling.decisions.turns import Turn, longest_first
from benchmark.scheduling.decisions.verdicts import Breaker, own_code
from benchmark.scheduling.loop.attempt import Attempt, PendingLaunch
from benchmark.scheduling.loop.disturbance import DisturbanceMeter
from benchmark.scheduling.loop.retrying_recorder import RetryingRecorder
from benchmark.scheduling.processes.launcher import Launcher
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.processes.slots import slots_of
from benchmark.scheduling.programs.preparation import Preparations
from benchmark.scheduling.run_options import GuardedObserver, RunOptions


class RunContext:
    """What `loop`, `start` and `finish` work on; they are functions of it, and nobody else changes it.

    Attributes:
        durations: What cells are expected to take, as far as this run has told.
        slots, queue: What cells run on, and which is next.
        selector: Everything that the loop waits for: pipes of attempts, templates, preparations, and signals. The data
            of a key is its `Attempt`, or a function that hears who became readable.
        unprepared: Cells whose data or weights could not be had, with the reason; `finish` empties it.
        pending: Attempts that are recorded and have no process yet.
        running: Attempts that have one, by attempt id.
        start_not_before: Monotonic seconds before which nothing is started, because no process could be made.
        failed_launches: How often that was so since a process could be made last.
        statuses: Status of each cell that was settled in this run.
        weights: Path and digest of the kept weights of finished cells, by cell id.
        cell_seconds: Seconds of all attempts of a cell in this run, by cell id.
        failures: How often a cell has ended in a state, by cell id and state.
        gpu_losses: How often each GPU was lost.
        stop_reason: Why the run should stop; None while there is no reason.
        stopped: Why no more cells are started; None while they are.
        killed: Whether a second signal has had all workers killed.
    """

    def __init__(
        self,
        assignment: Assignment,
        options: RunOptions,
        observer: GuardedObserver,
        signals: StopSignals,
        recorder: RetryingRecorder,
        known: Durations,
        shared_stages: SharedStages,
        turns: Callable[[Sequence[Cell], Mapping[str, float]], Mapping[str, Turn]] = longest_first,
    ) -> None:
        cells = assignment.run
        self.assignment = assignment
        self.options = options
        self.observer = observer
        self.signals = signals
        self.recorder = recorder
        self.durations = Running(known)
        self.shared_stages = shared_stages
        self.slots = slots_of(options)
        first = pioneers(cells, known)
        self.queue = CellQueue(
            cells, self.durations.seconds, resources_of, first, shared_stages.awaited, turns, chained=not options.retime
        )
        self.meter = DisturbanceMeter(self._pids, len(self.slots.cores))
        self.memory_bytes = machine.facts().memory_bytes
        self.breaker = Breaker(
            len({(cell.dataset, cell.model, cell.strategy) for cell in cells}),
            frozenset(map(own_code, cells)),
        )

        self.pending: list[PendingLaunch] = []
        self.running: dict[int, Attempt] = {}
        self.unprepared: list[tuple[set[str], str]] = []
        self.start_not_before = 0.0
        self.failed_launches = 0
        self.statuses: dict[str, str] = {}
        self.weights: dict[str, tuple[Path, str]] = dict(assignment.weights)
        self.cell_seconds: defaultdict[str, float] = defaultdict(float)
        self.failures: Counter[tuple[str, str]] = Counter()
        self.gpu_losses: Counter[int] = Counter()
        self.stop_reason: str | None = None
        self.stopped: str | None = None
        self.killed = False

        self.selector = selectors.DefaultSelector()
        self.selector.register(signals.fd, selectors.EVENT_READ, signals.drain)
        self.launcher = Launcher(options.isolation, self.selector, self.note, options.templates)
        self.preparations = Preparations(
            cells, options, self.selector, lambda affected, problem: self.unprepared.append((affected, problem))
        )

    def close(self) -> None:
        """Ends everything that still runs; nothing of this run is alive afterwards."""
        for attempt in self.running.values():
            attempt.close()
        self.running.clear()
        self.preparations.close()
        self.launcher.close()
        self.selector.close()

    def note(self, text: str) -> None:
        """Tells the user something in a line."""
        self.observer.note(text)

    def unfinished_cells(self) -> Iterator[tuple[Cell, float | None]]:
        """Cells that have no result yet, parents first, with the seconds that they have been running; None for not yet."""
        now = time.monotonic()
        spent = {attempt.cell.cell_id: now - attempt.started for attempt in self.running.values()}
        for cell in self.assignment.run:
            if cell.cell_id in self.queue.unfinished:
                yield cell, spent.get(cell.cell_id)

    def _pids(self) -> Iterator[int]:
        yield from self.launcher.pids
        yield from self.preparations.pids
        for attempt in self.running.values():
            yield from attempt.process.pids


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
