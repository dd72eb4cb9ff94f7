"""The state of a run as a display needs it: updated by the scheduler's observer calls, shown by `frame` and `plain_log`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from statistics import median_high
from typing import TYPE_CHECKING, Protocol

from benchmark.catalog.backends import BACKENDS
from benchmark.cli.cell_names import cell_label, varying_names
from benchmark.events import EpochFinished, Evaluated, Event, ModelBuilt, Progress, StageStarted, Started
from benchmark.matrix.cell import Cell

if TYPE_CHECKING:
    from benchmark.scheduling.run_options import Forecast

FORECAST_SECONDS = 1.0
"""How often the scheduler's forecast is asked for at most."""

PACE_EPOCHS = 5
"""Of so many of the last epochs the middle one tells the pace: a disturbed one is long."""


class Planned(Protocol):
    """What is to be done: a plan, or as much of one as a database tells."""

    @property
    def cells(self) -> Sized: ...

    @property
    def axes(self) -> Sequence[str]: ...


@dataclass(slots=True)
class RunningCell:
    """One cell that is being worked on.

    Attributes:
        label, names: What it is called, in full, and by what tells it apart from the other cells.
        started: When, on the board's clock.
        node: Computer of a cluster that it is on; None on this one.
        is_imported, is_built: How far it is before its first epoch: its backend is imported, its model is built.
        stage, epoch: Counted from 1; 0 before the first one.
        batch, batches: Within the epoch.
        last, last_at: The last finished epoch, if any, and when it was finished, on the board's clock.
        paces: Seconds of the last epochs of this stage.
        expected_end: When it ends by the scheduler's forecast, on the board's clock.
        test_accuracy: Once it was evaluated.
    """

    cell: Cell
    label: str
    names: str
    started: float
    node: str | None = None
    is_imported: bool = False
    is_built: bool = False
    stage: int = 0
    epoch: int = 0
    batch: int = 0
    batches: int = 0
    last: EpochFinished | None = None
    last_at: float = 0.0
    paces: deque[float] = field(default_factory=lambda: deque(maxlen=PACE_EPOCHS))
    expected_end: float | None = None
    test_accuracy: float | None = None

    @property
    def share(self) -> float:
        """How much of the cell is done, 0..1, by epochs and batches."""
        done = float(self.last.epoch) if self.last else 0.0
        if self.epoch > done and self.batches:
            done += self.batch / self.batches
        return min(done / max(self.cell.epochs, 1), 1.0)

    @property
    def phase(self) -> str | None:
        """What it does outside of epochs, in words; None within them."""
        if self.test_accuracy is not None:
            return "saving"
        if self.last is not None:
            return "testing" if self.last.epoch >= self.cell.epochs else None
        if self.epoch:
            return None
        if self.is_built:
            return "in epoch 1"
        return "loading data and model" if self.is_imported else starting(self.cell.backend)

    def left_seconds(self, now: float) -> float | None:
        """What it probably still takes, by the pace of its epochs; None before there is one.

        Epochs of a later stage take as long as they may: for them the scheduler's forecast is asked.
        """
        if self.last is None:
            return None
        if self.stage < len(self.cell.stages) and self.expected_end is not None:
            return max(self.expected_end - now, 0.0)
        left = median_high(self.paces or [self.last.seconds]) * (self.cell.epochs - self.last.epoch)
        return max(left - (now - self.last_at), 0.0)

    def see(self, event: Event, now: float) -> None:
        """Update the cell from an event of its worker, `now` on the board's clock."""
        match event:
            case Started():
                self.is_imported = True
            case ModelBuilt():
                self.is_built = True
            case StageStarted(stage=stage):
                self.stage, self.is_built = stage, True
            case Progress(stage=stage, epoch=epoch, batch=batch, batches=batches):
                self.stage, self.epoch, self.batch, self.batches = stage, epoch, batch, batches
            case EpochFinished():
                self._end_epoch(event, now)
            case Evaluated():
                self.test_accuracy = event.test_accuracy
            case _:
                pass

    def _end_epoch(self, event: EpochFinished, now: float) -> None:
        if self.last is not None and event.stage != self.last.stage:
            self.paces.clear()
        if not event.traced and not event.replayed:
            self.paces.append(event.seconds + event.checkpoint_seconds)
        self.last, self.last_at, self.stage, self.epoch, self.batch = event, now, event.stage, event.epoch, 0


def starting(backend: str) -> str:
    """`starting TensorFlow`."""
    return f"starting {BACKENDS[backend].title if backend in BACKENDS else backend}"


