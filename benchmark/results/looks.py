"""Looks, verdicts on two sides while more seeds could still be trained: as they are recorded and read."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import sqlalchemy as sa

from benchmark.results.read.rows import Row, fetch_table
from benchmark.results.records import LookRow
from benchmark.results.schema.tables import look
from benchmark.results.store.database import Database
from benchmark.results.write.recorder import utc_now
from benchmark.results.write.registration import inserted_id


def record_look(database: Database, row: LookRow) -> LookRow:
    """Inserts a look; returns it with its number and time. The caller holds `lock_database`.

    Raises:
        StorageError: The database cannot be written.
    """
    row = replace(row, looked_utc=utc_now())
    values = {**asdict(row), "executions": json.dumps(row.executions), "details": json.dumps(dict(row.details))}
    del values["look_id"]
    with database.transaction() as connection:
        return replace(row, look_id=inserted_id(connection, look.insert().values(**values)))


def looks(database: Database, kind: str | None = None, campaign: str | None = None) -> list[LookRow]:
    """Reads looks, oldest first; of one kind and one campaign where these are named."""
    asked = [look.c[name] == value for name, value in (("kind", kind), ("campaign", campaign)) if value is not None]
    return [_look(row) for row in fetch_table(database, look, sa.and_(sa.true(), *asked))]


def _look(row: Row) -> LookRow:
    a, b = json.loads(row["executions"])
    return LookRow(**{**row, "executions": (tuple(a), tuple(b)), "details": json.loads(row["details"] or "{}")})
