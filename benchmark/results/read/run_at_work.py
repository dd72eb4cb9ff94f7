"""Reads what a run is at while it goes on: the cells that run with their newest epoch, and how those ended that have."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from benchmark.results.read.rows import Row, fetch_rows, select_columns
from benchmark.results.schema.nan_values import NAN_COLUMN
from benchmark.results.schema.tables import attempt, cell, epoch, execution, run_cell
from benchmark.results.schema.views import columns_of
from benchmark.results.store.database import Database
from benchmark.results.store.server_lock import is_held
from benchmark.status import Status

EPOCH_COLUMNS = tuple(column.name for column in epoch.c if column.name not in {"execution_id", "attempt_id", "run_id"})
"""Of the newest epoch; all of them None before the first."""

ENDED = (Status.COMPLETED, Status.DIVERGED, Status.FAILED, Status.BLOCKED, Status.INTERRUPTED)


def running_cells(database: Database, run_id: int) -> list[Row]:
    """Reads the attempts of a run that run now, oldest first.

    Columns: `attempt_id number started_utc node threads` of the attempt, `execution_id data_fingerprint test_accuracy` of the
    execution, `cell_id spec` of the cell, `epoch_attempt_id`, and `EPOCH_COLUMNS`.
    """
    columns = {
        **columns_of(attempt, "attempt_id number started_utc node threads"),
        **columns_of(execution, "execution_id data_fingerprint test_accuracy"),
        **columns_of(cell, "cell_id spec"),
    }
    rows = _with_newest_epoch(columns, attempt.join(execution, execution.c.execution_id == attempt.c.execution_id))
    rows = rows.where(attempt.c.run_id == run_id, attempt.c.state == Status.RUNNING)
    return fetch_rows(database, rows.order_by(attempt.c.attempt_id))


def ended_executions(database: Database, run_id: int, known: int = 0) -> list[int]:
    """Reads the ids of the executions that have ended in a run, oldest first; none where there are no more than `known`."""
    ended = (execution.c.run_id == run_id) & execution.c.status.in_(ENDED)
    with database.reading() as connection:
        if connection.scalar(sa.select(sa.func.count()).select_from(execution).where(ended)) == known:
            return []
        order = (execution.c.finished_utc, execution.c.execution_id)
        return list(connection.scalars(sa.select(execution.c.execution_id).where(ended).order_by(*order)))


def endings(database: Database, execution_ids: Collection[int]) -> dict[int, Row]:
    """Reads how executions ended, by their ids.

    Columns: `execution_id status cause detail total_seconds test_accuracy` of the execution, `cell_id spec` of the
    cell, `epoch_attempt_id`, and `EPOCH_COLUMNS`.
    """
    columns = {
        **columns_of(execution, "execution_id status cause detail total_seconds test_accuracy"),
        **columns_of(cell, "cell_id spec"),
    }
    rows = _with_newest_epoch(columns, execution).where(execution.c.execution_id.in_(execution_ids))
    return {row["execution_id"]: row for row in fetch_rows(database, rows)}


def backends_of(database: Database, run_id: int) -> list[str]:
    """Reads the backends of the cells that a run has to do."""
    joined = run_cell.join(cell, cell.c.cell_id == run_cell.c.cell_id)
    planned = (run_cell.c.run_id == run_id) & (run_cell.c.outcome == "planned")
    rows = select_columns({"backend": cell.c.backend}).distinct().select_from(joined).where(planned)
    return [row["backend"] for row in fetch_rows(database, rows.order_by(cell.c.backend))]


def specs_of(database: Database, cell_ids: Collection[str]) -> dict[str, str]:
    """Reads cells as JSON, by their ids."""
    rows = select_columns(columns_of(cell, "cell_id spec")).where(cell.c.cell_id.in_(cell_ids))
    return {row["cell_id"]: row["spec"] for row in fetch_rows(database, rows)}


def is_unheld(database: Database) -> bool:
    """Whether no run holds the lock of a database on a server; a run takes it again when its session has ended, so ask twice."""
    if database.path is not None:
        return False
    with database.reading() as connection:
        return not is_held(connection)


def _with_newest_epoch(columns: dict[str, Any], source: Any) -> sa.Select[Any]:
    newest = {name: epoch.c[name] for name in EPOCH_COLUMNS} | {"epoch_attempt_id": epoch.c.attempt_id}
    same = (epoch.c.execution_id == execution.c.execution_id) & (epoch.c.epoch == execution.c.epochs)
    joined = source.join(cell, cell.c.cell_id == execution.c.cell_id).outerjoin(epoch, same)
    return select_columns({**columns, **newest, NAN_COLUMN: epoch.c.nan_metrics}).select_from(joined)
