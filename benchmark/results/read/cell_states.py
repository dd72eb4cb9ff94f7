"""Reads the newest execution of each cell, by which `scheduling/decisions/reuse.py` decides what will run."""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa

from benchmark.results.read.alive import is_alive
from benchmark.results.records import ArtifactRow, CellState, Recorded
from benchmark.results.schema.reproductions import is_reproduction
from benchmark.results.schema.tables import artifact, attempt, cell, execution, run
from benchmark.results.store.database import Database
from benchmark.status import Status

_STATE_COLUMNS = (
    "cell_id", "execution_id", "run_id", "status", "cause", "detail", "epochs", "data_fingerprint", "total_seconds",
    "weights_sha256", "finished_utc",
)  # fmt: skip


def newest_executions(machine: str | None = None, *, reproductions: bool = False) -> sa.Subquery:
    """Selects the id of the newest execution of each cell, on one machine or on each.

    Args:
        machine: Its name; None for all.
        reproductions: Whether those of `bench reproduce` count; what they check stays the result of the cell.
    """
    rows = sa.select(sa.func.max(execution.c.execution_id).label("execution_id"))
    if not reproductions:
        rows = rows.where(~is_reproduction())
    if machine is not None:
        rows = rows.where(execution.c.machine == machine)
    return rows.group_by(execution.c.cell_id, execution.c.machine).subquery("newest")


def recorded(database: Database, machine: str) -> Recorded:
    """All that a decision about cells on a machine goes by."""
    done = sa.select(execution.c.cell_id, execution.c.machine).where(execution.c.status == Status.COMPLETED).distinct()
    newest = sa.select(run).order_by(run.c.run_id.desc()).limit(1)
    elsewhere: defaultdict[str, list[str]] = defaultdict(list)
    with database.reading() as connection:
        for cell_id, name in connection.execute(done.where(execution.c.machine != machine).order_by("machine")):
            elsewhere[cell_id].append(name)
        last = connection.execute(newest).first()
        is_going = last is not None and is_alive(last._asdict(), served=connection.dialect.name != "sqlite")
        return Recorded(
            states=cell_states(connection, machine),
            cell_ids=frozenset(connection.scalars(sa.select(cell.c.cell_id))),
            elsewhere={cell_id: tuple(names) for cell_id, names in elsewhere.items()},
            live_run=last.run_id if last is not None and is_going else None,
        )


def cell_states(connection: sa.Connection, machine: str) -> dict[str, CellState]:
    """Reads the newest execution of each cell on a machine, by cell id."""
    newest = newest_executions(machine)
    tries = (
        sa.select(attempt.c.execution_id, sa.func.count().label("attempts"))
        .group_by(attempt.c.execution_id)
        .subquery("tries")
    )
    rows = (
        sa.select(*execution.c[_STATE_COLUMNS], sa.func.coalesce(tries.c.attempts, 0).label("attempts"))
        .join(newest, newest.c.execution_id == execution.c.execution_id)
        .outerjoin(tries, tries.c.execution_id == execution.c.execution_id)
    )
    files = _artifacts(connection, newest)
    states = {}
    for row in connection.execute(rows).mappings():
        facts = dict(row)
        cell_id = facts.pop("cell_id")
        states[cell_id] = CellState(**facts, artifacts=files.get(facts["execution_id"], ()))
    return states


def _artifacts(connection: sa.Connection, newest: sa.Subquery) -> dict[int, tuple[ArtifactRow, ...]]:
    last = (
        sa.select(sa.func.max(attempt.c.attempt_id).label("attempt_id"))
        .join(newest, newest.c.execution_id == attempt.c.execution_id)
        .group_by(attempt.c.execution_id)
        .subquery("last")
    )
    rows = (
        sa.select(*artifact.c["execution_id", "attempt_id", "kind", "path", "sha256", "size_bytes"])
        .join(last, last.c.attempt_id == artifact.c.attempt_id)
        .order_by(artifact.c.artifact_id)
    )
    artifacts = defaultdict(list)
    for execution_id, *values in connection.execute(rows):
        artifacts[execution_id].append(ArtifactRow(*values))
    return {execution_id: tuple(files) for execution_id, files in artifacts.items()}
