"""How long cells take together: the run played through in a moment, longest chain first, as the run itself does it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Work:
    """One unfinished cell.

    Attributes:
        seconds: It still needs.
        cores: It holds meanwhile.
        gpu: Whether it holds a GPU too.
        parent: The cell that must have ended first, if that is unfinished too.
        running: Whether it runs already, and so is not chosen but there.
    """

    cell_id: str
    seconds: float
    cores: int
    gpu: bool = False
    parent: str | None = None
    running: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """What a machine has for cells side by side; `gpus` counts the places on them."""

    cores: int
    jobs: int
    gpus: int = 0


def ends(work: Sequence[Work], room: Room, *, shortest_first: bool = False) -> dict[str, float]:
    """When each cell will have ended, in seconds from now, in the order in which they end.

    Args:
        work: Parents before children.
        room: What they share.
        shortest_first: Short cells first, instead of long chains.
    """
    return _Play(work, room, (lambda _: 0.0) if shortest_first else _chains(work).__getitem__).through()


def _chains(work: Sequence[Work]) -> dict[str, float]:
    """Seconds from the begin of each cell to the end of the longest chain of its descendants."""
    chains: dict[str, float] = {}
    after: dict[str, float] = {}
    for one in reversed(work):
        chains[one.cell_id] = chain = one.seconds + after.get(one.cell_id, 0.0)
        if one.parent is not None:
            after[one.parent] = max(after.get(one.parent, 0.0), chain)
    return chains


Lane = tuple[int, bool]
"""Cores and GPU: cells of one lane fit or do not fit together."""


@dataclass(slots=True)
class _Play:
    work: Sequence[Work]
    room: Room
    urgency: Callable[[str], float]
    now: float = 0.0
    cores: int = 0
    jobs: int = 0
    gpus: int = 0
    ready: dict[Lane, list[tuple[float, float, int]]] = field(default_factory=dict)
    going: list[tuple[float, int]] = field(default_factory=list)
    children: dict[str, list[int]] = field(default_factory=dict)

    def through(self) -> dict[str, float]:
        self.cores, self.jobs, self.gpus = self.room.cores, self.room.jobs, self.room.gpus
        there = {one.cell_id for one in self.work}
        for number, one in enumerate(self.work):
            if one.running:
                self._begin(number)
            elif one.parent in there:
                self.children.setdefault(str(one.parent), []).append(number)
            else:
                self._enqueue(number)
        ended: dict[str, float] = {}
        self._fill()
        while self.going:
            self.now, number = heapq.heappop(self.going)
            one = self.work[number]
            self._count(one, -1)
            ended[one.cell_id] = self.now
            for child in self.children.get(one.cell_id, ()):
                self._enqueue(child)
            self._fill()
        return ended

    def _enqueue(self, number: int) -> None:
        one = self.work[number]
        lane = (min(one.cores, self.room.cores), one.gpu)
        entry = (-self.urgency(one.cell_id), one.seconds, number)
        heapq.heappush(self.ready.setdefault(lane, []), entry)

    def _fill(self) -> None:
        """Starts the most urgent cell that fits, until none does."""
        while self.jobs > 0:
            fitting = [
                (heap[0], lane)
                for lane, heap in self.ready.items()
                if heap and lane[0] <= self.cores and (not lane[1] or self.gpus > 0)
            ]
            if not fitting:
                return
            (_, _, number), lane = min(fitting)
            heapq.heappop(self.ready[lane])
            self._begin(number)

    def _begin(self, number: int) -> None:
        one = self.work[number]
        self._count(one, 1)
        heapq.heappush(self.going, (self.now + one.seconds, number))

    def _count(self, one: Work, cells: int) -> None:
        self.jobs -= cells
        self.cores -= cells * min(one.cores, self.room.cores)
        self.gpus -= cells * one.gpu
