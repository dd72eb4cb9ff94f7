"""Copies the snapshot that a SQLite connection sees into a new file, with `VACUUM INTO`.

Never by reading the database file: opening and closing it would drop this process's locks on it, see `location.py`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from benchmark.errors import StorageError
from benchmark.files import appearing
from benchmark.results.store.engine import driver_connection


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
