"""Selects rows as dictionaries, with NaN restored."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.results.schema.nan_values import NAN_COLUMN, restored
from benchmark.results.schema.tables import cell, epoch, execution, run
from benchmark.results.store.database import Database

Row = dict[str, Any]
"""A row by the names of its columns."""


def select_columns(columns: dict[str, Any]) -> sa.Select[Any]:
    """Selects columns under these names."""
    return sa.select(*(column.label(name) for name, column in columns.items()))


def select_executions(columns: dict[str, Any]) -> sa.Select[Any]:
    """Selects columns of `execution` and of its cell and run, in the order in which the executions began."""
    joined = execution.join(cell, cell.c.cell_id == execution.c.cell_id).join(run, run.c.run_id == execution.c.run_id)
    rows = select_columns({**columns, NAN_COLUMN: execution.c.nan_metrics}).select_from(joined)
    return rows.order_by(execution.c.execution_id)


def select_epochs(columns: dict[str, Any]) -> sa.Select[Any]:
    """Selects columns of `epoch` and of its execution and cell, ordered by execution and epoch."""
    joined = epoch.join(execution, execution.c.execution_id == epoch.c.execution_id)
    joined = joined.join(cell, cell.c.cell_id == execution.c.cell_id)
    rows = select_columns({**columns, NAN_COLUMN: epoch.c.nan_metrics}).select_from(joined)
    return rows.order_by(epoch.c.execution_id, epoch.c.epoch)


def fetch_rows(database: Database, statement: sa.Select[Any]) -> list[Row]:
    """Runs a query in a reading transaction of its own and returns all rows."""
    with database.reading() as connection:
        result = connection.execute(statement)
        names = tuple(result.keys())
        return [restored(dict(zip(names, row, strict=True))) for row in result.all()]


def fetch_table(database: Database, table: sa.Table, condition: Any, *, limit: int | None = None) -> list[Row]:
    """Returns whole rows of a table, ordered by its key."""
    return fetch_rows(database, sa.select(table).where(condition).order_by(*table.primary_key).limit(limit))
