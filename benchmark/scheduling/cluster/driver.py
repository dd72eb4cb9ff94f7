"""The loop of a run on many nodes: places agents, gives them cells, hears how these end, and takes back those of lost nodes."""

from __future__ import annotations

import selectors
import signal
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmark.events import EpochFinished, ModelBuilt, Progress, from_line
from benchmark.forecast.simulation import Room
from benchmark.matrix.cell import Cell
from benchmark.results.cluster import nodes
from benchmark.results.cluster.listener import Listener
from benchmark.results.cluster.mailbox import Mailbox
from benchmark.results.read.cell_states import cell_states
from benchmark.results.records import CellState
from benchmark.results.store.database import Database
from benchmark.scheduling.cluster.agent import order_for
from benchmark.scheduling.cluster.messages import (
    AttemptEnded,
    Begun,
    Kill,
    LeftPending,
    Message,
    Preparing,
    Ready,
    Refuse,
    Said,
    Settled,
    Stop,
    Told,
    Unfit,
    body_of,
    message_of,
    run_cell,
)
from benchmark.scheduling.cluster.ordered_cells import other_data
from benchmark.scheduling.cluster.placement import WorkingNode, data_key, place, room_of_nodes
from benchmark.scheduling.decisions.cell_decisions import CellDecisions, Ending, name_of
from benchmark.scheduling.decisions.reuse import kept_weights
from benchmark.scheduling.executors.protocol import AgentCommand, Node
from benchmark.scheduling.executors.separate_executor import SeparateExecutor
from benchmark.scheduling.loop.retrying_recorder import RetryingRecorder
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.processes.slots import Grant, Slots
from benchmark.scheduling.run_options import GuardedObserver, RunOptions
from benchmark.status import Cause, Status
from benchmark.units import plural

AGENT = "benchmark.scheduling.cluster.agent"

TURN_SECONDS = 0.5
"""How often the run looks after its nodes when nothing is reported."""

GATHER_SECONDS = 0.05
"""How long reports are gathered before they are looked at: each look is a transaction."""

PLACEMENTS = 3
"""How often an agent is placed on a node that it does not come from, or that it leaves at once."""

LOSSES = 3
"""After so many nodes were lost under it a cell counts as what has brought them down."""

LEAVING_SECONDS = 5.0
"""How long agents may take to leave when the run is over, beside the grace of their cells."""


@dataclass(slots=True)
class _PlacedAgent:
    """An agent that the engine has placed, whether it has joined yet or not."""

    node: Node
    since: float = field(default_factory=time.monotonic)
    member: WorkingNode | None = None


