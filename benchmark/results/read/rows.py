"""What the read side shares: selecting labelled columns, and rows as dictionaries with NaN restored."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.results.schema.nan_values import null_to_nan
from benchmark.results.store.database import Database

Row = dict[str, Any]


def select_rows(table: sa.Table, condition: Any, *order: Any) -> sa.Select[Any]:
    """Whole rows of a table."""
    return sa.select(table).where(condition).order_by(*order)


def select_columns(columns: dict[str, Any]) -> sa.Select[Any]:
    """Columns under the names that readers know them by."""
    return sa.select(*(column.label(name) for name, column in columns.items()))


def fetch_rows(database: Database, statement: sa.Select[Any]) -> list[Row]:
    """All rows, in a reading transaction of their own."""
    with database.reading() as connection:
        return [null_to_nan(row) for row in connection.execute(statement).mappings()]
