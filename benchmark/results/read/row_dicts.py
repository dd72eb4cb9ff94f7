"""What the read side shares: selecting labelled columns, and rows as dictionaries with NaN restored."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.results.schema.nonfinite import restored
from benchmark.results.store.database import Database

Row = dict[str, Any]


def rows_of(table: sa.Table, condition: Any, *order: Any) -> sa.Select[Any]:
    """Whole rows of a table."""
    return sa.select(table).where(condition).order_by(*order)


def labelled(columns: dict[str, Any]) -> sa.Select[Any]:
    """Columns under the names that readers know them by."""
    return sa.select(*(column.label(name) for name, column in columns.items()))


def fetch(database: Database, statement: sa.Select[Any]) -> list[Row]:
    """All rows, in a reading transaction of their own."""
    with database.reading() as connection:
        return [restored(row) for row in connection.execute(statement).mappings()]