class ClusterRun:
    """A run on many nodes; `run_on_nodes` works on it, and nobody else changes it.

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
        stopped: Why nothing more is given out; None while it is.
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
        self.observer = observer
        self.signals = signals
        self.recorder = recorder
        self.fingerprints = fingerprints
        self.run_id = recorder.run_id
        self.placed: dict[str, _PlacedAgent] = {}
        self.members: dict[int, WorkingNode] = {}
        self.placements: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.started: dict[str, float] = {}
        self.preparing: dict[int, dict[str, str]] = {}
        self.stopped: str | None = None
        self.kill_at: float | None = None
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

    def _hear_engine(self) -> None:
        self.looked_at_engine = 0.0

    def close(self) -> None:
        """Lets go of the mailbox; the engine belongs to the caller."""
        self.listener.close()
        self.selector.close()


def run_on_nodes(run: ClusterRun) -> None:
    """Goes round until every cell is settled, or until the run was stopped and all nodes have ended their cells.

    Side effects: places and ends agents, writes the database, calls the observer.
    """
    while (run.decider.unfinished and run.stopped is None) or (run.members and run.given):
        _look_after_engine(run)
        if run.stopped is None:
            _give_cells(run)
        for key, _ in run.selector.select(TURN_SECONDS):
            key.data()
        # reports that come one after another are taken together
        run.signals.wait(max(0.0, run.looked_at_reports + GATHER_SECONDS - time.monotonic()))
        _take_reports(run)
        _look_after_leases(run)
        _obey_signals(run)
        run.observer.tell("preparing", {name: text for each in run.preparing.values() for name, text in each.items()})
        reason = run.decider.stop_reason if run.recorder.error is None else str(run.recorder.error)
        if reason is not None:
            _stop(run, reason)
        if run.kill_at is not None and time.monotonic() > run.kill_at:
            break
    _dismiss(run)


# ---- agents


def _look_after_engine(run: ClusterRun) -> None:
    now = time.monotonic()
    if now - run.looked_at_engine < TURN_SECONDS:
        return
    run.looked_at_engine = now
    for handle, reason in run.executor.poll().items():
        placed = run.placed.pop(handle, None)
        if placed is not None and placed.member is not None and placed.member.node_id in run.members:
            _lose(run, placed.member, reason)
        elif placed is not None and placed.member is None and run.stopped is None:
            run.note(f"node {placed.node.name}: its agent ended before it was ready: {reason}")
    if run.stopped is not None:
        return
    taken = {placed.node.name for placed in run.placed.values()}
    for node in run.executor.slots():
        if node.name not in taken and run.placements[node.name] < PLACEMENTS:
            run.placements[node.name] += 1
            order = order_for(node.name, run.run_id, run.address, run.options)
            handle = run.executor.submit(node, AgentCommand(AGENT, order.encode()))
            run.placed[handle] = _PlacedAgent(node)
    if not run.placed and not run.members:
        _stop(run, "no node of the cluster is left that could run cells")


def _lose(run: ClusterRun, member: WorkingNode, reason: str) -> None:
    """The node is gone, or cannot be heard: it is fenced off, and its cells are given to others."""
    if run.recorder.do(lambda: nodes.lose(run.database, member.node_id, reason)) is None:
        return
    del run.members[member.node_id]
    run.preparing.pop(member.node_id, None)
    for handle, placed in list(run.placed.items()):
        if placed.member is member:
            run.executor.cancel(handle)
            del run.placed[handle]
    cells = [cell for cell, _ in member.cells.values()]
    if cells:
        run.note(f"node {member.name} is lost ({reason}): {plural(len(cells), 'cell')} go on elsewhere")
        with run.database.reading() as connection:
            states = cell_states(connection, run.options.machine)
        for cell in cells:
            run.started.pop(cell.cell_id, None)
            run.decider.end_attempt(cell)
            _resume(run, cell, states.get(cell.cell_id))


def _resume(run: ClusterRun, cell: Cell, state: CellState | None) -> None:
    """What follows for a cell whose node was lost: its end, if it was recorded before, or another node."""
    if state is not None and state.run_id == run.run_id and state.status in {Status.COMPLETED, Status.DIVERGED}:
        weights = kept_weights(state.artifacts, run.options.artifacts_root)
        run.decider.settle(cell, Ending(state.status, state.detail, state.total_seconds or 0.0, weights=weights))
    elif run.stopped is not None:
        run.decider.settle(cell, Ending(Cause.INTERRUPTED, "its node was lost"))
    else:
        run.losses[cell.cell_id] += 1
        if run.losses[cell.cell_id] < LOSSES:
            run.decider.retry(cell)
        else:
            reason = f"{LOSSES} nodes were lost while they ran it"
            run.recorder.block(cell, reason)
            run.decider.settle(cell, Ending(Cause.CRASHED, reason))


# ---- cells


def _give_cells(run: ClusterRun) -> None:
    orders: list[tuple[int, Message]] = []
    most = run.options.jobs_at_once

    def take(cell: Cell) -> tuple[WorkingNode, Grant] | None:
        if most is not None and len(run.given) >= most:
            return None
        return place(cell, run.members.values())

    while (chosen := run.decider.next(lambda _: True, take)) is not None:
        cell, (member, _) = chosen
        order = run_cell(cell.to_dict(), run.decider.beginning(cell), run.fingerprints.get(data_key(cell)))
        run.decider.begin(cell)
        orders.append((member.node_id, order))
    _send(run, orders)


def _send(run: ClusterRun, orders: Sequence[tuple[int, Message]]) -> None:
    for node_id, message in orders:
        run.mailbox.add(node_id, [body_of(message)])
    if orders:
        run.recorder.do(run.mailbox.post)


def _take_reports(run: ClusterRun) -> None:
    run.looked_at_reports = time.monotonic()
    for report in run.recorder.do(run.mailbox.take) or ():
        message = message_of(report.body)
        member = run.members.get(report.node_id)
        if isinstance(message, Ready):
            _join(run, report.node_id, message)
        elif isinstance(message, Unfit):
            run.note(message.reason)
            run.placements[message.name] = PLACEMENTS
        elif member is not None:
            _hear(run, member, message)


def _join(run: ClusterRun, node_id: int, message: Ready) -> None:
    slots = Slots(range(message.cores), range(message.gpus), None, run.options.gpu_share)
    for placed in run.placed.values():
        if placed.node.name == message.name and placed.member is None:
            placed.member = run.members[node_id] = WorkingNode(node_id, message.name, slots)
            run.note(f"node {message.name} is ready: {plural(message.cores, 'core')}, {plural(message.gpus, 'GPU')}")
            return


def _hear(run: ClusterRun, member: WorkingNode, message: Message) -> None:
    match message:
        case Said():
            run.note(message.text)
        case Preparing():
            run.preparing[member.node_id] = {f"{member.name}: {name}": text for name, text in message.progress.items()}
        case Begun() | Told() | AttemptEnded() | Settled() | LeftPending() if message.cell_id in member.cells:
            _hear_of_cell(run, member, member.cells[message.cell_id][0], message)
        case _:
            pass


def _hear_of_cell(run: ClusterRun, member: WorkingNode, cell: Cell, message: Message) -> None:
    match message:
        case Begun():
            run.started[cell.cell_id] = time.monotonic()
            run.placements[member.name] = 0
            run.decider.launched(cell, message.number)
        case Told():
            _hear_worker(run, member, cell, message)
        case AttemptEnded():
            run.started.pop(cell.cell_id, None)
            run.decider.end_attempt(cell)
        case LeftPending():
            member.give_back(cell.cell_id)
            for gpu in set(member.slots.gpus):
                member.slots.quarantine(gpu)
            _give_back(run, cell)
        case Settled():
            member.give_back(cell.cell_id)
            if message.state == Cause.INTERRUPTED and run.stopped is None:
                # its node leaves; the cell does not
                run.decider.retry(cell)
            else:
                run.decider.settle(cell, message.ending)
        case _:
            pass


def _give_back(run: ClusterRun, cell: Cell) -> None:
    """Another node has to take the cell; where none ever can, it stays pending."""
    if any(member.slots.possible(cell) for member in run.members.values()):
        run.decider.retry(cell)
    else:
        run.decider.leave_pending(cell)
        run.note(f"{name_of(cell)} stays pending: no GPU is left for it")


def _hear_worker(run: ClusterRun, member: WorkingNode, cell: Cell, message: Told) -> None:
    event = from_line(message.line.encode())
    if isinstance(event, Progress):
        run.observer.tell("progress", cell, event)
        return
    run.decider.hear(cell, event, message.elapsed, lambda: message.undisturbed)
    if isinstance(event, EpochFinished):
        run.observer.tell("epoch", cell, event)
    elif isinstance(event, ModelBuilt):
        known = run.fingerprints.setdefault(data_key(cell), event.data_fingerprint)
        if known != event.data_fingerprint:
            reason = other_data(known, event.data_fingerprint)
            _send(run, [(member.node_id, Refuse(cell.cell_id, f"node {member.name}: {reason}"))])


# ---- leases, signals, the end


def _look_after_leases(run: ClusterRun) -> None:
    now = time.monotonic()
    if now - run.looked_at_leases < min(1.0, run.options.lease_seconds / 8):
        return
    run.looked_at_leases = now
    if run.recorder.has_paused():
        # while the server was away no node could renew its lease
        run.recorder.do(lambda: nodes.extend_all(run.database, run.run_id, run.options.lease_seconds))
        return
    for node in run.recorder.do(lambda: nodes.expired(run.database, run.run_id)) or ():
        if (member := run.members.get(node.node_id)) is not None:
            _lose(run, member, f"it has not been heard of for {run.options.lease_seconds:g} s")


def _obey_signals(run: ClusterRun) -> None:
    if run.signals.count >= 1:
        _stop(run, f"interrupted by {signal.Signals(run.signals.first or signal.SIGTERM).name}")
    if run.signals.count >= 2 and run.given:
        run.note("killing what still runs")
        _send(run, [(node_id, Kill()) for node_id in run.members])
        run.kill_at = min(run.kill_at or float("inf"), time.monotonic() + LEAVING_SECONDS)


def _stop(run: ClusterRun, reason: str) -> None:
    """Gives out nothing more, and asks all nodes to save the states of their cells."""
    if run.stopped is not None:
        return
    run.stopped = reason
    run.decider.stop()
    grace = run.options.grace_seconds
    run.kill_at = time.monotonic() + grace + LEAVING_SECONDS
    if run.given:
        run.note(f"{reason}: waiting for {plural(len(run.given), 'running cell')} to save their state")
    _send(run, [(node_id, Stop(reason, grace)) for node_id in run.members])


def _dismiss(run: ClusterRun) -> None:
    """Lets the agents leave in good order; what has not left in time is ended by the engine."""
    if run.stopped is None:
        _send(run, [(node_id, Stop("the run has ended", run.options.grace_seconds)) for node_id in run.members])
    for cell in run.given:
        run.decider.settle(cell, Ending(Cause.INTERRUPTED, "its node did not answer any more"))
    until = time.monotonic() + LEAVING_SECONDS
    while run.placed and time.monotonic() < until:
        for handle in run.executor.poll():
            run.placed.pop(handle, None)
        if run.placed:
            run.signals.wait(0.05)
