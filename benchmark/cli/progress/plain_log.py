"""The log of a run where there is no terminal: a line for each event, with the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark import units
from benchmark.cli.cell_names import cell_label
from benchmark.cli.progress.board import Board, Planned, starting
from benchmark.cli.terminal import verbosity
from benchmark.events import EpochFinished
from benchmark.matrix.cell import Cell
from benchmark.status import Status, with_cause
from benchmark.text import headline, one_line

if TYPE_CHECKING:
    from benchmark.scheduling.run_options import Forecast, RunSummary, Step

LINE_SECONDS = 2.0
"""The least time between two lines about a cell's epochs, or a preparation: thousands of short epochs must not fill a log."""


class PlainLog:
    """An observer of the scheduler that writes lines."""

    def __init__(self, board: Board | None = None, write: Callable[[str], None] = verbosity.inform) -> None:
        self.board = board or Board()
        self.write = write
        self._line_written_at: dict[str, float] = {}

    def run_started(self, run_id: int, plan: Planned, idle: Collection[str], forecast: Forecast) -> None:
        self.board.begin(plan, idle, forecast)
        left = self.board.left_seconds
        expected = "" if left is None else f", about {units.seconds(left)}"
        self._line(f"run {run_id}: {units.plural(self.board.total, 'cell')} to do{expected}")

    def cell_started(self, cell: Cell, attempt: int) -> None:
        running = self.board.start(cell)
        again = f" (attempt {attempt})" if attempt > 1 else ""
        self._line(f"{running.label}: started{again}")
        self._line_written_at[cell.cell_id] = self.board.clock()

    def placed(self, cell: Cell, node: str) -> None:
        self.board.place(cell, node)
        self._line(f"{cell_label(cell, self.board.axes)}: on node {node}")

    def progress(self, cell: Cell, event: Step) -> None:
        self.board.see(cell, event)

    def epoch(self, cell: Cell, event: EpochFinished) -> None:
        running = self.board.see(cell, event)
        now = self.board.clock()
        # an epoch of an earlier attempt is no progress of this one
        if (
            running is not None
            and not event.replayed
            and now - self._line_written_at.get(cell.cell_id, 0.0) >= LINE_SECONDS
        ):
            self._line_written_at[cell.cell_id] = now
            self._line(f"{running.label}: {_epoch_line(cell, event)}")

    def cell_finished(self, cell: Cell, status: str, cause: str | None, seconds: float, detail: str | None) -> None:
        ended = self.board.finish(cell, status, cause, seconds, detail)
        place = f"[{self.board.done}/{self.board.total}]"
        last = f", {_epoch_line(cell, ended.last)}" if ended.last else ""
        test = "" if ended.test_accuracy is None else f", test_accuracy {ended.test_accuracy:.3f}"
        text = f": {headline(detail)}" if detail and status != Status.COMPLETED else ""
        left = self.board.left_seconds if self.board.expected_end is not None else None
        time_left = f"; about {units.seconds(left)} left" if left and self.board.done < self.board.total else ""
        self._line(
            f"{place} {ended.label}: {with_cause(status, cause)} in {units.seconds(seconds)}{test}{last}{text}{time_left}"
        )

    def preparing(self, progress: Mapping[str, str]) -> None:
        now = self.board.clock()
        for name, text in progress.items():
            if text and now - self._line_written_at.setdefault(name, now) >= LINE_SECONDS:
                self._line_written_at[name] = now
                self._line(f"{name}: {one_line(text)}")

    def starting(self, backends: Sequence[str]) -> None:
        self.board.starting = backends
        for backend in backends:
            self._line(starting(backend))

    def note(self, text: str) -> None:
        self._line(text)

    def run_finished(self, summary: RunSummary) -> None:
        del summary

    def _line(self, text: str) -> None:
        self.write(f"{time.strftime('%H:%M:%S')} {one_line(text)}")


def _epoch_line(cell: Cell, event: EpochFinished) -> str:
    values = {
        "loss": (event.train_loss, ".4g"),
        "accuracy": (event.train_accuracy, ".3f"),
        "val_loss": (event.val_loss, ".4g"),
        "val_accuracy": (event.val_accuracy, ".3f"),
    }
    told = [f"{name} {value:{digits}}" for name, (value, digits) in values.items() if value is not None]
    return " ".join([f"epoch {event.epoch}/{cell.epochs}", *told])
