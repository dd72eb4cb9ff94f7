"""What runs attempts on this machine: all that the loop shares and changes has this one owner."""

from __future__ import annotations

import selectors
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from benchmark import machine
from benchmark.forecast.simulation import Room
from benchmark.matrix.cell import Cell
from benchmark.scheduling.decisions.cell_decisions import Decider
from benchmark.scheduling.loop.attempt import Attempt, PendingLaunch
from benchmark.scheduling.loop.attempt_files import AttemptFiles
from benchmark.scheduling.loop.copies import Copies
from benchmark.scheduling.loop.disturbance import DisturbanceMeter
from benchmark.scheduling.loop.retrying_recorder import RetryingRecorder
from benchmark.scheduling.processes.launcher import Launcher
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.processes.slots import Slots
from benchmark.scheduling.programs.preparation import Preparations
from benchmark.scheduling.run_options import GuardedObserver, RunOptions


class RunContext:
    """What `loop`, `start` and `finish` work on; they are functions of it, and nobody else changes it.

    Attributes:
        decider: Which cell is next, and what follows from how one ends.
        slots: What cells run on.
        pins_cores: Whether workers are pinned to the cores that are lent to them.
        selector: Everything that the loop waits for: pipes of attempts, templates, preparations, and signals. The data
            of a key is its `Attempt`, or a function that hears who became readable.
        unprepared: Cells whose data or weights could not be had, with the reason; `finish` empties it.
        pending: Attempts that are recorded and have no process yet.
        running: Attempts that have one, by attempt id.
        start_not_before: Monotonic seconds before which nothing is started, because no process could be made.
        failed_launches: How often that was so since a process could be made last.
        cell_seconds: Seconds of all attempts of a cell in this run, by cell id.
        failures: How often a cell has ended in a state, by cell id and state.
        copies: What takes files to the URL of artifacts and fetches them; None where a folder is their place.
        gpu_losses: How often each GPU was lost.
        stopped: Why no more cells are started; None while they are.
        killed: Whether a second signal has had all workers killed.
    """

    def __init__(
        self,
        decider: Decider,
        cells: Sequence[Cell],
        options: RunOptions,
        observer: GuardedObserver,
        signals: StopSignals,
        recorder: RetryingRecorder,
        slots: Slots,
        *,
        pins_cores: bool = True,
    ) -> None:
        self.decider = decider
        self.options = options
        self.observer = observer
        self.signals = signals
        self.recorder = recorder
        self.slots = slots
        self.pins_cores = pins_cores
        self.meter = DisturbanceMeter(self._pids, len(self.slots.cores))
        self.memory_bytes = machine.facts().memory_bytes

        self.pending: list[PendingLaunch] = []
        self.running: dict[int, Attempt] = {}
        self.unprepared: list[tuple[set[str], str]] = []
        self.start_not_before = 0.0
        self.failed_launches = 0
        self.cell_seconds: defaultdict[str, float] = defaultdict(float)
        self.failures: Counter[tuple[str, str]] = Counter()
        self.gpu_losses: Counter[int] = Counter()
        self.stopped: str | None = None
        self.killed = False
        self._starting: tuple[str, ...] = ()

        self.selector = selectors.DefaultSelector()
        self.selector.register(signals.fd, selectors.EVENT_READ, signals.drain)
        self.copies = None
        if options.store is not None:
            self.copies = Copies(
                AttemptFiles(options.store, options.artifacts_root.absolute()), self.selector, recorder.record
            )
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
        if self.copies is not None:
            self.copies.close()
        self.selector.close()

    @property
    def is_busy(self) -> bool:
        """Whether an attempt runs, or files are still copied."""
        return bool(self.running) or (self.copies is not None and self.copies.is_busy)

    def abandon_copies(self) -> None:
        """Waits for no file that is being copied any more."""
        if self.copies is not None:
            self.copies.abandon()

    @property
    def room(self) -> Room:
        """All that there is to share, lent out or not."""
        return self.slots.room

    def note(self, text: str) -> None:
        """Tells the user something in a line."""
        self.observer.note(text)

    def tell_starting(self) -> None:
        """Tells the observer when a backend is being imported, and when it has been."""
        starting = self.launcher.starting
        if starting != self._starting:
            self._starting = starting
            self.observer.tell("starting", starting)

    def unfinished_cells(self) -> Iterator[tuple[Cell, float | None]]:
        """Cells that have no result yet, parents first, with the seconds that they have been running; None for not yet."""
        now = time.monotonic()
        spent = {attempt.cell.cell_id: now - attempt.started for attempt in self.running.values()}
        for cell in self.decider.unfinished_cells():
            yield cell, spent.get(cell.cell_id)

    def _pids(self) -> Iterator[int]:
        yield from self.launcher.pids
        yield from self.preparations.pids
        for attempt in self.running.values():
            yield from attempt.process.pids
