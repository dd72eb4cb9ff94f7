"""What a database driver says, turned into errors that name the cure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from benchmark.errors import StorageError

_SQLITE_CURES = {
    sqlite3.SQLITE_FULL: "the disk is full. Nothing that was recorded is lost; free some space and run again",
    sqlite3.SQLITE_BUSY: "another program has kept it locked for 30 seconds. Close programs that hold a transaction "
    "open in it, and run again",
    sqlite3.SQLITE_LOCKED: "another program has kept it locked. Close programs that have it open, and run again",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database. It was not touched; give another path with --db",
    sqlite3.SQLITE_CORRUPT: "the file is damaged. It was not touched; put a backup in its place, or save what can be "
    "read with SQLite's own shell: sqlite3 FILE .recover | sqlite3 rescued.sqlite",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened. If its folder is read-only and a `-wal` file lies beside it, "
    "copy all of them to a folder that can be written",
    sqlite3.SQLITE_READONLY: "the file cannot be written. Change its permissions, or give another path with --db",
    sqlite3.SQLITE_IOERR: "the disk gave an error while it was read or written. Nothing that was recorded is lost; "
    "check the disk and its free space, and run again",
    sqlite3.SQLITE_PERM: "access is denied. Change its permissions, or give another path with --db",
}


@contextmanager
def storage_errors(name: str) -> Iterator[None]:
    """Turn the driver's errors about the file, the disk or the server into `StorageError`.

    What is left alone are mistakes in our own SQL and broken constraints: those are defects and show their traceback.

    Raises:
        StorageError: Of the database called `name`, with the driver's words and the cure.
    """
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cure = cure_of(error)
        if cure is None:
            raise
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise StorageError(f"{name}: {cure} ({str(original).strip()})") from error


def cure_of(error: sa.exc.DBAPIError | sqlite3.Error) -> str | None:
    """What happened and what to do, in words; None when the error is not about storage."""
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        # the low byte is the kind of error, the rest says more about it
        code = getattr(original, "sqlite_errorcode", 0) & 0xFF
        return _SQLITE_CURES.get(code)
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
        return "the server does not answer or has ended the connection. Check it, and run again"
    return None
