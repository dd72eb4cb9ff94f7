"""What a database driver says, turned into errors that name the cure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from benchmark import machine
from benchmark.errors import DiskError, StorageError
from benchmark.results.store.location import side_file

_SQLITE_CURES = {
    sqlite3.SQLITE_FULL: "the disk is full. Nothing that was recorded is lost; free some space and run again",
    sqlite3.SQLITE_BUSY: "another program has kept it locked for 30 seconds. Close programs that hold a transaction "
    "open in it, and run again",
    sqlite3.SQLITE_LOCKED: "another program has kept it locked. Close programs that have it open, and run again",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database. It was not touched; give another path with --db, "
    "or, if it was one before, save what can be read with: bench db salvage FILE rescued.sqlite",
    sqlite3.SQLITE_CORRUPT: "the file is damaged. It was not touched; put a backup in its place, or save what can be "
    "read with: bench db salvage FILE rescued.sqlite",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened. If its folder is read-only and a `-wal` file lies beside it, "
    "copy all of them to a folder that can be written",
    sqlite3.SQLITE_READONLY: "the file cannot be written. Change its permissions, or give another path with --db",
    sqlite3.SQLITE_IOERR: "the disk gave an error while it was read or written. Nothing that was recorded is lost; "
    "check the disk and its free space, and run again",
    sqlite3.SQLITE_INTERRUPT: "reading it took far longer than its size explains, and was broken off. A file from somebody "
    "else may have been made to do that; ask for less, or with a time limit: bench query --timeout 60",
    sqlite3.SQLITE_PERM: "access is denied. Change its permissions, or give another path with --db",
}


_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


@contextmanager
def storage_errors(name: str, path: Path | None = None) -> Iterator[None]:
    """Turn the driver's errors about the file, the disk or the server into `StorageError`.

    With the `path` of a SQLite file, a message about a lock names the programs that hold it.

    What is left alone are mistakes in our own SQL and broken constraints: those are defects and show their traceback.

    Raises:
        DiskError: The disk is full or gave an error.
        StorageError: Of the database called `name`, with the driver's words and the cure.
    """
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cure = cure_of(error)
        if cure is None:
            raise
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        kind = DiskError if _code(original) in _DISK else StorageError
        holders = _holders(path) if _code(original) == sqlite3.SQLITE_BUSY else ""
        cure = cure.replace("FILE", f"'{name}'")
        raise kind(f"{name}: {cure} ({str(original).strip()}{holders})") from error
    except UnicodeDecodeError as error:
        # where the schema itself is damaged, the driver fails at its own message
        cure = _SQLITE_CURES[sqlite3.SQLITE_CORRUPT].replace("FILE", f"'{name}'")
        raise StorageError(f"{name}: {cure} ({error})") from error


def cure_of(error: sa.exc.DBAPIError | sqlite3.Error) -> str | None:
    """What happened and what to do, in words; None when the error is not about storage."""
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        # the driver's own finding, without a code of SQLite's
        code = sqlite3.SQLITE_CORRUPT if "decode to UTF-8" in str(original) else _code(original)
        return _SQLITE_CURES.get(code)
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
        return "the server does not answer or has ended the connection. Check it, and run again"
    return None


def _code(error: object) -> int:
    # the low byte is the kind of error, the rest says more about it
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _holders(path: Path | None) -> str:
    files = [] if path is None else [path, side_file(path, "-shm")]
    found = machine.lock_holders(files)
    return f"; held by {', '.join(found)}" if found else ""
