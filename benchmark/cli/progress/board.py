"""The state of a run as a display needs it: updated by the scheduler's observer calls, shown by `live_display` and `log`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmark.cli.cell_names import brief_label, cell_label
from benchmark.events import EpochFinished, Event, Progress, StageStarted
from benchmark.matrix.cell import Cell

if TYPE_CHECKING:
    from benchmark.matrix.plan import Plan
    from benchmark.scheduling.run_options import Forecast

FORECAST_SECONDS = 1.0
"""How often the scheduler's forecast is asked for at most."""


@dataclass(slots=True)
class RunningCell:
    """One cell that is being worked on.

    Attributes:
        label, brief: What it is called, in full and where there is little room.
        started: When, on the board's clock.
        stage, epoch: Counted from 1; 0 before the first one.
        batch, batches: Within the epoch.
        last: The last finished epoch, if any.
    """

    cell: Cell
    label: str
    brief: str
    started: float
    stage: int = 0
    epoch: int = 0
    batch: int = 0
    batches: int = 0
    last: EpochFinished | None = None

    @property
    def share(self) -> float:
        """How much of the cell is done, 0..1, by epochs and batches."""
        done = float(self.last.epoch) if self.last else 0.0
        if self.epoch > done and self.batches:
            done += self.batch / self.batches
        return min(done / max(self.cell.epochs, 1), 1.0)

    def see(self, event: Event) -> None:
        """Update the cell from an event of its worker."""
        match event:
            case StageStarted(stage=stage):
                self.stage = stage
            case Progress(stage=stage, epoch=epoch, batch=batch, batches=batches):
                self.stage, self.epoch, self.batch, self.batches = stage, epoch, batch, batches
            case EpochFinished():
                self.last, self.stage, self.epoch, self.batch = event, event.stage, event.epoch, 0


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


@dataclass(slots=True)
class Board:
    """The whole run.

    Attributes:
        total, done: Cells that train in this run, and how many of them have ended.
        idle: Ids of the others, which are reused, settled or blocked.
        forecast: Seconds that the scheduler still expects; called when an event comes, never from a drawing thread.
        preparing: Data and weights that are being made ready, and how far they have come in words.
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
    forecast_at: float = 0.0
    running: dict[str, RunningCell] = field(default_factory=dict)
    finished: list[FinishedCell] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def begin(self, plan: Plan, idle: Collection[str], forecast: Forecast) -> None:
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
        running = RunningCell(cell, cell_label(cell, self.axes), brief_label(cell, self.axes), self.clock())
        self.running[cell.cell_id] = running
        self._update_forecast()
        return running

    def see(self, cell: Cell, event: Event) -> RunningCell | None:
        """Update a running cell from an event of its worker; None when the cell is not on the board."""
        running = self.running.get(cell.cell_id)
        if running is not None:
            running.see(event)
        if self.clock() - self.forecast_at >= FORECAST_SECONDS:
            self._update_forecast()
        return running

    def finish(self, cell: Cell, status: str, cause: str | None, seconds: float, detail: str | None) -> FinishedCell:
        """Move a cell to the finished ones: this run will not change its state any more."""
        running = self.running.pop(cell.cell_id, None)
        last = running.last if running else None
        ended = FinishedCell(cell, cell_label(cell, self.axes), status, cause, seconds, detail, last)
        self.finished.append(ended)
        self.counts[status] += 1
        self.done += cell.cell_id not in self.idle
        self._update_forecast()
        return ended

    def _update_forecast(self) -> None:
        self.forecast_at = self.clock()
        left = self.forecast()
        self.expected_end = None if left is None else self.forecast_at + left

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
