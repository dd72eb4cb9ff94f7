"""Switches a SQLite file between rollback and WAL mode, and deals with the side files of a writer that was killed.

The modes are described at https://sqlite.org/wal.html and https://sqlite.org/pragma.html#pragma_journal_mode.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmark.errors import StorageError
from benchmark.results.store.engine import BUSY_SECONDS, connect_sqlite
from benchmark.results.store.location import Location, network_file_system, side_file

log = logging.getLogger(__name__)

LEAVING_SECONDS = 2
"""How long closing waits for readers to finish before it leaves the `-wal` file to the next run."""

LONG_WAL_BYTES = 256 << 20
"""A `-wal` file of this size means that a reader has kept SQLite from emptying it for hours."""


def enter_wal(engine: sa.Engine, location: Location) -> None:
    """Switches the file to WAL mode, in which readers and the writer do not wait for each other.

    On a network file system a truncated rollback journal is used instead, with a warning: WAL needs shared memory.

    Raises:
        StorageError: Another program prevented the switch for `BUSY_SECONDS`.
    """
    assert location.path is not None
    remote = network_file_system(location.path)
    if remote:
        log.warning(
            "%s is on a network file system (%s): readers and the run will wait for each other", location.name, remote
        )
    wanted = "truncate" if remote else "wal"
    deadline = time.monotonic() + BUSY_SECONDS
    # on the engine's pooled connection: it stays open, and with it the -wal file, until the database is closed
    with closing(engine.raw_connection()) as connection:
        # changing the journal mode does not wait for readers, whatever the busy timeout
        while (mode := _switch(connection, wanted)) != wanted:
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{location.name}: expected the journal mode {wanted}, got {mode}: another program keeps it open "
                    "in the middle of reading. Close that program, and run again"
                )
            time.sleep(0.05)
        connection.cursor().execute("PRAGMA schema_version").fetchone()


def leave_wal(engine: sa.Engine, location: Location) -> None:
    """Closes the engine and moves everything into the database file, so that it also opens in a read-only folder.

    While another program still reads, that is impossible: the `-wal` file stays beside it, and nothing is lost.
    """
    assert location.path is not None
    busy = True
    try:
        with closing(connect_sqlite(location, "rw")) as connection:
            connection.execute(f"PRAGMA busy_timeout={LEAVING_SECONDS * 1000}")
            # a connection must be open here: the last one to close deletes the -wal file, and a file in WAL mode
            # without it looks as if it had lost rows
            connection.execute("PRAGMA schema_version").fetchone()
            engine.dispose()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if side_file(location.path, "-journal").exists():
                # left by the truncate mode of network file systems; only a change from that mode removes it
                _switch(connection, "truncate")
            mode = _switch(connection, "delete")
    except sqlite3.Error as error:
        mode, busy = str(error), error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN
    if mode != "delete":
        log.warning(
            "%s: %s, so that %s-wal stays beside it (%s)",
            location.name,
            "another program still has it open" if busy else "it could not be opened once more",
            location.name,
            mode,
        )


def warn_of_lost_wal(connection: sqlite3.Connection, location: Location, *, had_wal: bool) -> None:
    """Logs a warning when the newest rows may be missing: only a killed writer leaves the file in WAL mode.

    `had_wal`: whether the `-wal` file existed before the connection created one.
    """
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode == "wal" and not had_wal:
        log.warning(
            "%s was not closed cleanly, and its -wal file is missing: the newest rows may be lost. To copy a database "
            "while a run writes it, use: bench db backup",
            location.name,
        )


def warn_of_long_wal(location: Location) -> bool:
    """Logs a warning when a reader keeps the `-wal` file growing; returns whether it did."""
    assert location.path is not None
    try:
        size = side_file(location.path, "-wal").stat().st_size
    except OSError:
        return False
    if size <= LONG_WAL_BYTES:
        return False
    log.warning(
        "%s-wal has grown to %d MiB, because another program has kept reading the database for a long time. "
        "Nothing is lost, and the file is emptied when the run ends; close that program to save the space",
        location.name,
        size >> 20,
    )
    return True


def is_frozen(path: Path) -> bool:
    """Whether the file cannot change: its folder is read-only, and no `-wal` file holds newer rows.

    Only then may SQLite open it with `immutable=1` (https://sqlite.org/uri.html#uriimmutable).
    """
    return not os.access(path.parent, os.W_OK) and not side_file(path, "-wal").exists()


@contextmanager
def recovered(location: Location, *, immutable: bool) -> Iterator[sqlite3.Connection]:
    """Gives a reading connection, after rolling back the hot journal of a writer that was killed.

    A read-only connection cannot do that itself (https://sqlite.org/rescode.html#readonly_rollback).
    """
    assert location.path is not None
    with closing(connect_sqlite(location, "ro", immutable=immutable)) as connection:
        try:
            connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            with closing(connect_sqlite(location, "rw")) as writer:
                writer.execute("PRAGMA schema_version").fetchone()
        yield connection


def _switch(connection: Any, wanted: str) -> str:
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA journal_mode={wanted}")
        return str(cursor.fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return str(error)
    finally:
        cursor.close()
