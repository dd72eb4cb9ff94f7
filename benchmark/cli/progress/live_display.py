"""The live display of a run: one line for each running cell, one for the whole. Draws on stderr, on terminals only."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmark import units
from benchmark.cli.progress.board import Board, FinishedCell, RunningCell
from benchmark.cli.terminal.streams import messages_through
from benchmark.events import EpochFinished, Event
from benchmark.matrix.cell import Cell
from benchmark.status import Status, with_cause
from benchmark.text import headline, one_line

if TYPE_CHECKING:
    from benchmark.matrix.plan import Plan
    from benchmark.scheduling.run_options import Forecast, RunSummary

MARKS: dict[str, tuple[str, str]] = {
    Status.COMPLETED: ("✓", "green"),
    Status.FAILED: ("✗", "red"),
    Status.DIVERGED: ("~", "yellow"),
    Status.BLOCKED: ("-", "yellow"),
}
REFRESH_PER_SECOND = 4
WIDE_COLUMNS = 96
NARROW_COLUMNS = 70


class Picture:
    """The board as rich draws it; laid out anew at each refresh, so that it follows the size of the terminal."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(console.height - 4, 1)
        running = list(self.board.running.values())
        yield Group(
            *(_preparing(name, words) for name, words in self.board.preparing.items()),
            *self._cells(running[:room], options.max_width),
            *([self._whole(len(running) - room, options.max_width)] if self.board.total else []),
        )

    def _cells(self, running: Sequence[RunningCell], width: int) -> list[Table]:
        if not running:
            return []
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(no_wrap=True, justify="right")
        grid.add_column(width=20 if width >= WIDE_COLUMNS else 8)
        grid.add_column(no_wrap=True)
        if width >= NARROW_COLUMNS:
            grid.add_column(no_wrap=True, justify="right", style="dim")
        for cell in running:
            elapsed = [units.clock(self.board.clock() - cell.started)] if width >= NARROW_COLUMNS else []
            grid.add_row(
                Text(one_line(cell.brief)), _epoch(cell, width), _bar(cell.share), _numbers(cell.last, width), *elapsed
            )
        return [grid]

    def _whole(self, hidden: int, width: int) -> Table:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1, max_width=40)
        grid.add_column(no_wrap=True)
        board = self.board
        counts = Text(f"{board.done}/{board.total} cells", style="bold")
        for status, (mark, style) in MARKS.items():
            if board.counts[status]:
                counts.append(f" {mark}{board.counts[status]}", style=style)
        if hidden > 0:
            counts.append(f" (+{hidden} running)", style="dim")
        about = " · about " if width >= NARROW_COLUMNS else " ~"
        left = "" if (seconds := board.left_seconds) is None else f"{about}{units.clock(seconds)} left"
        grid.add_row(counts, _bar(board.share), Text(units.clock(board.elapsed) + left))
        return grid


class LiveDisplay:
    """An observer of the scheduler that keeps a `Picture` on the terminal; finished cells are printed above it.

    Side effects: a thread of rich redraws the picture a few times a second between `run_started` and `run_finished`.
    """

    def __init__(self, console: Console, board: Board | None = None) -> None:
        self.board = board or Board()
        self._stack = contextlib.ExitStack()
        self.live = Live(
            Picture(self.board),
            console=console,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._stack.enter_context(messages_through(self.live.console))
        self._stack.callback(self.live.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run_started(self, run_id: int, plan: Plan, idle: Collection[str], forecast: Forecast) -> None:
        del run_id
        self.board.begin(plan, idle, forecast)
        self.live.start()

    def cell_started(self, cell: Cell, attempt: int) -> None:
        del attempt
        self.board.start(cell)

    def progress(self, cell: Cell, event: Event) -> None:
        self.board.see(cell, event)

    epoch = progress

    def cell_finished(self, cell: Cell, status: str, cause: str | None, seconds: float, detail: str | None) -> None:
        self.live.console.print(_ended(self.board.finish(cell, status, cause, seconds, detail)), soft_wrap=True)

    def preparing(self, progress: Mapping[str, str]) -> None:
        self.board.preparing = progress
        # before a run begins too: data of finished cells may have to be prepared before they can be compared
        self.live.start()

    def note(self, text: str) -> None:
        self.live.console.print(Text(one_line(text), style="dim"), soft_wrap=True)

    def run_finished(self, summary: RunSummary) -> None:
        del summary
        self.live.stop()


def _preparing(name: str, words: str) -> Text:
    text = f"preparing {name}: {words}" if words else f"preparing {name}"
    return Text(one_line(text), style="dim", no_wrap=True, overflow="ellipsis")


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=share, complete_style="cyan", finished_style="green")


def _epoch(running: RunningCell, width: int) -> Text:
    if not running.epoch:
        return Text("starting", style="dim")
    text = f"{running.epoch}/{running.cell.epochs}"
    if width >= WIDE_COLUMNS:
        stages = len(running.cell.stages)
        text = (f"stage {running.stage}/{stages} " if stages > 1 else "") + f"epoch {text}"
    return Text(text)


def _numbers(last: EpochFinished | None, width: int) -> Text:
    if last is None:
        return Text("")
    where, accuracy, loss = "val", last.val_accuracy, last.val_loss
    if accuracy is None:
        where, accuracy, loss = "train", last.train_accuracy, last.train_loss
    texts = [f"{where} {accuracy:.3f}"] if accuracy is not None else []
    if loss is not None and (width >= WIDE_COLUMNS or not texts):
        texts.append(f"loss {units.number(loss)}")
    return Text(" ".join(texts))


def _ended(ended: FinishedCell) -> Text:
    mark, style = MARKS.get(ended.status, ("·", "dim"))
    text = Text(f"{mark} ", style=style).append(one_line(ended.label), style="default")
    text.append(f"  {with_cause(ended.status, ended.cause)}")
    if ended.last is not None:
        text.append(f"  {_numbers(ended.last, 0)}", style="default")
    text.append(f"  {units.seconds(ended.seconds)}", style="dim")
    if ended.detail and ended.status != Status.COMPLETED:
        text.append(f"\n    {one_line(headline(ended.detail))}", style="dim")
    return text
