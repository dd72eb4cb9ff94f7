"""Reads the looks that were made: verdicts on two sides while more seeds could still be trained."""

from __future__ import annotations

import json

import sqlalchemy as sa

from benchmark.results.read.rows import Row, fetch_table
from benchmark.results.records import LookRow
from benchmark.results.schema.tables import look
from benchmark.results.store.database import Database


def looks(database: Database, kind: str | None = None, campaign: str | None = None) -> list[LookRow]:
    """Reads looks, oldest first; of one kind and one campaign where these are named."""
    asked = [look.c[name] == value for name, value in (("kind", kind), ("campaign", campaign)) if value is not None]
    return [_look(row) for row in fetch_table(database, look, sa.and_(sa.true(), *asked))]


def _look(row: Row) -> LookRow:
    a, b = json.loads(row["executions"])
    return LookRow(**{**row, "executions": (tuple(a), tuple(b)), "details": json.loads(row["details"] or "{}")})
