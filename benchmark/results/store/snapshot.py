"""Copies what a connection sees into a new file: whole, of one moment, and never by reading the database file."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from benchmark.errors import StorageError
from benchmark.files import appearing


def copy_into(connection: sa.Connection, destination: Path) -> None:
    """Copy what the connection sees into a new file, by way of a file aside that is renamed at the end.

    Raises:
        StorageError: The destination's folder cannot be written.
        sqlalchemy.exc.DBAPIError: SQLite could not copy.
    """
    raw = connection.connection.dbapi_connection
    assert raw is not None
    try:
        with appearing(destination) as aside:
            # on the driver's connection: SQLAlchemy would begin a transaction, in which SQLite does not copy
            raw.cursor().execute("VACUUM INTO ?", (str(aside),))
    except OSError as error:
        raise StorageError(f"{destination}: cannot be written: {error.strerror}. Give another path") from error
