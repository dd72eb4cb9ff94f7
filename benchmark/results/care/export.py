"""Reads the two views and the cells row by row for `bench db export`, so that they need not fit into memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from benchmark.results.read.rows import Row, select_epochs, select_executions
from benchmark.results.schema.nan_values import NAN_COLUMN, null_to_nan
from benchmark.results.schema.tables import cell
from benchmark.results.schema.views import HISTORY, RESULTS
from benchmark.results.store.database import Database

_ROWS_AT_ONCE = 2000


def exported(database: Database) -> dict[str, tuple[list[str], Callable[[], Iterator[Row]]]]:
    """Returns for each exported table its columns, and a function that yields its rows.

    `results` and `history` have the columns of the views, with NaN restored; `cells` has every setting of each cell in
    `spec`, as a dictionary.
    """
    statements = {
        "results": select_executions(RESULTS),
        "history": select_epochs(HISTORY),
        "cells": sa.select(cell).order_by(cell.c.cell_id),
    }
    return {
        name: (
            [column for column in statement.selected_columns.keys() if column != NAN_COLUMN],  # noqa: SIM118
            lambda statement=statement: _rows(database, statement),  # type: ignore[misc]
        )
        for name, statement in statements.items()
    }


def _rows(database: Database, statement: sa.Select[Any]) -> Iterator[Row]:
    with database.reading() as connection:
        rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(statement).mappings()
        for row in map(null_to_nan, rows):
            if "spec" in row:
                row["spec"] = json.loads(row["spec"])
            yield row
