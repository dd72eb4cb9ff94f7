"""Reads the views that users read, of some executions or of all, a part at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from benchmark.results.read.alive import closed_columns, dead_runs
from benchmark.results.read.queries import in_batches
from benchmark.results.schema.tables import prediction
from benchmark.results.schema.views import VIEWS
from benchmark.results.store.database import Database

_ROWS_AT_ONCE = 20_000
_ORDER = {
    "results": ("execution_id",),
    "history": ("execution_id", "epoch"),
    "predictions": ("execution_id", "split", "image"),
}


def view_types(view: str) -> dict[str, type]:
    """The columns of a view with the Python types of their values; a flag is a number."""
    return {name: column.type.python_type for name, column in VIEWS[view].items()}


def view_rows(
    database: Database,
    view: str,
    execution_ids: Iterable[int] | None,
) -> Iterator[Sequence[sa.Row[Any]]]:
    """Reads the rows of a view in the order of their executions; NaN is NULL, as it is stored.

    What a run left open whose process is gone is interrupted, as everywhere.

    Args:
        database: Open for reading.
        view: `results`, `history` or `predictions`.
        execution_ids: Whose rows; None reads all.

    Yields:
        Lists of rows.
    """
    table = sa.table(view, *map(sa.column, VIEWS[view]))
    columns = closed_columns(table, dead_runs(database)) if view == "results" else table.c
    rows = sa.select(*columns).order_by(*table.c[_ORDER[view]])
    statements = (
        [rows]
        if execution_ids is None
        else (rows.where(table.c.execution_id.in_(ids)) for ids in in_batches(execution_ids))
    )
    with database.reading() as connection:
        for statement in statements:
            yield from connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(statement).partitions()


def class_names_of(database: Database, execution_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Reads by the id of each execution the names of the classes that the view `predictions` numbers, from 0."""
    columns = sa.select(prediction.c.execution_id, prediction.c.class_names).distinct()
    with database.reading() as connection:
        return {
            row.execution_id: tuple(json.loads(row.class_names))
            for ids in in_batches(execution_ids)
            for row in connection.execute(columns.where(prediction.c.execution_id.in_(ids)))
        }
