"""The live display of a run, on terminals only: finished cells above, what runs below (`frame`)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.text import Text

from benchmark import units
from benchmark.cli.progress.board import Board, FinishedCell, Planned
from benchmark.cli.progress.fitting import width_of
from benchmark.cli.progress.frame import MARKS, Paper, frame
from benchmark.cli.progress.live_region import LiveRegion
from benchmark.cli.terminal.streams import messages_through
from benchmark.events import EpochFinished
from benchmark.matrix.cell import Cell
from benchmark.status import Status, with_cause
from benchmark.text import encodable, headline, one_line
from benchmark.utilization import Utilization, UtilizationMeter

if TYPE_CHECKING:
    from benchmark.scheduling.run_options import Forecast, RunSummary, Step

METER_SECONDS = 2.0
"""How often is looked at how busy the computer is."""


class LiveDisplay:
    """An observer of the scheduler that keeps the `frame` of a board on the terminal; finished cells are printed above it.

    Args:
        console: Of the terminal.
        board: Of the run.
        has_machine: Whether cells run on this computer, so that it is shown how busy it is.

    Side effects: a thread redraws a few times a second between `run_started` and `run_finished`.
    """

    def __init__(self, console: Console, board: Board | None = None, *, has_machine: bool = True) -> None:
        self.board = board or Board()
        self.console = console
        self.region = LiveRegion(console, self._lines)
        self._stack = contextlib.ExitStack()
        self._meter = _SlowMeter() if has_machine else None

    def __enter__(self) -> Self:
        self._stack.enter_context(messages_through(self.region))
        self._stack.callback(self.region.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _lines(self, width: int, height: int) -> Sequence[Text]:
        paper = Paper(width, height, lambda text: encodable(text, self.console.encoding))
        return frame(self.board, paper, None if self._meter is None else self._meter.read())

    def run_started(self, run_id: int, plan: Planned, idle: Collection[str], forecast: Forecast) -> None:
        del run_id
        self.board.begin(plan, idle, forecast)
        self.region.start()

    def cell_started(self, cell: Cell, attempt: int) -> None:
        del attempt
        self.board.start(cell)

    def placed(self, cell: Cell, node: str) -> None:
        self.board.place(cell, node)

    def progress(self, cell: Cell, event: Step) -> None:
        self.board.see(cell, event)

    def epoch(self, cell: Cell, event: EpochFinished) -> None:
        self.board.see(cell, event)

    def cell_finished(self, cell: Cell, status: str, cause: str | None, seconds: float, detail: str | None) -> None:
        ended = self.board.finish(cell, status, cause, seconds, detail)
        self.region.print(_ended(ended, self.console.width), soft_wrap=True)

    def preparing(self, progress: Mapping[str, str]) -> None:
        self.board.preparing = progress
        # before a run begins too: data of finished cells may have to be prepared before they can be compared
        self.region.start()

    def starting(self, backends: Sequence[str]) -> None:
        self.board.starting = backends

    def note(self, text: str) -> None:
        # between words, where a terminal would break them in the middle
        self.region.print(Text(one_line(text), style="dim"))

    def run_finished(self, summary: RunSummary) -> None:
        del summary
        self.region.stop()


class _SlowMeter:
    """How busy the computer is, read at most every `METER_SECONDS`, by whoever draws."""

    def __init__(self) -> None:
        self._meter: UtilizationMeter | None = None
        self._read_at = 0.0
        self._last: Utilization | None = None

    def read(self) -> Utilization | None:
        now = time.monotonic()
        if self._meter is None:
            self._meter, self._read_at = UtilizationMeter(), now
        elif now - self._read_at >= METER_SECONDS or self._last is None:
            self._last, self._read_at = self._meter.read(), now
        return self._last


def _ended(ended: FinishedCell, width: int) -> Text:
    """`✓ digits simple_cnn scratch seed 0  completed  test 0.953  12 s`; in two lines where one is too narrow."""
    mark, style = MARKS.get(ended.status, ("·", "dim"))
    test = [f"test {ended.test_accuracy:.3f}"] if ended.test_accuracy is not None else []
    rest = "  ".join([with_cause(ended.status, ended.cause), *test])
    seconds = units.seconds(ended.seconds)
    text = Text(f"{mark} ", style=style).append(one_line(ended.label), style="default")
    text.append("  " if width_of(f"{text.plain}  {rest}  {seconds}") <= width else "\n    ")
    text.append(rest).append(f"  {seconds}", style="dim")
    if ended.detail and ended.status != Status.COMPLETED:
        text.append(f"\n    {one_line(headline(ended.detail))}", style="dim")
    return text
