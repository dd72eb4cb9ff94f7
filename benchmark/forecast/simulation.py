"""How long cells take together: the run played through in a moment, longest chain first, as the run itself does it."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


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


Lane = tuple[int, bool]
"""Cores and GPU: cells of one lane fit or do not fit together."""


def ends(work: Sequence[Work], room: Room, *, shortest_first: bool = False) -> dict[str, float]:
    """When each cell will have ended, in seconds from now, in the order in which they end.

    Args:
        work: Parents before children.
        room: What they share.
        shortest_first: Short cells first, instead of long chains.
    """
    chains = {} if shortest_first else _chains(work)
    there = {one.cell_id for one in work}
    children: defaultdict[str, list[int]] = defaultdict(list)
    ready: defaultdict[Lane, list[tuple[float, float, int]]] = defaultdict(list)
    going: list[tuple[float, int]] = []
    cores, jobs, gpus = room.cores, room.jobs, room.gpus
    ended: dict[str, float] = {}
    now = 0.0

    def occupy(one: Work, cells: int) -> None:
        nonlocal cores, jobs, gpus
        jobs -= cells
        cores -= cells * min(one.cores, room.cores)
        gpus -= cells * one.gpu

    def begin(number: int) -> None:
        occupy(work[number], 1)
        heapq.heappush(going, (now + work[number].seconds, number))

    def enqueue(number: int) -> None:
        cell = work[number]
        entry = (-chains.get(cell.cell_id, 0.0), cell.seconds, number)
        heapq.heappush(ready[min(cell.cores, room.cores), cell.gpu], entry)

    def fill() -> None:
        """Starts the most urgent cell that fits, until none does."""
        while jobs > 0:
            fitting = [
                (heap[0], lane)
                for lane, heap in ready.items()
                if heap and lane[0] <= cores and (not lane[1] or gpus > 0)
            ]
            if not fitting:
                return
            (_, _, number), lane = min(fitting)
            heapq.heappop(ready[lane])
            begin(number)

    for number, one in enumerate(work):
        if one.running:
            begin(number)
        elif one.parent in there:
            children[str(one.parent)].append(number)
        else:
            enqueue(number)
    fill()
    while going:
        now, number = heapq.heappop(going)
        occupy(work[number], -1)
        ended[work[number].cell_id] = now
        for child in children[work[number].cell_id]:
            enqueue(child)
        fill()
    return ended


def _chains(work: Sequence[Work]) -> dict[str, float]:
    """Seconds from the begin of each cell to the end of the longest chain of its descendants."""
    chains: dict[str, float] = {}
    after: dict[str, float] = {}
    for one in reversed(work):
        chains[one.cell_id] = chain = one.seconds + after.get(one.cell_id, 0.0)
        if one.parent is not None:
            after[one.parent] = max(after.get(one.parent, 0.0), chain)
    return chains
