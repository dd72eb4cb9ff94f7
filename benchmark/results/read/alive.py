"""Whether the process of a recorded run is still there, and how what it left open is shown where it is not.

Readers change nothing: the next `bench run` records what is shown here (`results/write/attempts.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from benchmark import machine
from benchmark.results.read.rows import Row, fetch_rows, select_columns
from benchmark.results.schema.tables import run
from benchmark.results.schema.views import columns_of
from benchmark.results.store.database import Database
from benchmark.status import Cause, Status


def is_alive(row: Mapping[str, Any], *, served: bool) -> bool:
    """Whether the process of a run that calls itself running is there.

    Args:
        row: That of the run.
        served: Whether the database is on a server: then the run may be on another computer, and is taken at its word.
    """
    if row["state"] != Status.RUNNING:
        return False
    if row["boot_id"] != machine.boot_id():
        return served
    return row["pid"] is None or bool(machine.process_start_ticks(row["pid"]) == row["process_start_ticks"])


def close_runs(rows: Iterable[Row], *, served: bool) -> None:
    """Changes the rows of runs whose process is gone to what they have come to: abandoned; `served` as of `is_alive`."""
    for row in rows:
        if row["state"] == Status.RUNNING and not is_alive(row, served=served):
            row["state"] = Cause.ABANDONED


def dead_runs(database: Database) -> frozenset[int]:
    """Reads the ids of the runs that died: what they left open runs no more."""
    rows = select_columns(columns_of(run, "run_id state boot_id pid process_start_ticks"))
    open_runs = fetch_rows(database, rows.where(run.c.state == Status.RUNNING))
    return frozenset(row["run_id"] for row in open_runs if not is_alive(row, served=database.path is None))


def close_executions(rows: Iterable[Row], dead: frozenset[int], run_id: str = "run_id") -> None:
    """Likewise the rows of executions that `dead` runs left open to what they have come to: interrupted.

    Args:
        rows: They have `status` and `cause`.
        dead: As of `dead_runs`.
        run_id: The column that has the run of the execution.
    """
    for row in rows:
        if row[run_id] in dead and row["status"] in {Status.RUNNING, Status.PENDING}:
            row.update(status=Status.INTERRUPTED, cause=Cause.ABANDONED)


def closed_columns(results: sa.TableClause, dead: frozenset[int]) -> Iterator[sa.ColumnElement[Any]]:
    """The columns of the view `results` for a query, with what `close_executions` does to its rows."""
    is_open = results.c.run_id.in_(dead) & results.c.status.in_((Status.RUNNING, Status.PENDING))
    closed = {"status": Status.INTERRUPTED, "cause": Cause.ABANDONED}
    for column in results.c:
        yield (
            sa.case((is_open, closed[column.name]), else_=column).label(column.name)
            if column.name in closed
            else column
        )


def close_attempts(rows: Iterable[Row], dead: frozenset[int]) -> None:
    """Likewise the rows of attempts."""
    for row in rows:
        if row["run_id"] in dead and row["state"] == Status.RUNNING:
            row["state"] = Cause.ABANDONED
