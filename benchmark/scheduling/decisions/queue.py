"""Chooses the next cell: parents before children, the first cell of each unmeasured kind, then by turns (`turns.py`).

A cell whose work another one is doing at the moment is set aside until that is done; cells behind it go on.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from benchmark.matrix.cell import Cell
from benchmark.scheduling.decisions.turns import Turn, longest_first

T = TypeVar("T")

PATIENCE = 8
"""How often smaller cells may overtake one that waits for cores before it is kept waiting no longer."""


@dataclass(slots=True)
class _Lane:
    """Ready cells that need the same things, most urgent first, as (not first, turn, position, cell id)."""

    heap: list[tuple[bool, Turn, int, str]] = field(default_factory=list)
    overtaken: int = 0


class CellQueue:
    """The cells that are to run in this run, and how far each has come.

    Args:
        cells: In the order of the matrix, parents before children. A parent that is not among them is finished.
        seconds: Expected duration of a cell, in any unit, the same for all.
        lane: What a cell needs; cells of one lane fit or do not fit together.
        first: Ids of cells that go before all others.
        awaited: What another cell is doing for this one; None when it waits for nothing.
        turns: The turn of each cell, by how long the chain of work is that begins with it.
        chained: Whether children wait for their parents.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        seconds: Callable[[Cell], float],
        lane: Callable[[Cell], Hashable],
        first: Collection[str] = (),
        awaited: Callable[[Cell], Hashable | None] = lambda _: None,
        turns: Callable[[Sequence[Cell], Mapping[str, float]], Mapping[str, Turn]] = longest_first,
        *,
        chained: bool = True,
    ) -> None:
        self._cells = {cell.cell_id: cell for cell in cells}
        self._position = {cell.cell_id: position for position, cell in enumerate(cells)}
        self._children: dict[str, list[str]] = {}
        self._lanes: dict[Hashable, _Lane] = {}
        self._lane_of = lane
        self._first = frozenset(first)
        self._awaited = awaited
        self._aside: dict[Hashable, list[Cell]] = {}
        for cell in cells:
            if chained and cell.parent_cell_id in self._cells:
                self._children.setdefault(str(cell.parent_cell_id), []).append(cell.cell_id)
        urgency: dict[str, float] = {}  # seconds of the longest chain of work that begins with the cell
        for cell in reversed(cells):
            after = max((urgency[child] for child in self._children.get(cell.cell_id, ())), default=0.0)
            urgency[cell.cell_id] = seconds(cell) + after
        self._turns = turns(cells, urgency)
        self.unfinished = set(self._cells)
        for cell in cells:
            if not chained or cell.parent_cell_id not in self._cells:
                self.enqueue(cell)

    def enqueue(self, cell: Cell) -> None:
        """Makes the cell ready (again)."""
        lane = self._lanes.setdefault(self._lane_of(cell), _Lane())
        name = cell.cell_id
        heapq.heappush(lane.heap, (name not in self._first, self._turns[name], self._position[name], name))

    def heads(self) -> Iterable[tuple[Hashable, Cell]]:
        """The most urgent cell of every lane, the most urgent lane first."""
        # what the cells set aside have waited for is the same for all of them: the first one speaks for them
        for awaited in [awaited for awaited, cells in self._aside.items() if self._awaited(cells[0]) != awaited]:
            for cell in self._aside.pop(awaited):
                self.enqueue(cell)
        for lane in self._lanes.values():
            while lane.heap and not self._is_ready(lane.heap[0][-1]):
                heapq.heappop(lane.heap)
        order = sorted((lane.heap[0], key) for key, lane in self._lanes.items() if lane.heap)
        return [(key, self._cells[entry[-1]]) for entry, key in order]

    def _is_ready(self, cell_id: str) -> bool:
        if cell_id not in self.unfinished:
            return False
        cell = self._cells[cell_id]
        awaited = self._awaited(cell)
        if awaited is not None:
            self._aside.setdefault(awaited, []).append(cell)
        return awaited is None

    def next(self, may_start: Callable[[Cell], bool], take: Callable[[Cell], T | None]) -> tuple[Cell, T] | None:
        """Takes out the most urgent cell that can begin now, with what `take` lent it.

        Args:
            may_start: Whether all that the cell needs is prepared; one that is not is passed by.
            take: Lends the cell what it runs on, or None; a cell passed by for that reason is overtaken, and holds
                everything back once that has happened too often.
        """
        waiting: list[_Lane] = []
        for key, cell in self.heads():
            if not may_start(cell):
                continue
            lent = take(cell)
            if lent is not None:
                for lane in waiting:
                    lane.overtaken += 1
                heapq.heappop(self._lanes[key].heap)
                self._lanes[key].overtaken = 0
                return cell, lent
            waiting.append(self._lanes[key])
            if self._lanes[key].overtaken >= PATIENCE:
                return None
        return None

    def children(self, cell_id: str) -> list[Cell]:
        """The cells of this run that start from this one and have no result yet."""
        return [self._cells[child] for child in self._children.get(cell_id, ()) if child in self.unfinished]

    def finish(self, cell_id: str) -> None:
        """The cell has its result: its children become ready."""
        self.unfinished.discard(cell_id)
        for child in self._children.get(cell_id, ()):
            if child in self.unfinished:
                self.enqueue(self._cells[child])

    def drop(self, cell_id: str) -> list[Cell]:
        """The cell has no result: it leaves the run, and so do its descendants, which are returned, nearest first."""
        self.unfinished.discard(cell_id)
        lost: list[Cell] = []
        for child in self._children.get(cell_id, ()):
            if child in self.unfinished:
                lost += [self._cells[child], *self.drop(child)]
        return lost
