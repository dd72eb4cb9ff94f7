"""What a run on many nodes shares and changes: its nodes, their agents, and which cells they have."""

from __future__ import annotations

import selectors
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from benchmark.forecast.simulation import Room
from benchmark.matrix.cell import Cell
from benchmark.results.cluster.listener import Listener
from benchmark.results.cluster.mailbox import Mailbox
from benchmark.results.store.database import Database
from benchmark.scheduling.cluster.messages import Message, body_of
from benchmark.scheduling.cluster.placement import WorkingNode, room_of_nodes
from benchmark.scheduling.decisions.cell_decisions import CellDecisions
from benchmark.scheduling.executors.protocol import Node
from benchmark.scheduling.executors.separate_executor import SeparateExecutor
from benchmark.scheduling.loop.retrying_recorder import RetryingRecorder
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.run_options import GuardedObserver, RunOptions

PLACEMENTS = 3
"""How often an agent is placed on a node that it does not come from, or that it leaves at once."""


@dataclass(slots=True)
class PlacedAgent:
    """An agent that the engine has placed, whether it has joined yet or not."""

    node: Node
    member: WorkingNode | None = None


class ClusterRun:
    """A run on many nodes: functions of `driver`, `node_reports` and `node_losses` work on it, and nobody else changes it.

    Args:
        decider: Which cell is next, and what follows from how one ends.
        executor: The engine.
        database: On a server.
        options: How to run.
        observer: Told what happens.
        signals: Of the user.
        recorder: Writes for the run.
        fingerprints: Of data that are known from finished cells, by `data_key`.

    Attributes:
        placed: Agents by the engine's handle.
        members: Nodes with an agent that has joined, by number.
        placements: How often an agent was placed on a node in vain, by its name.
        placed_at: Monotonic seconds when one was placed there last.
        losses: How many nodes were lost, or had no room on their disks, while they ran a cell, by cell id.
        without_room: Ids of the cells for which nodes had none.
        started: Monotonic seconds since when a cell has been running.
        let_go: Names of the nodes that have left because there was nothing left for them to do.
        preparing: What nodes prepare, by their numbers.
        stopped: Why nothing more is given out; None while it is.
        killed: Whether the nodes were told to kill what runs.
        kill_at: When the run ends whatever still runs; None while it was not asked to stop.
    """

    def __init__(
        self,
        decider: CellDecisions,
        executor: SeparateExecutor,
        database: Database,
        options: RunOptions,
        observer: GuardedObserver,
        signals: StopSignals,
        recorder: RetryingRecorder,
        fingerprints: dict[Hashable, str],
    ) -> None:
        self.decider = decider
        self.executor = executor
        self.database = database
        url = database.location.url
        assert url is not None
        self.address = url.render_as_string(hide_password=False)
        self.options = options
        self.root = options.artifacts_root.absolute()
        self.observer = observer
        self.signals = signals
        self.recorder = recorder
        self.fingerprints = fingerprints
        self.run_id = recorder.run_id
        self.placed: dict[str, PlacedAgent] = {}
        self.members: dict[int, WorkingNode] = {}
        self.placements: Counter[str] = Counter()
        self.placed_at: dict[str, float] = {}
        self.losses: Counter[str] = Counter()
        self.without_room: set[str] = set()
        self.started: dict[str, float] = {}
        self.let_go: set[str] = set()
        self.preparing: dict[int, dict[str, str]] = {}
        self.stopped: str | None = None
        self.killed = False
        self.kill_at: float | None = None
        self.had_nodes_at = time.monotonic()
        self.asked_at = 0.0
        self.looked_at_engine = 0.0
        self.looked_at_leases = 0.0
        self.looked_at_reports = 0.0
        self.selector = selectors.DefaultSelector()
        self.selector.register(signals.fd, selectors.EVENT_READ, signals.drain)
        self.mailbox = Mailbox(database, self.run_id)
        self.listener = Listener(database.location, self.run_id)
        self.selector.register(self.listener.fileno(), selectors.EVENT_READ, self.listener.drain)
        self.selector.register(executor.fd, selectors.EVENT_READ, self._hear_engine)

    @property
    def given(self) -> list[Cell]:
        """Cells that nodes have now."""
        return [cell for member in self.members.values() for cell, _ in member.cells.values()]

    def waiting_cells(self) -> Iterator[Cell]:
        """Cells that no node has that stays, parents first: they are ready, or will be once others have ended."""
        held = {cell_id for member in self.members.values() if not member.is_leaving for cell_id in member.cells}
        return (cell for cell in self.decider.unfinished_cells() if cell.cell_id not in held)

    @property
    def waiting(self) -> int:
        """How many cells wait."""
        held = sum(len(member.cells) for member in self.members.values() if not member.is_leaving)
        return len(self.decider.unfinished) - held

    def retry(self, cell: Cell) -> None:
        """The cell is ready again, and nodes that were let go may be needed for it."""
        self.let_go.clear()
        self.decider.retry(cell)

    @property
    def room(self) -> Room:
        """All that the nodes have to share, lent out or not."""
        return room_of_nodes([placed.node for placed in self.placed.values()], self.options)

    def note(self, text: str) -> None:
        """Tells the user something in a line."""
        self.observer.note(text)

    def unfinished_cells(self) -> Iterator[tuple[Cell, float | None]]:
        """Cells that have no result yet, parents first, with the seconds that they have been running; None for not yet."""
        now = time.monotonic()
        for cell in self.decider.unfinished_cells():
            since = self.started.get(cell.cell_id)
            yield cell, None if since is None else now - since

    def send(self, orders: Sequence[tuple[int, Message]]) -> None:
        """Sends orders to nodes, by their numbers."""
        for node_id, message in orders:
            self.mailbox.add(node_id, [body_of(message)])
        if orders:
            self.recorder.do(self.mailbox.post)

    def _hear_engine(self) -> None:
        self.looked_at_engine = 0.0

    def close(self) -> None:
        """Lets go of the mailbox; the engine belongs to the caller."""
        self.listener.close()
        self.selector.close()
