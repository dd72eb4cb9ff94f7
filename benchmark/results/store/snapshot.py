"""Copies what a connection sees into a new file: whole, of one moment, and never by reading the database file."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import sqlalchemy as sa

from benchmark.errors import StorageError


def copy_into(connection: sa.Connection, destination: Path) -> None:
    """Copy what the connection sees into a new file, by way of a file aside that is renamed at the end.

    Raises:
        StorageError: The destination's folder cannot be written.
        sqlalchemy.exc.DBAPIError: SQLite could not copy.
    """
    aside = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}.part")
    raw = connection.connection.dbapi_connection
    assert raw is not None
    try:
        # on the driver's connection: SQLAlchemy would begin a transaction, in which SQLite does not copy
        raw.cursor().execute("VACUUM INTO ?", (str(aside),))
        sync(aside)
        aside.replace(destination)
        sync(destination.parent)
    except OSError as error:
        raise StorageError(f"{destination}: cannot be written: {error.strerror}. Give another path") from error
    finally:
        aside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
