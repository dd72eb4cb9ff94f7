"""The loop of a run on many nodes: places agents, gives them cells, hears how these end, and takes back those of lost nodes."""

from __future__ import annotations

import time

from benchmark.matrix.cell import Cell
from benchmark.results.cluster import nodes
from benchmark.scheduling.cluster.agent_order import order_for
from benchmark.scheduling.cluster.cluster_context import PLACEMENTS, ClusterRun, PlacedAgent
from benchmark.scheduling.cluster.idle_nodes import let_idle_nodes_go
from benchmark.scheduling.cluster.messages import Kill, Message, Stop, run_cell
from benchmark.scheduling.cluster.node_losses import is_suspect, lose_node, lose_stranger
from benchmark.scheduling.cluster.node_reports import take_reports
from benchmark.scheduling.cluster.placement import WorkingNode, data_key, demands_of, place
from benchmark.scheduling.decisions.cell_decisions import Ending
from benchmark.scheduling.executors.protocol import AgentCommand
from benchmark.scheduling.processes.signals import waiting_for
from benchmark.scheduling.processes.slots import Grant
from benchmark.status import Cause

AGENT = "benchmark.scheduling.cluster.agent"

TURN_SECONDS = 0.5
"""How often the run looks after its nodes when nothing is reported."""

PLACE_AGAIN_SECONDS = 300.0
"""After so long a node on which agents were placed in vain gets one more: what kept them from it may be mended."""

ASK_SECONDS = 5.0
"""How often it is looked whether there are too few nodes."""

BLIND_SECONDS = 2.0
"""A run that has not looked at leases for so long, or for half of one, does not judge by what it sees then."""

GATHER_SECONDS = 0.05
"""How long reports are gathered before they are looked at: each look is a transaction."""

LEAVING_SECONDS = 5.0
"""How long agents may take to leave when the run is over, beside the grace of their cells."""


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
        take_reports(run)
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
    if ended := run.executor.poll():
        # an agent may have said that it is ready, and ended
        take_reports(run)
        for handle, reason in ended.items():
            if (placed := run.placed.pop(handle, None)) is not None:
                _hear_of_end(run, placed, reason)
    if run.stopped is not None or not run.decider.unfinished:
        return
    let_idle_nodes_go(run)
    taken = {placed.node.name for placed in run.placed.values()} | run.let_go
    for node in run.executor.slots():
        if node.is_leaving:
            _send_away(run, node.name)
            continue
        in_vain = run.placements[node.name] >= PLACEMENTS
        if (
            run.waiting
            and node.name not in taken
            and not (in_vain and now < run.placed_at[node.name] + PLACE_AGAIN_SECONDS)
        ):
            run.placements[node.name] += 1
            run.placed_at[node.name] = now
            order = order_for(node.name, run.run_id, run.address, run.options)
            handle = run.executor.submit(node, AgentCommand(AGENT, order.encode()))
            run.placed[handle] = PlacedAgent(node)
    _ask_for_nodes(run, now)
    if run.placed or run.members:
        run.had_nodes_at = now
    elif now >= run.had_nodes_at + run.options.node_seconds:
        # where that is because the engine is gone, it says so itself
        run.executor.poll()
        _stop(run, "no node of the cluster is left that could run cells")


def _ask_for_nodes(run: ClusterRun, now: float) -> None:
    """Tells an engine that can get more nodes what the cells that are left could use, where there are too few."""
    if now < run.asked_at + ASK_SECONDS:
        return
    run.asked_at = now
    demands, room = demands_of(run.decider.unfinished_cells(), run.options), run.room
    cores, gpus = (
        sum(demand.count * demand.cores for demand in demands),
        sum(demand.count * demand.gpus for demand in demands),
    )
    run.executor.want(demands if cores > room.cores or gpus > room.gpus else ())


def _send_away(run: ClusterRun, name: str) -> None:
    """Has the agent of a node that the engine takes away save and leave, while there is time."""
    for placed in run.placed.values():
        if placed.node.name == name and placed.member is not None and not placed.member.is_leaving:
            placed.member.is_leaving = True
            run.note(f"node {name} is removed by the engine: its cells save their states and continue elsewhere")
            stop = Stop("the engine removes this node", run.options.grace_seconds)
            run.send([(placed.member.node_id, stop)])


