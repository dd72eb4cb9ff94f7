"""The clock of the database, by which leases are given and judged: those of the computers may differ."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class DatabaseTime(FunctionElement[str]):
    """The time so many seconds from now, in SQL: text as in all columns `…_utc`, so that it sorts by time.

    It is the time of the statement: that of its transaction may be older, by what it has waited for a lock.
    """

    type = sa.Text()
    inherit_cache = True

    def __init__(self, seconds_from_now: float = 0.0) -> None:
        super().__init__(sa.literal(float(seconds_from_now), sa.Double))


@compiles(DatabaseTime, "sqlite")
def _sqlite(element: DatabaseTime, compiler: Any, **options: Any) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', {compiler.process(element.clauses, **options)} || ' seconds')"


@compiles(DatabaseTime, "postgresql")
def _postgresql(element: DatabaseTime, compiler: Any, **options: Any) -> str:
    later = f"make_interval(secs => {compiler.process(element.clauses, **options)})"
    return f"""to_char(clock_timestamp() AT TIME ZONE 'UTC' + {later}, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
