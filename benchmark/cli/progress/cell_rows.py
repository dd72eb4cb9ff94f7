"""The rows of the running cells: names, stage, epoch, validation score, images per second and time left, as there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from benchmark import units
from benchmark.cli.progress.board import RunningCell
from benchmark.cli.progress.fitting import cut, cut_apart, padded, width_of
from benchmark.events import EpochFinished
from benchmark.matrix.cell import Cell

GAP = "  "
BAR_COLUMNS = 16

NAME_COLUMNS = 24
"""So much of the names stands before what can be done without."""

SHORTEST_NAME_COLUMNS = 6

LOW_LINES = 3

DROPPED = ("bar", "images/s", "stage", "node", "left", "score")
"""What is left out, in this order, until the rows fit."""


@dataclass(frozen=True, slots=True)
class _Column:
    key: str
    title: str
    texts: Sequence[str]

    @property
    def width(self) -> int:
        return max(map(width_of, (self.title, *self.texts)))


def cell_rows(
    running: Sequence[RunningCell], now: float, width: int, room: int, shown_as: Callable[[str], str]
) -> tuple[list[Text], int]:
    """A heading, and as many of the cells as there is room for.

    Args:
        running: The cells, oldest first.
        now: On the board's clock.
        width: Of the terminal.
        room: So many lines at most.
        shown_as: What becomes of a text in the encoding of the terminal.

    Returns:
        The lines, and the number of cells among them.
    """
    # in a very low terminal a cell more says more than a heading
    has_heading = any(each.epoch for each in running) and room > min(len(running), LOW_LINES)
    shown = running[: max(room - has_heading, 0)]
    if not shown:
        return [], 0
    columns = _fitting(_columns(shown, now, has_heading=has_heading), width)
    spans = max(_prefix_width(each, columns) + len(GAP) + len(_spanning(each)) for each in shown)
    room_for_names = min(_rest(columns, width), max(width - spans, NAME_COLUMNS))
    names = min(max(width_of(shown_as(each.names)) for each in shown), room_for_names)
    lines = []
    if has_heading:
        texts = [padded("cell", names)[:names], *(padded(each.title, each.width, right=True) for each in columns)]
        lines.append(Text(GAP.join(texts).rstrip(), style="dim"))
    short = cut_apart([shown_as(each.names) for each in shown], names)
    for number, (cell, name) in enumerate(zip(shown, short, strict=True)):
        lines.append(_row(cell, padded(name, names), columns, number, width, shown_as))
    return lines, len(shown)


def _row(
    cell: RunningCell, name: str, columns: Sequence[_Column], number: int, width: int, shown_as: Callable[[str], str]
) -> Text:
    line = Text(name)
    for column in columns[: _prefix(cell, columns)]:
        line.append(GAP)
        if column.key == "bar":
            line.append_text(bar(cell.share, BAR_COLUMNS, shown_as))
        else:
            line.append(shown_as(padded(column.texts[number], column.width, right=True)))
    if spans := _spanning(cell):
        line.append(GAP).append(cut(spans, max(width - width_of(line.plain), 0)), style="dim")
    line.truncate(width)
    line.rstrip()
    return line


def _prefix(cell: RunningCell, columns: Sequence[_Column]) -> int:
    """How many columns have numbers; what stands in the place of the others spans them."""
    if not _spanning(cell):
        return len(columns)
    known = {"node", "stage", "epoch"} if cell.epoch else {"node"}
    return sum(each.key in known for each in columns)


def _prefix_width(cell: RunningCell, columns: Sequence[_Column]) -> int:
    return sum(len(GAP) + each.width for each in columns[: _prefix(cell, columns)]) if _spanning(cell) else 0


def _spanning(cell: RunningCell) -> str:
    """What stands in the place of numbers that are not there yet."""
    if not cell.epoch:
        return cell.phase or ""
    return f"batch {cell.batch}/{cell.batches}" if cell.last is None and cell.batches else ""


def _columns(shown: Sequence[RunningCell], now: float, *, has_heading: bool) -> list[_Column]:
    scores = [_score(each.cell, each.last) for each in shown]
    kinds = {kind for kind, text in scores if text}
    # with a heading of its own a kind need not stand in every row
    alone = kinds.pop() if len(kinds) == 1 and has_heading else None
    columns = [
        _Column("node", "node", [each.node or "" for each in shown]),
        _Column("stage", "stage", [_stage(each) for each in shown]),
        _Column("epoch", "epoch", [f"{each.epoch}/{each.cell.epochs}" if each.epoch else "" for each in shown]),
        _Column("bar", "", [" " * BAR_COLUMNS if each.last else "" for each in shown]),
        _Column("score", alone or "score", [text if alone else f"{kind} {text}".strip() for kind, text in scores]),
        _Column("images/s", "images/s", [_speed(each.last) for each in shown]),
        _Column("left", "left", [_left(each, now) for each in shown]),
    ]
    return [each for each in columns if any(each.texts)]


def _fitting(columns: list[_Column], width: int) -> list[_Column]:
    """The columns that leave room for the names."""
    for key in DROPPED:
        is_optional = key in {"bar", "images/s", "stage", "node"}
        if _rest(columns, width) >= (NAME_COLUMNS if is_optional else SHORTEST_NAME_COLUMNS):
            break
        columns = [each for each in columns if each.key != key]
    return columns


def _rest(columns: Sequence[_Column], width: int) -> int:
    return max(width - sum(each.width + len(GAP) for each in columns), 1)


def _stage(cell: RunningCell) -> str:
    stages = len(cell.cell.stages)
    return f"{cell.stage}/{stages}" if stages > 1 and cell.stage else ""


def _score(cell: Cell, last: EpochFinished | None) -> tuple[str, str]:
    """The kind of the score of the last epoch, and the score: the monitored one, else an accuracy, else a loss."""
    if last is None:
        return "", ""
    values = {
        "val": last.val_accuracy,
        "train": last.train_accuracy,
        "val loss": last.val_loss,
        "train loss": last.train_loss,
    }
    if cell.monitor not in {"val_accuracy", "val_loss"}:
        values = {cell.monitor: last.monitored, **values}
    for kind, value in values.items():
        if value is not None:
            return kind, units.number(value) if kind.endswith("loss") else f"{value:.3f}"
    return "", ""


def _speed(last: EpochFinished | None) -> str:
    return "" if last is None or not last.images_per_second else f"{last.images_per_second:,.0f}"


def _left(cell: RunningCell, now: float) -> str:
    if cell.phase is not None:
        return cell.phase if cell.epoch else ""
    seconds = cell.left_seconds(now)
    return "" if seconds is None else units.clock(seconds)


def bar(share: float, width: int, shown_as: Callable[[str], str]) -> Text:
    """A bar of this width, of which a share is done; one sees it without colour, too."""
    done = round(min(max(share, 0.0), 1.0) * width)
    return Text.assemble((shown_as("━" * done), "cyan"), (shown_as("─" * (width - done)), "dim"))
