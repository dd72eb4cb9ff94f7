"""The cells that a run has given to one node: taken in the order of their coming, their ends reported, nothing decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from benchmark.events import (
    EpochFinished,
    Evaluated,
    Event,
    ModelBuilt,
    StagesTaken,
    StageStarted,
    StageStored,
    to_line,
)
from benchmark.matrix.cell import Cell
from benchmark.scheduling.cluster.messages import (
    AttemptEnded,
    Begun,
    LeftPending,
    Message,
    RunCell,
    Told,
    settled,
)
from benchmark.scheduling.decisions.cell_decisions import Beginning, Ending
from benchmark.status import Cause

T = TypeVar("T")

_OF_STAGES = (StagesTaken, StageStored, StageStarted)
"""What matters to cells that have stages in common."""


class OrderedCells:
    """The `Decider` of a node agent.

    Args:
        post: Sends a report to the run.
        root: The folder of artifacts on this node.
        fingerprint_of: That of the prepared data of a cell on this node; None while it is unknown.

    Attributes:
        unfinished: Ids of the cells that were ordered and have not ended.
        stop_reason: Always None: the run decides.
        without_room: A cell for which a disk of this node had no room, and in which words; None while there is none.
    """

    def __init__(
        self, post: Callable[[Message], None], root: Path, fingerprint_of: Callable[[Cell], str | None]
    ) -> None:
        self._root = root
        self._post = post
        self._fingerprint_of = fingerprint_of
        self._expected_fingerprints: dict[str, str] = {}
        self._cells: dict[str, Cell] = {}
        self._beginnings: dict[str, Beginning] = {}
        self._ready: list[Cell] = []
        self._unclean: set[str] = set()
        self.unfinished: set[str] = set()
        self.stop_reason: str | None = None
        self.without_room: tuple[str, str] | None = None

    def add(self, order: RunCell) -> Cell:
        """Takes in the order for a cell, which is ready from now on."""
        cell = Cell.from_dict(order.cell)
        self._cells[cell.cell_id] = cell
        self._beginnings[cell.cell_id] = order.beginning(self._root)
        if order.expected_fingerprint is not None:
            self._expected_fingerprints[cell.cell_id] = order.expected_fingerprint
        self.unfinished.add(cell.cell_id)
        self._ready.append(cell)
        return cell

    def next(self, may_start: Callable[[Cell], bool], take: Callable[[Cell], T | None]) -> tuple[Cell, T] | None:
        for cell in list(self._ready):
            if not may_start(cell):
                continue
            if (difference := self._other_data(cell)) is not None:
                self.settle(cell, Ending(Cause.DATA_ERROR, difference))
            elif (lent := take(cell)) is not None:
                self._ready.remove(cell)
                return cell, lent
        return None

    def _other_data(self, cell: Cell) -> str | None:
        """How the data of the cell on this node differ from those of other nodes, in words; None when they do not."""
        expected, actual = self._expected_fingerprints.get(cell.cell_id), self._fingerprint_of(cell)
        return None if expected is None or actual is None or expected == actual else other_data(expected, actual)

    def beginning(self, cell: Cell) -> Beginning:
        return self._beginnings[cell.cell_id]

    def begin(self, cell: Cell) -> None:
        # what is tried again goes on with the execution that was begun
        self._beginnings[cell.cell_id] = replace(self._beginnings[cell.cell_id], fresh=False)

    def launched(self, cell: Cell, number: int) -> None:
        self._post(Begun(cell.cell_id, number))

    def hear(self, cell: Cell, event: Event, elapsed: float, undisturbed: Callable[[], bool]) -> None:
        shares = bool(self._beginnings[cell.cell_id].shared_stages)
        if isinstance(event, StagesTaken) and event.stages not in self._beginnings[cell.cell_id].clean_stages:
            self._unclean.add(cell.cell_id)
        if isinstance(event, EpochFinished | ModelBuilt | Evaluated) or (shares and isinstance(event, _OF_STAGES)):
            clean = isinstance(event, StageStored) and undisturbed()
            self._post(Told(cell.cell_id, to_line(event).decode(), elapsed, clean))

    def has_disturbed_stages(self, cell: Cell) -> bool:
        return cell.cell_id in self._unclean

    def end_attempt(self, cell: Cell) -> None:
        self._post(AttemptEnded(cell.cell_id))

    def retry(self, cell: Cell) -> None:
        self._ready.append(cell)

    def settle(self, cell: Cell, ending: Ending) -> None:
        self._forget(cell)
        self._post(settled(cell.cell_id, ending, self._root))

    def leave_pending(self, cell: Cell) -> None:
        self._forget(cell)
        self._post(LeftPending(cell.cell_id))

    def give_back(self, cell: Cell, reason: str) -> bool:
        self.without_room = self.without_room or (cell.cell_id, reason)
        return True

    def unfinished_cells(self) -> Iterator[Cell]:
        return iter([cell for cell_id, cell in self._cells.items() if cell_id in self.unfinished])

    def stop(self) -> None:
        """Cells that have no attempt yet go back to the run, which notices that the node has left."""
        for cell in self._ready:
            self.unfinished.discard(cell.cell_id)
        self._ready.clear()

    def _forget(self, cell: Cell) -> None:
        self.unfinished.discard(cell.cell_id)
        self._ready = [each for each in self._ready if each.cell_id != cell.cell_id]
        del self._cells[cell.cell_id], self._beginnings[cell.cell_id]


def other_data(expected: str, actual: str) -> str:
    """Why a cell is refused on a node whose data differ from those of the others."""
    return (
        f"the data are not the same on all nodes: expected the fingerprint {expected}, found {actual}. "
        "Give all nodes the same files, and run again with --retry-failed"
    )
