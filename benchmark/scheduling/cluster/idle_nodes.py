"""Nodes that have nothing left to do: they are let go before the run ends, and taken again when cells need them after all.

An engine that adds nodes takes them away only while nobody holds them, and what a job of Slurm holds is paid for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from benchmark.matrix.cell import Cell
from benchmark.scheduling.cluster.cluster_context import ClusterRun
from benchmark.scheduling.cluster.messages import Stop
from benchmark.scheduling.cluster.placement import MOST_WANTED, WorkingNode

IDLE_SECONDS = 60.0
"""A node without a cell for so long is let go: beginning anew there takes some seconds."""


def let_idle_nodes_go(run: ClusterRun) -> None:
    """Has nodes leave that have been idle for long, except for as many as the cells that still wait could use.

    Side effects: these get no agent any more until a cell has to go on elsewhere.
    """
    idle = [member for member in run.members.values() if not member.cells and not member.is_leaving]
    before = time.monotonic() - IDLE_SECONDS
    if all(member.idle_since > before for member in idle) or (count := run.waiting) > MOST_WANTED:
        return
    needed = _needed(run.waiting_cells(), idle) if count else set()
    leaving = [member for member in idle if member.idle_since <= before and member.node_id not in needed]
    for member in leaving:
        member.is_leaving = True
        run.let_go.add(member.name)
        run.placements[member.name] = 0
        run.note(f"node {member.name} is let go: no cell is left for it")
    stop = Stop("no cell is left for this node", run.options.grace_seconds)
    run.send([(member.node_id, stop) for member in leaving])


def _needed(cells: Iterable[Cell], idle: Iterable[WorkingNode]) -> set[int]:
    """The numbers of the nodes that are kept for the cells, one for each at most; those that worked last come first."""
    kept: set[int] = set()
    members = sorted(idle, key=lambda member: member.idle_since, reverse=True)
    for cell in cells:
        free = (each.node_id for each in members if each.node_id not in kept and each.slots.possible(cell))
        kept.update([node_id] if (node_id := next(free, None)) is not None else [])
        if len(kept) == len(members):
            break
    return kept
