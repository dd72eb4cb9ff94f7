"""Marks executions that reports are to leave out, `execution.forgotten`; nothing is deleted, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from benchmark.results.schema.tables import execution
from benchmark.results.store.database import Database


def mark_forgotten(database: Database, execution_ids: Iterable[int], *, forgotten: bool) -> None:
    """Mark executions as forgotten, or as counting again, all of them or none. The caller holds `lock_database`.

    Raises:
        StorageError: The database cannot be written.
    """
    number: sa.BindParameter[int] = sa.bindparam("number")
    change = execution.update().where(execution.c.execution_id == number).values(forgotten=forgotten)
    marked = [{"number": each} for each in sorted(set(execution_ids))]
    with database.transaction() as connection:
        connection.execute(change, marked)
