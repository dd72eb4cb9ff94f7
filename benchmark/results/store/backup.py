"""Copying a database while it is in use: whole, of one moment, and never by reading the file."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from benchmark.errors import StorageError, UserError
from benchmark.results.store.storage_errors import storage_errors

if TYPE_CHECKING:
    from benchmark.results.store.database import Database


def backup(database: Database, destination: str | os.PathLike[str]) -> Path:
    """Copy the database to a new file, which appears whole or not at all.

    Args:
        database: An open SQLite database; a run may be writing to it.
        destination: Path of the copy; nothing may be there.

    Returns:
        The path of the copy.

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
