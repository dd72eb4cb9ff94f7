"""Which node a cell is given to: where its parent or its data are, if that costs nothing, and else where most is free."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from benchmark.catalog.cache import options_of
from benchmark.forecast.simulation import Room
from benchmark.matrix.cell import Cell
from benchmark.scheduling.executors.protocol import Demand, Node
from benchmark.scheduling.processes.slots import Grant, Slots
from benchmark.scheduling.run_options import RunOptions

MOST_WANTED = 1000
"""For so many cells at once an engine is asked for nodes, at most."""


@dataclass(slots=True)
class WorkingNode:
    """A node with an agent of the run.

    Attributes:
        node_id: Its number in the database.
        name: The engine's name of it.
        computer: The same for nodes that are parts of one computer.
        slots: What is free there, as far as the run has given it cells.
        cells: The cells that it was given and that have not ended, by cell id, with what they hold.
        finished: Ids of cells that have ended there: their weights and stages may still be in its memory.
        known: Keys of the data and networks that it has had.
        is_leaving: Whether its agent ends its cells by itself, and takes no more.
        idle_since: Monotonic seconds when its last cell ended, or when it came.
    """

    node_id: int
    name: str
    computer: str
    slots: Slots
    cells: dict[str, tuple[Cell, Grant]] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    known: set[Hashable] = field(default_factory=set)
    is_leaving: bool = False
    idle_since: float = field(default_factory=time.monotonic)

    def give_back(self, cell_id: str) -> None:
        """The cell does not run there any more."""
        held = self.cells.pop(cell_id, None)
        if held is not None:
            self.slots.give(held[1])
            self.finished.add(cell_id)
            self.idle_since = time.monotonic()


def data_key(cell: Cell) -> Hashable:
    """What tells the prepared data of a cell from others."""
    data = cell.data
    return (data.source, data.image_size, data.color, *options_of(data).items())


def network_key(cell: Cell) -> Hashable:
    """What tells a network on its data, at the beginning of training, from others."""
    return (data_key(cell), cell.architecture, cell.weights.origin)


def place(cell: Cell, members: Iterable[WorkingNode]) -> tuple[WorkingNode, Grant] | None:
    """Lends the cell cores, and a GPU where it needs one, on the node that suits it best; None when none is free.

    Before all others come nodes that have its parent's weights, then those that had the same network on the same data (its
    first stages, or the features of its frozen layers), then those that have its data, then the least busy one.
    """
    data, network = data_key(cell), network_key(cell)

    def suits(member: WorkingNode) -> tuple[bool, bool, bool, int]:
        has_parent = cell.parent_cell_id in member.finished
        return has_parent, network in member.known, data in member.known, -member.slots.running

    for member in sorted(members, key=suits, reverse=True):
        if (grant := member.slots.take(cell)) is not None:
            member.cells[cell.cell_id] = (cell, grant)
            member.known |= {data, network}
            return member, grant
    return None


def demands_of(cells: Iterable[Cell], options: RunOptions) -> tuple[Demand, ...]:
    """What these cells need at the same time; of very many the first ones tell enough."""
    most = MOST_WANTED if options.jobs is None else min(MOST_WANTED, options.jobs)
    shapes = Counter((cell.threads, int(cell.device_kind == "gpu")) for cell in islice(cells, most))
    return tuple(Demand(count, *shape) for shape, count in sorted(shapes.items()))


def room_of_nodes(nodes: Collection[Node], options: RunOptions) -> Room:
    """All that nodes have to share between cells; those that are taken away have nothing."""
    nodes = [node for node in nodes if not node.is_leaving]
    cores = sum(node.cores for node in nodes)
    most = len({node.host or node.name for node in nodes}) if options.is_alone else cores
    jobs = most if options.jobs is None else min(options.jobs, most)
    return Room(cores, jobs, sum(node.gpus for node in nodes) * options.gpu_share)
