"""Records looks: verdicts on two sides while more seeds could still be trained."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

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
