"""Copies an open database into a new file, for `bench db backup`."""

from __future__ import annotations

import os
from pathlib import Path

from benchmark.errors import UserError
from benchmark.results.store.database import Database
from benchmark.results.store.engine import copy_into
from benchmark.results.store.location import check_absent
from benchmark.results.store.storage_errors import storage_errors


def backup(database: Database, destination: str | os.PathLike[str]) -> Path:
    """Copies an open SQLite database, which a run may be writing to, as `copy_into` does; returns the path of the copy.

    Raises:
        StorageError: The disk is full, or the destination's folder cannot be written.
        UserError: Something is at the destination, or the database is on a PostgreSQL server.
    """
    path = Path(destination)
    if database.path is None:
        raise UserError(f"{database.display_name}: only files are copied here. Use PostgreSQL's own tool: pg_dump")
    check_absent(path, str(path))
    with storage_errors(str(path)), database.engine.connect() as connection:
        copy_into(connection, path)
    return path
