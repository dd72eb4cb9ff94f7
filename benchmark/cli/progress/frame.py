"""What the live display shows at one moment: lines that fit the terminal, for what begins, each running cell, and the whole run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text

from benchmark import units
from benchmark.cli.progress.board import Board, starting
from benchmark.cli.progress.cell_rows import bar, cell_rows
from benchmark.cli.progress.fitting import cut, width_of
from benchmark.cli.progress.machine_text import machine_text
from benchmark.status import Status
from benchmark.text import one_line
from benchmark.utilization import Utilization

MARKS: dict[str, tuple[str, str]] = {
    Status.COMPLETED: ("✓", "green"),
    Status.FAILED: ("✗", "red"),
    Status.DIVERGED: ("~", "yellow"),
    Status.BLOCKED: ("-", "yellow"),
}

BAR_COLUMNS = 40
NARROW_COLUMNS = 70

ECHO_COLUMNS = 5
"""Free at the end of the last line, for the `^C` that the terminal itself writes there."""

SHORT_LINES = 6
"""Of a terminal of fewer lines running cells and the line of the run get all."""


@dataclass(frozen=True, slots=True)
class Paper:
    """What there is to draw on.

    Attributes:
        width, height: Of the terminal.
        shown_as: What becomes of a text in the encoding of the terminal.
    """

    width: int
    height: int
    shown_as: Callable[[str], str] = str


def frame(board: Board, paper: Paper, utilization: Utilization | None = None) -> list[Text]:
    """The lines of the moment, each at most as wide as the terminal, and fewer than it has."""
    below = max(paper.width - ECHO_COLUMNS, 1)
    machine = "" if utilization is None or paper.height < SHORT_LINES else machine_text(utilization, below)
    room = max(paper.height - 1, 1) - bool(board.total) - bool(machine)
    above = [*(_preparing(*each) for each in board.preparing.items()), *map(starting, board.starting)][:room]
    lines = [Text(cut(paper.shown_as(one_line(text)), paper.width), style="dim") for text in above]
    running = list(board.running.values())
    rows, shown = cell_rows(running, board.clock(), paper.width, room - len(lines), paper.shown_as)
    lines += rows
    if board.total:
        lines.append(_whole(board, len(running) - shown, below, paper.shown_as))
    if machine:
        lines.append(Text(paper.shown_as(machine), style="dim"))
    return lines


def _preparing(name: str, words: str) -> str:
    return f"preparing {name}: {words}" if words else f"preparing {name}"


def _whole(board: Board, hidden: int, width: int, shown_as: Callable[[str], str]) -> Text:
    parts = [(f"{board.done}/{board.total} cells", "bold")]
    for status, (mark, style) in MARKS.items():
        if board.counts[status]:
            parts.append((f" {shown_as(mark)}{board.counts[status]}", style))
    if hidden > 0:
        parts.append((f" (+{hidden} running)", "dim"))
    about = " · about " if width >= NARROW_COLUMNS - ECHO_COLUMNS else " ~"
    left = "" if (seconds := board.left_seconds) is None else f"{about}{units.clock(seconds)} left"
    times = shown_as(f"{units.clock(board.elapsed)}{left}")
    room = width - sum(width_of(text) for text, _ in parts) - width_of(times) - 2
    text = Text.assemble(*parts, " ")
    if room > 2:
        text.append_text(bar(board.share, min(room, BAR_COLUMNS), shown_as)).append(" ")
    text.append(times)
    text.truncate(width)
    return text