@dataclass(frozen=True, slots=True)
class FinishedCell:
    """How one cell ended in this run; `last` is its last finished epoch in it, if any."""

    cell: Cell
    label: str
    status: str
    cause: str | None
    seconds: float
    detail: str | None
    last: EpochFinished | None
    test_accuracy: float | None = None


@dataclass(slots=True)
class Board:
    """The whole run.

    Attributes:
        total, done: Cells that train in this run, and how many of them have ended.
        idle: Ids of the others, which are reused, settled or blocked.
        forecast: Seconds that the scheduler still expects; called when an event comes, never from a drawing thread.
        preparing: Data and weights that are being made ready, and how far they have come in words.
        starting: Backends that are being imported, for all cells together.
        clock: Seconds that never go back; replaced in tests.
    """

    clock: Callable[[], float] = time.monotonic
    axes: Sequence[str] = ()
    total: int = 0
    done: int = 0
    idle: set[str] = field(default_factory=set)
    forecast: Forecast = lambda: None
    started: float = 0.0
    expected_end: float | None = None
    preparing: Mapping[str, str] = field(default_factory=dict)
    starting: Sequence[str] = ()
    forecast_at: float = 0.0
    running: dict[str, RunningCell] = field(default_factory=dict)
    finished: list[FinishedCell] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def begin(self, plan: Planned, idle: Collection[str], forecast: Forecast) -> None:
        """Start the clock of a run."""
        self.idle = set(idle)
        self.total, self.axes = len(plan.cells) - len(self.idle), plan.axes
        self.forecast = forecast
        self.started = self.clock()
        self._update_forecast()

    def start(self, cell: Cell) -> RunningCell:
        """Add a running cell."""
        if cell.cell_id in self.idle:
            # it was expected to keep its result, but its parent came to other weights
            self.idle.remove(cell.cell_id)
            self.total += 1
        running = RunningCell(cell, cell_label(cell, self.axes), varying_names(cell, self.axes), self.clock())
        self.running[cell.cell_id] = running
        self._update_forecast()
        return running

    def place(self, cell: Cell, node: str) -> None:
        """Take in which computer of a cluster a running cell is on."""
        if (running := self.running.get(cell.cell_id)) is not None:
            running.node = node

    def see(self, cell: Cell, event: Event) -> RunningCell | None:
        """Update a running cell from an event of its worker; None when the cell is not on the board."""
        running = self.running.get(cell.cell_id)
        if running is not None:
            running.see(event, self.clock())
        if self.clock() - self.forecast_at >= FORECAST_SECONDS:
            self._update_forecast()
        return running

    def finish(self, cell: Cell, status: str, cause: str | None, seconds: float, detail: str | None) -> FinishedCell:
        """Move a cell to the finished ones: this run will not change its state any more."""
        running = self.running.pop(cell.cell_id, None)
        last, test_accuracy = (running.last, running.test_accuracy) if running else (None, None)
        ended = FinishedCell(cell, cell_label(cell, self.axes), status, cause, seconds, detail, last, test_accuracy)
        self.finished.append(ended)
        self.counts[status] += 1
        self.done += cell.cell_id not in self.idle
        self._update_forecast()
        return ended

    def _update_forecast(self) -> None:
        self.forecast_at = self.clock()
        left = self.forecast()
        self.expected_end = None if left is None else self.forecast_at + left
        # a forecast of the scheduler knows single cells as well
        if (of_cell := getattr(self.forecast, "of_cell", None)) is not None:
            for cell_id, running in self.running.items():
                cell_left = of_cell(cell_id)
                running.expected_end = None if cell_left is None else self.forecast_at + cell_left

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self.started

    @property
    def share(self) -> float:
        """How much of the run is done, 0..1: of its time where a forecast is known, else of its epochs."""
        if self.expected_end is not None:
            left = max(self.expected_end - self.clock(), 0.0)
            return self.elapsed / (self.elapsed + left) if left or self.elapsed else 0.0
        ended, running = self.finished, list(self.running.values())
        known = [each.cell.epochs for each in ended] + [each.cell.epochs for each in running]
        if not any(known):
            return 0.0
        done = sum(each.cell.epochs for each in ended) + sum(each.share * each.cell.epochs for each in running)
        mean = sum(known) / len(known)
        return min(done / (mean * max(self.total, len(known))), 1.0)

    @property
    def left_seconds(self) -> float | None:
        """Wall time that is probably left: the scheduler's forecast, or else the pace of this run so far."""
        if self.expected_end is not None:
            return max(self.expected_end - self.clock(), 0.0)
        share = self.share
        return self.elapsed * (1 - share) / share if share > 0.02 and self.finished else None
