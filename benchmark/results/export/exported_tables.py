"""Reads the views and the cells row by row for `bench db export`, so that they need not fit into memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from benchmark.results.read.alive import close_executions, dead_runs
from benchmark.results.read.queries import in_batches
from benchmark.results.read.rows import Row, select_epochs, select_executions
from benchmark.results.schema.nan_values import NAN_COLUMN, null_to_nan
from benchmark.results.schema.tables import cell, execution
from benchmark.results.schema.views import HISTORY, PREDICTIONS, RESULTS
from benchmark.results.store.database import Database

_ROWS_AT_ONCE = 2000


def exported(
    database: Database, chosen: Mapping[int, str] | None = None, *, predictions: bool = False
) -> dict[str, tuple[list[str], Callable[[], Iterator[Row]]]]:
    """Returns for each exported table its columns, and a function that yields its rows.

    `results`, `history` and `predictions` have the columns of the views, with NaN restored; `cells` has every setting of
    each cell in `spec`, as a dictionary.

    Args:
        database: Open for reading.
        chosen: The executions to export, with the id of each one's cell; None exports all, and cells that have none.
        predictions: Whether `predictions` is among the tables.
    """
    view = sa.table("predictions", *map(sa.column, PREDICTIONS))
    statements: dict[str, tuple[sa.Select[Any], Any]] = {
        "results": (select_executions(RESULTS), execution.c.execution_id),
        "history": (select_epochs(HISTORY), execution.c.execution_id),
        "cells": (sa.select(cell).order_by(cell.c.cell_id), None),
    }
    if predictions:
        ordered = sa.select(view).order_by(view.c.execution_id, view.c.split, view.c.image)
        statements["predictions"] = (ordered, view.c.execution_id)
    return {
        name: (
            [column for column in statement.selected_columns.keys() if column != NAN_COLUMN],  # noqa: SIM118
            lambda statement=statement, key=key: _rows(database, statement, key, chosen),  # type: ignore[misc]
        )
        for name, (statement, key) in statements.items()
    }


def _rows(database: Database, statement: sa.Select[Any], key: Any, chosen: Mapping[int, str] | None) -> Iterator[Row]:
    cells = None if chosen is None else set(chosen.values())
    parts, dead = [statement], dead_runs(database)
    if chosen is not None and key is not None:
        parts = [statement.where(key.in_(ids)) for ids in in_batches(chosen)]
    with database.reading() as connection:
        for part in parts:
            for row in map(null_to_nan, connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(part).mappings()):
                if cells is not None and row["cell_id"] not in cells:
                    continue
                if "spec" in row:
                    row["spec"] = json.loads(row["spec"])
                if "status" in row:
                    close_executions([row], dead)
                yield row
