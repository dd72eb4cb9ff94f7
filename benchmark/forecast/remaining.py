"""What a run still takes while it runs: what was expected before it, corrected by what it measures itself."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from statistics import median, median_high
from typing import TYPE_CHECKING

from benchmark.forecast.estimate import MEASURED, Durations, work_of
from benchmark.forecast.shapes import Shape
from benchmark.forecast.simulation import Room, ends
from benchmark.matrix.cell import Cell

if TYPE_CHECKING:
    from benchmark.events import EpochFinished

_OVERDUE = 0.1
"""A cell that has taken longer than expected will take another tenth of that."""


@dataclass(slots=True)
class _RunningCell:
    """A running cell, as its epochs have told.

    Attributes:
        shape: Of the cell.
        expected: Seconds that were expected of it before the run.
        steady: Seconds of the epochs of this stage that contained no tracing.
        at: Seconds since its start when the last epoch was told.
        resumed: Whether it did not begin at the beginning.
    """

    shape: Shape
    expected: float
    stage: int = 1
    stage_epoch: int = 0
    steady: list[float] = field(default_factory=list)
    at: float = 0.0
    resumed: bool = False

    def hear(self, event: EpochFinished, elapsed: float) -> None:
        if event.stage != self.stage:
            self.steady.clear()
        if not event.traced:
            self.steady.append(event.seconds + event.checkpoint_seconds)
        self.stage, self.stage_epoch, self.at = event.stage, event.stage_epoch, elapsed
        self.resumed = self.resumed or event.replayed

    def total(self, expected: float) -> float:
        """Seconds from start to end: those that have gone, and what is left by the pace so far.

        Args:
            expected: Of the whole cell, as far as its epochs do not tell.
        """
        cost = self.shape.cost
        stage = cost.stages[self.stage - 1]
        scale = expected / cost.total()
        if self.steady:
            # disturbed epochs are long ones: the middle of the last few
            scale = median_high(self.steady[-5:]) / stage.epoch
        left = max(stage.epochs - self.stage_epoch, 0.0) * stage.epoch
        return self.at + scale * (left + cost.end + sum(later.total for later in cost.stages[self.stage :]))

    @property
    def epochs(self) -> float | None:
        """Epochs of the whole cell when it has ended, where it has one stage and may have been stopped early."""
        return float(self.stage_epoch) if len(self.shape.cost.stages) == 1 and self.stage_epoch else None


@dataclass(slots=True)
class _Pace:
    """How much slower the machine is in this run than in those before: a busy machine makes everything slower."""

    expected: float = 0.0
    seconds: float = 0.0
    count: int = 0

    def add(self, expected: float, seconds: float) -> None:
        self.expected, self.seconds, self.count = self.expected + expected, self.seconds + seconds, self.count + 1

    @property
    def factor(self) -> float:
        """Cautious at first: as if one cell more had taken what was expected."""
        prior = self.expected / max(self.count, 1)
        return (self.seconds + prior) / (self.expected + prior) if prior > 0 else 1.0


class Running:
    """Expected seconds of the cells of a run that has begun.

    Args:
        known: What is expected of them from earlier runs.
    """

    def __init__(self, known: Durations) -> None:
        self._known = known
        self._now = Durations(shapes=known.shapes)
        self._running: dict[str, _RunningCell] = {}
        # what was expected from measurements of such cells errs otherwise than what was not
        self._paces: defaultdict[bool, _Pace] = defaultdict(_Pace)

    def learn(self, cell: Cell, seconds: float) -> None:
        """Takes in how long a cell of this run took, all its attempts together; it counts more than earlier runs."""
        running = self._running.pop(cell.cell_id, None)
        if running is not None and running.resumed:
            return
        expected, basis = self._known.expected(cell)
        self._paces[basis in MEASURED].add(expected, seconds)
        self._now.learn(cell, seconds, None if running is None else running.epochs)

    def follow(self, cell: Cell, event: EpochFinished, elapsed: float) -> None:
        """Takes in an epoch of a running cell, `elapsed` seconds after the start of its attempt."""
        running = self._running.get(cell.cell_id)
        if running is None or elapsed < running.at:
            running = _RunningCell(self._known.shapes.of(cell), self._known.seconds(cell))
            self._running[cell.cell_id] = running
        running.hear(event, elapsed)

    def forget(self, cell: Cell) -> None:
        """The cell does not run any more."""
        self._running.pop(cell.cell_id, None)

    def seconds(self, cell: Cell) -> float:
        """Expected seconds of the cell from its start to its end."""
        if self._now.is_measured(cell):
            return self._now.seconds(cell)
        expected, basis = self._known.expected(cell)
        if basis not in MEASURED and (scale := self._running_scale(self._known.program_of(cell))):
            return expected * scale
        return expected * self._paces[basis in MEASURED].factor

    def _running_scale(self, program: Hashable) -> float | None:
        """How many times as long as expected the running cells of a program take; None when none tells yet."""
        scales = [
            running.total(running.expected) / running.expected
            for running in self._running.values()
            if running.shape.program == program and running.steady and not running.resumed
        ]
        return median(scales) if scales else None

    def left(self, cell: Cell, spent: float | None) -> float:
        """Seconds that the cell still needs; `spent` are those since its start, None before it."""
        expected = self.seconds(cell)
        if spent is None:
            return expected
        running = self._running.get(cell.cell_id)
        if running is not None and running.at:
            expected = running.total(expected)
        return expected - spent if expected > spent else _OVERDUE * spent

    def start_seconds(self, cells: Iterable[Cell]) -> float:
        """What a run of these cells takes before its first one begins."""
        return self._known.start_seconds(cells)


class Remaining:
    """Seconds that a run still needs: what is left, played through on what there is to share.

    Args:
        running: Expectations for single cells.
        work: Calls back for the unfinished cells, parents first, each with the seconds that it has been running; None
            for one that has not begun.
        room: Calls back for what there is to share: a GPU may be lost meanwhile.
    """

    def __init__(
        self, running: Running, work: Callable[[], Iterable[tuple[Cell, float | None]]], room: Callable[[], Room]
    ) -> None:
        self._running = running
        self._work = work
        self._room = room
        self._answer: float | None = None
        self._next_time = 0.0
        self._cell_ends: dict[str, float] = {}

    def __call__(self) -> float | None:
        # A large matrix is summed up again only so often that it does not cost more than 2 % of a core.
        begun = time.monotonic()
        if begun >= self._next_time:
            cells = list(self._work())
            left = [self._running.left(cell, spent) for cell, spent in cells]
            work = [
                work_of(cell, more, running=spent is not None) for (cell, spent), more in zip(cells, left, strict=True)
            ]
            self._answer = max(ends(work, self._room()).values(), default=0.0)
            if all(spent is None for _, spent in cells):
                self._answer += self._running.start_seconds(cell for cell, _ in cells)
            now = time.monotonic()
            going = ((cell, more) for (cell, spent), more in zip(cells, left, strict=True) if spent is not None)
            self._cell_ends = {cell.cell_id: now + more for cell, more in going}
            self._next_time = now + 50 * (now - begun)
        return self._answer

    def of_cell(self, cell_id: str) -> float | None:
        """Seconds that a cell still needs, as the last answer had it; None for one that did not run then."""
        end = self._cell_ends.get(cell_id)
        return None if end is None else max(end - time.monotonic(), 0.0)
