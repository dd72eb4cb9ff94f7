"""`bench run --executor NAME`: the engine is asked which nodes there are, the matrix is planned for them, and run there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from benchmark import layout, units
from benchmark.cli.options import MatrixRequest, machine_kind
from benchmark.cli.terminal import verbosity
from benchmark.errors import UserError
from benchmark.forecast.simulation import Room
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.results.store.location import locate
from benchmark.scheduling.cluster.placement import demands_of, room_of_nodes
from benchmark.scheduling.executors.executor_registry import LOCAL, require_executor
from benchmark.scheduling.executors.protocol import Demand, Node
from benchmark.scheduling.executors.separate_executor import SeparateExecutor, open_executor
from benchmark.scheduling.run_options import RunOptions

LOOK_SECONDS = 0.5
"""How often is asked for nodes that are waited for."""


def require_cluster(executor: str, database: str) -> bool:
    """Whether cells run on other computers; refuses what cannot be before anything is started.

    Raises:
        UserError: The executor is unknown or not installed, or the database is a file, which other computers do not reach.
    """
    name = require_executor(executor)
    if name == LOCAL:
        return False
    if locate(database).path is not None:
        raise UserError(
            f"--executor {name}: expected a PostgreSQL database, which all nodes can reach, got the file {database}: SQLite "
            "works on one computer. Start a server (docs/cluster.md) and name it: "
            "--db postgresql+psycopg://USER@HOST/DATABASE"
        )
    return True


@dataclass(frozen=True, slots=True)
class OpenedCluster:
    """A cluster whose nodes are known, and what is to run there.

    Attributes:
        executor: The engine.
        matrix: As it was asked for, to be planned for these nodes.
        plan: Its plan for them.
        room: What they have when it is looked at.
    """

    executor: SeparateExecutor
    matrix: MatrixRequest
    plan: Plan
    room: Room


@contextlib.contextmanager
def opened_cluster(
    executor: str, matrix: MatrixRequest, plan: Plan, options: RunOptions, node_seconds: float | None = None
) -> Iterator[OpenedCluster]:
    """Opens an engine and plans a matrix for its nodes; no agent is placed yet, and all have ended afterwards.

    Args:
        executor: `NAME` or `NAME:ARGUMENT`.
        matrix: Of the command line.
        plan: As planned for this computer.
        options: How to run.
        node_seconds: How long to wait for nodes on which every cell can run; None for not at all.

    Raises:
        UserError: There is no such cluster, or no node on which any cell could run.
    """
    with _opened_executor(executor, options, plan) as opened:
        if node_seconds:
            opened.want(_demands_of_plan(plan, options))
        asked, planned = _plan_for_nodes(matrix, opened, node_seconds)
        yield OpenedCluster(opened, asked, planned, room_of_nodes(opened.slots(), options))


@contextlib.contextmanager
def _opened_executor(executor: str, options: RunOptions, plan: Plan) -> Iterator[SeparateExecutor]:
    """Opens an engine; its agents have ended afterwards."""
    # no engine keeps its own files below a URL
    root = layout.artifacts_folder(None) if options.artifacts_url is not None else options.artifacts_root
    folder = layout.executor_folder(root)
    wants_gpus = any(cell.device != "cpu" for cell in plan.cells) or _needs_more(plan)
    opened = open_executor(executor, folder.absolute(), wants_gpus=wants_gpus)
    try:
        yield opened
    finally:
        opened.close()


def _plan_for_nodes(
    matrix: MatrixRequest, executor: SeparateExecutor, node_seconds: float | None
) -> tuple[MatrixRequest, Plan]:
    """The plan for the nodes that are there, or come in time; the request, which has them from then on.

    Raises:
        UserError: There is none, or none on which any cell could run.
    """
    until = time.monotonic() + (node_seconds or 0.0)
    while True:
        nodes = [node for node in executor.slots() if not node.is_leaving]
        matrix = replace(matrix, kind=_kind_of(nodes) if nodes else None)
        plan = matrix.load() if nodes else None
        if (plan is not None and not _needs_more(plan)) or time.monotonic() >= until:
            break
        time.sleep(LOOK_SECONDS)
    if plan is None:
        raise UserError(
            f"--executor {executor.name}: expected at least one node, there is none. Start one, or wait for it: "
            "--wait-for-nodes 10m"
        )
    cores, gpus = sum(node.cores for node in nodes), sum(node.gpus for node in nodes)
    has = f"{units.plural(len(nodes), 'node')}, {units.plural(cores, 'core')}, {units.plural(gpus, 'GPU')}"
    verbosity.inform(f"{executor.name}: {has}")
    if not plan.cells:
        reasons = sorted({left.reason for left in plan.left_out})
        raise UserError(f"{plan.path}: no cell can run on the nodes that are there ({has}): {'; '.join(reasons[:3])}")
    return matrix, plan


def _demands_of_plan(plan: Plan, options: RunOptions) -> tuple[Demand, ...]:
    """What all cells need at the same time, those that this computer has no GPU for too."""
    lacking = sum("GPU" in left.reason for left in plan.left_out)
    return (*demands_of(plan.cells, options), *([Demand(lacking, 1, 1)] if lacking else []))


def _kind_of(nodes: Collection[Node]) -> MachineKind:
    """What a cell may ask for: all that some node has."""
    here = machine_kind()
    return replace(here, gpus=max(node.gpus for node in nodes), cores=max(node.cores for node in nodes))


def _needs_more(plan: Plan) -> bool:
    """Whether cells are left out for want of a GPU."""
    return any("GPU" in left.reason for left in plan.left_out)
