"""What follows when a node is lost: it is fenced off, what it has reported before counts, and its cells go on elsewhere."""

from __future__ import annotations

from benchmark.matrix.cell import Cell
from benchmark.results.cluster import nodes
from benchmark.results.read.cell_states import cell_states
from benchmark.results.records import CellState
from benchmark.scheduling.cluster.cluster_context import ClusterRun
from benchmark.scheduling.cluster.node_reports import take_reports
from benchmark.scheduling.cluster.placement import WorkingNode
from benchmark.scheduling.decisions.cell_decisions import Ending
from benchmark.scheduling.decisions.reuse import kept_weights
from benchmark.status import Cause, Status
from benchmark.units import plural

LOSSES = 3
"""After so many nodes were lost while they ran a cell, it counts as what has brought them down."""


def lose_node(run: ClusterRun, member: WorkingNode, reason: str) -> None:
    """Takes back the cells of a node that is gone, or cannot be heard, or has left.

    Side effects: the node can write nothing any more, and the engine ends its agent.
    """
    abandoned = run.recorder.do(lambda: nodes.lose(run.database, member.node_id, reason))
    if abandoned is None:
        return
    # from now on it reports nothing, and what it has reported is true
    take_reports(run)
    del run.members[member.node_id]
    if member.name not in run.let_go:
        # what waits may have counted on it
        run.let_go.clear()
    run.preparing.pop(member.node_id, None)
    for handle, placed in list(run.placed.items()):
        if placed.member is member:
            run.executor.cancel(handle)
            del run.placed[handle]
    cells = [cell for cell, _ in member.cells.values()]
    if not cells:
        return
    if run.stopped is None:
        what = "has left" if member.is_leaving else "is lost"
        run.note(f"node {member.name} {what} ({reason}): {plural(len(cells), 'cell')} will continue elsewhere")
    states = run.recorder.do(lambda: _states(run)) or {}
    for cell in cells:
        run.started.pop(cell.cell_id, None)
        run.decider.end_attempt(cell)
        # one that leaves by itself was not brought down
        if cell.cell_id in abandoned and not member.is_leaving:
            run.losses[cell.cell_id] += 1
        _go_on(run, cell, states.get(cell.cell_id))


def lose_stranger(run: ClusterRun, node_id: int, name: str, reason: str) -> None:
    """Takes the membership of a node whose agent has joined and never said that it is ready: another may have its name."""
    run.recorder.do(lambda: nodes.lose(run.database, node_id, reason))
    for handle, placed in list(run.placed.items()):
        if placed.node.name == name and placed.member is None:
            run.executor.cancel(handle)


def is_suspect(run: ClusterRun, cell_id: str) -> bool:
    """Whether the next loss is the last: the cell then runs alone on a node, so that no other is blamed for it, nor it for others."""
    return run.losses[cell_id] >= LOSSES - 1


def _states(run: ClusterRun) -> dict[str, CellState]:
    with run.database.reading() as connection:
        return dict(cell_states(connection, run.options.machine))


def _go_on(run: ClusterRun, cell: Cell, state: CellState | None) -> None:
    """What follows for a cell whose node was lost: its end, if it was recorded before, or another node."""
    if state is not None and state.run_id == run.run_id and state.status in _ENDED:
        weights = kept_weights(state.artifacts, run.root)
        ended = state.status if state.status in {Status.COMPLETED, Status.DIVERGED} else state.cause or Cause.CRASHED
        run.decider.settle(cell, Ending(ended, state.detail, state.total_seconds or 0.0, weights=weights))
    elif run.stopped is not None:
        run.decider.settle(cell, Ending(Cause.INTERRUPTED, "its node was lost"))
    elif run.losses[cell.cell_id] < LOSSES:
        run.retry(cell)
    else:
        is_large = cell.cell_id in run.without_room
        what = "had no disk space for it" if is_large else "were lost while they ran it"
        cause, reason = (
            Cause.FAILED if is_large else Cause.CRASHED,
            f"{LOSSES} nodes {what}; the last one ran nothing else",
        )
        run.recorder.give_up(cell, cause, reason)
        run.decider.settle(cell, Ending(cause, reason))


_ENDED = frozenset({Status.COMPLETED, Status.DIVERGED, Status.FAILED})
