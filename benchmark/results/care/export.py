"""What `bench db export` writes: the two views and the cells, row by row, never held whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from benchmark.results.read.rows import Row, select_columns
from benchmark.results.schema.nan_values import NAN_COLUMN, null_to_nan
from benchmark.results.schema.tables import cell, epoch, execution, run
from benchmark.results.schema.views import HISTORY, RESULTS
from benchmark.results.store.database import Database

_ROWS_AT_ONCE = 2000


def exported(database: Database) -> dict[str, tuple[list[str], Callable[[], Iterator[Row]]]]:
    """What there is to export: by name, the columns and a function that gives the rows.

    `results` and `history` have the columns of the views, NaN restored; `cells` has every setting of each cell in
    `spec`, as a record.
    """
    statements = {"results": _results(), "history": _history(), "cells": sa.select(cell).order_by(cell.c.cell_id)}
    return {
        name: (
            [column for column in statement.selected_columns.keys() if column != NAN_COLUMN],  # noqa: SIM118
            lambda statement=statement: _rows(database, statement),  # type: ignore[misc]
        )
        for name, statement in statements.items()
    }


def _results() -> sa.Select[Any]:
    joined = execution.join(cell, cell.c.cell_id == execution.c.cell_id).join(run, run.c.run_id == execution.c.run_id)
    columns = {**RESULTS, NAN_COLUMN: execution.c.nan_metrics}
    return select_columns(columns).select_from(joined).order_by(execution.c.execution_id)


def _history() -> sa.Select[Any]:
    joined = epoch.join(execution, execution.c.execution_id == epoch.c.execution_id).join(
        cell, cell.c.cell_id == execution.c.cell_id
    )
    columns = {**HISTORY, NAN_COLUMN: epoch.c.nan_metrics}
    return select_columns(columns).select_from(joined).order_by(epoch.c.execution_id, epoch.c.epoch)


def _rows(database: Database, statement: sa.Select[Any]) -> Iterator[Row]:
    with database.reading() as connection:
        found = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(statement).mappings()
        for row in map(null_to_nan, found):
            if "spec" in row:
                row["spec"] = json.loads(row["spec"])
            yield row
