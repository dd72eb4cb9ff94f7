"""Turns the errors of the database drivers into `StorageError`s that name the cause and the cure."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from benchmark import machine
from benchmark.errors import BenchError, DiskError, ServerError, StorageError, UserError
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
    sqlite3.SQLITE_INTERRUPT: "reading it took far longer than its size explains, and was stopped. A file from somebody "
    "else may have been made to do that; ask for less, or with a time limit: bench query --timeout 60",
    sqlite3.SQLITE_PERM: "access is denied. Change its permissions, or give another path with --db",
}

_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}

_NO_ANSWER = (
    "the server does not answer or has ended the connection. Check that it runs, and the host and port of the address; "
    "nothing that was recorded is lost"
)
_REFUSED_CONNECTIONS: tuple[tuple[str, type[BenchError], str], ...] = (
    (
        (
            r"connection option|bad value for|invalid (\w+ )?(value|port)|definition of service|service file|"
            r"unrecognized configuration parameter|invalid command-line argument"
        ),
        UserError,
        (
            "the address cannot be used as it is. Correct what follows the question mark in it: parameters of libpq "
            "(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)"
        ),
    ),
    (
        r"does not support SSL|SSL was required|certificate|alert unknown ca",
        StorageError,
        "server and address do not agree on encryption. Check sslmode and the certificates in the address, or the server's",
    ),
    (
        r"failed to resolve host|translate host name",
        ServerError,
        "no computer of that name is known. Check the host in the address",
    ),
    (
        r'role ".*" does not exist|password|authentication|pg_hba',
        StorageError,
        "the server refuses the user or the password. Check both in the address; a password may stand in ~/.pgpass instead",
    ),
    (
        r'database ".*" does not exist',
        StorageError,
        "the server has no such database. Check the name in the address, or make it with: createdb NAME",
    ),
)
"""What a server, or the driver, says when no connection comes about; there is no error code then."""

_SERVER_CURES: dict[str, tuple[type[StorageError], str]] = {
    "53100": (
        DiskError,
        "the disk of the server is full. Nothing that was recorded is lost; free some space and run again",
    ),
    "53300": (
        ServerError,
        "the server has no connection left. Close programs that use it, or raise its max_connections",
    ),
    "25006": (
        ServerError,
        "the server takes no changes: it may be a copy of another one. Give the address of that one",
    ),
    "42501": (
        StorageError,
        (
            "the user may not do this. Let the owner of the database say: GRANT ALL ON SCHEMA public TO the user; and where "
            "another user has made the tables: GRANT ALL ON ALL TABLES IN SCHEMA public TO the user, and the same for ALL "
            "SEQUENCES (to read, GRANT SELECT is enough)"
        ),
    ),
}
"""By the error code of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""


@contextmanager
def storage_errors(name: str, path: Path | None = None) -> Iterator[None]:
    """Turns the driver's errors about the file, the disk or the server into `StorageError`.

    Errors in bench's own SQL and violated constraints pass: they are defects and show their traceback.

    Args:
        name: The database's name in messages.
        path: Of a SQLite file; with it, a message about a lock names the programs that hold it.

    Raises:
        DiskError: The disk is full or gave an error.
        ServerError: The server does not answer.
        StorageError: Any other error of storage, with the driver's words and the cure.
        UserError: The address of the server says what the driver or the server does not know.
    """
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        problem = storage_problem(error)
        if problem is None:
            raise
        kind, cure = problem
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        is_locked = _code(original) == sqlite3.SQLITE_BUSY
        holders = machine.lock_holders([path, side_file(path, "-shm")]) if path is not None and is_locked else []
        held_by = f"; held by {', '.join(holders)}" if holders else ""
        cure = cure.replace("FILE", f"'{name}'")
        said = " ".join(str(original).split())
        raise kind(f"{name}: {cure} ({said}{held_by})") from error
    except UnicodeDecodeError as error:
        # where the schema itself is damaged, the driver fails to decode its own error message
        cure = _SQLITE_CURES[sqlite3.SQLITE_CORRUPT].replace("FILE", f"'{name}'")
        raise StorageError(f"{name}: {cure} ({error})") from error


def storage_problem(error: sa.exc.DBAPIError | sqlite3.Error) -> tuple[type[BenchError], str] | None:
    """The kind of a driver's error, and its cause and cure in words; None when it is not about storage."""
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        # raised by Python's driver itself, without an error code of SQLite
        code = sqlite3.SQLITE_CORRUPT if "decode to UTF-8" in str(original) else _code(original)
        cure = _SQLITE_CURES.get(code)
        return None if cure is None else (DiskError if code in _DISK else StorageError, cure)
    state = getattr(original, "sqlstate", None)
    if state in _SERVER_CURES:
        return _SERVER_CURES[state]
    if state is None and isinstance(error, sa.exc.DBAPIError) and error.statement is None:
        for said, kind, cure in _REFUSED_CONNECTIONS:
            if re.search(said, str(original)):
                return kind, cure
    is_gone = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    if not is_gone and not isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
        return None
    return ServerError, _NO_ANSWER


def _code(error: object) -> int:
    # the low byte is the primary result code, the rest extends it (https://sqlite.org/rescode.html)
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
