"""Copies the snapshot that a SQLite connection sees into a new file, with `VACUUM INTO`; for `bench db backup`, too.

Never by reading the database file: opening and closing it would drop this process's locks on it, see `location.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmark.errors import StorageError, UserError
from benchmark.files import appearing
from benchmark.results.store.engine import driver_connection
from benchmark.results.store.storage_errors import storage_errors

if TYPE_CHECKING:
    from benchmark.results.store.database import Database


def copy_into(connection: sa.Connection, destination: Path) -> None:
    """Copies what the connection sees into a new file, which appears whole or not at all.

    Raises:
        StorageError: The destination's folder cannot be written.
        sqlalchemy.exc.DBAPIError: SQLite could not copy.
    """
    try:
        with appearing(destination) as aside:
            # on the driver's connection: SQLAlchemy would begin a transaction, and SQLite refuses VACUUM inside one
            # (https://sqlite.org/lang_vacuum.html)
            driver_connection(connection).cursor().execute("VACUUM INTO ?", (str(aside),))
    except OSError as error:
        raise StorageError(f"{destination}: cannot be written: {error.strerror}. Give another path") from error


def backup(database: Database, destination: str | os.PathLike[str]) -> Path:
    """Copies an open SQLite database, which a run may be writing to, as `copy_into` does; returns the path of the copy.

    Raises:
        StorageError: The disk is full, or the destination's folder cannot be written.
        UserError: Something is at the destination, or the database is on a PostgreSQL server.
    """
    path = Path(destination)
    if database.path is None:
        raise UserError(f"{database.display_name}: only files are copied here. Use PostgreSQL's own tool: pg_dump")
    if path.exists() or path.is_symlink():
        raise UserError(f"{path}: expected a path where nothing is, found a file. Give another path")
    with storage_errors(str(path)), database.engine.connect() as connection:
        copy_into(connection, path)
    return path