def _hear_of_end(run: ClusterRun, placed: PlacedAgent, reason: str) -> None:
    if placed.member is not None:
        if placed.member.node_id in run.members:
            lose_node(run, placed.member, reason)
        return
    if run.stopped is None:
        run.note(f"node {placed.node.name}: its agent ended before it was ready: {reason}")
    for node in run.recorder.do(lambda: nodes.members(run.database, run.run_id)) or ():
        if node.name == placed.node.name and node.node_id not in run.members:
            lose_stranger(run, node.node_id, node.name, reason)


# ---- cells


def _give_cells(run: ClusterRun) -> None:
    orders: list[tuple[int, Message]] = []
    most = run.options.jobs

    def take(cell: Cell) -> tuple[WorkingNode, Grant] | None:
        if most is not None and len(run.given) >= most:
            return None
        return place(cell, _nodes_for(run, cell))

    while (chosen := run.decider.next(lambda _: True, take)) is not None:
        cell, (member, _) = chosen
        order = run_cell(cell.to_dict(), run.decider.beginning(cell), run.fingerprints.get(data_key(cell)), run.root)
        run.decider.begin(cell)
        orders.append((member.node_id, order))
    run.send(orders)


def _nodes_for(run: ClusterRun, cell: Cell) -> list[WorkingNode]:
    """Nodes that may take the cell: one that may have brought down others is alone on its node."""
    if run.options.is_alone:
        busy = {member.computer for member in run.members.values() if member.cells}
        return [member for member in run.members.values() if not member.is_leaving and member.computer not in busy]
    if is_suspect(run, cell.cell_id):
        return [member for member in run.members.values() if not member.cells and not member.is_leaving]
    return [
        member
        for member in run.members.values()
        if not member.is_leaving and not any(is_suspect(run, cell_id) for cell_id in member.cells)
    ]


# ---- leases, signals, the end


def _look_after_leases(run: ClusterRun) -> None:
    now, before = time.monotonic(), run.looked_at_leases
    if now - before < min(1.0, run.options.lease_seconds / 8):
        return
    run.looked_at_leases = now
    over = run.recorder.do(lambda: nodes.expired(run.database, run.run_id)) or ()
    # it was stopped itself, or has waited for an answer of the server: so may the nodes have
    was_blind = time.monotonic() - before > max(BLIND_SECONDS, run.options.lease_seconds / 2)
    if run.recorder.has_paused() or was_blind:
        # while the server was away, maybe until just now, no node could renew its lease
        run.recorder.do(lambda: nodes.extend_all(run.database, run.run_id, run.options.lease_seconds))
        return
    reason = f"it has been silent for {run.options.lease_seconds:g} s"
    for node in over:
        if (member := run.members.get(node.node_id)) is not None:
            lose_node(run, member, reason)
        else:
            lose_stranger(run, node.node_id, node.name, reason)


def _obey_signals(run: ClusterRun) -> None:
    if run.signals.count >= 1:
        _stop(run, run.signals.reason, hint=run.signals.hint)
    if run.signals.count >= 2 and run.given and not run.killed:
        run.killed = True
        run.note("killing what still runs")
        run.send([(node_id, Kill()) for node_id in run.members])
        run.kill_at = min(run.kill_at or float("inf"), time.monotonic() + LEAVING_SECONDS)


def _stop(run: ClusterRun, reason: str, *, hint: str = "") -> None:
    """Gives out nothing more, and asks all nodes to save the states of their cells."""
    if run.stopped is not None:
        return
    run.stopped = reason
    run.decider.stop()
    grace = run.options.grace_seconds
    run.kill_at = time.monotonic() + grace + LEAVING_SECONDS
    if run.given:
        run.note(f"{reason}: {waiting_for(len(run.given))}{hint}")
    run.send([(node_id, Stop(reason, grace)) for node_id in run.members])


def _dismiss(run: ClusterRun) -> None:
    """Lets the agents leave in good order; what has not left in time is ended by the engine."""
    if run.stopped is None:
        run.send([(node_id, Stop("the run has ended", run.options.grace_seconds)) for node_id in run.members])
    for cell in run.given:
        run.decider.settle(cell, Ending(Cause.INTERRUPTED, "its node no longer answered"))
    for handle, placed in run.placed.items():
        if placed.member is None:
            run.executor.cancel(handle)
    until = time.monotonic() + LEAVING_SECONDS
    while run.placed and time.monotonic() < until:
        for handle in run.executor.poll():
            run.placed.pop(handle, None)
        if run.placed:
            run.signals.wait(0.05)
