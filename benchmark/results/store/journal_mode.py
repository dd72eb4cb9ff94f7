"""The journal of a SQLite file: entering and leaving WAL mode, and what an unclean end left behind."""

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
"""How long a clean end waits for readers to go before it leaves the `-wal` file to the next run."""


LONG_WAL_BYTES = 256 << 20
"""A `-wal` file of this size is no use to anybody: somebody has been reading for hours and keeps it from being emptied."""


def enter_wal(engine: sa.Engine, location: Location) -> None:
    """Switch the file to WAL mode, in which readers and the writer do not wait for each other.

    On a network file system it goes to a truncated rollback journal instead, with a warning: WAL needs memory that
    all programs share.

    Raises:
        StorageError: Another program kept the file from being switched for 30 seconds.
    """
    assert location.path is not None
    remote = network_file_system(location.path)
    if remote:
        log.warning(
            "%s is on a network file system (%s): readers and the run will wait for each other", location.name, remote
        )
    wanted = "truncate" if remote else "wal"
    deadline = time.monotonic() + BUSY_SECONDS
    # on the engine's own connection: it stays open, and with it the -wal file, until the clean end
    with closing(engine.raw_connection()) as connection:
        # SQLite does not wait by itself for readers in this one place
        while (found := _switch(connection, wanted)) != wanted:
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{location.name}: expected the journal mode {wanted}, got {found}: another program keeps it open "
                    "in the middle of reading. Close that program, and run again"
                )
            time.sleep(0.05)
        connection.cursor().execute("PRAGMA schema_version").fetchone()


def leave_wal(engine: sa.Engine, location: Location) -> None:
    """Close the engine and bring everything into the one file, so that it also opens in a read-only folder.

    While somebody still reads it this cannot be done: then the `-wal` file stays beside it and nothing is lost.
    """
    assert location.path is not None
    busy = True
    try:
        with closing(connect_sqlite(location, "rw")) as connection:
            connection.execute(f"PRAGMA busy_timeout={LEAVING_SECONDS * 1000}")
            # not before: the last connection to close deletes the -wal file, and without it a WAL database looks
            # as if it had lost rows
            connection.execute("PRAGMA schema_version").fetchone()
            engine.dispose()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if side_file(location.path, "-journal").exists():
                # of a network file system; only a change from this mode removes the file
                _switch(connection, "truncate")
            found = _switch(connection, "delete")
    except sqlite3.Error as error:
        found, busy = str(error), error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN
    if found != "delete":
        log.warning(
            "%s: %s, so that %s-wal stays beside it (%s)",
            location.name,
            "another program still has it open" if busy else "it could not be opened once more",
            location.name,
            found,
        )


def check_pages(connection: sqlite3.Connection, location: Location) -> None:
    """Look at every page of the file.

    Raises:
        StorageError: The file is damaged.
    """
    found = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise StorageError(
            f"{location.name}: the file is damaged ({'; '.join(found)}). It was not touched; put a backup in its place, "
            f"or save what can be read with: bench db salvage '{location.name}' rescued.sqlite"
        )


def warn_of_lost_wal(connection: sqlite3.Connection, location: Location, *, had_wal: bool) -> None:
    """Say when the newest rows may be missing: only an unclean end leaves the file in WAL mode.

    Args:
        connection: An open one.
        location: Of the file.
        had_wal: Whether the `-wal` file was there before the connection made one.
    """
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode == "wal" and not had_wal:
        log.warning(
            "%s was not closed cleanly, and its -wal file is missing: the newest rows may be lost. To copy a database "
            "while a run writes it, use: bench db backup",
            location.name,
        )


def warn_of_long_wal(location: Location) -> bool:
    """Say when a reader keeps the `-wal` file growing; returns whether it was said."""
    assert location.path is not None
    try:
        size = side_file(location.path, "-wal").stat().st_size
    except OSError:
        return False
    if size <= LONG_WAL_BYTES:
        return False
    log.warning(
        "%s-wal has grown to %d MiB, because another program has been reading the database for long without an end. "
        "Nothing is lost, and the file is emptied when the run ends; close that program to save the space",
        location.name,
        size >> 20,
    )
    return True


def is_frozen(path: Path) -> bool:
    """Whether the file cannot change: its folder is read-only and no `-wal` file holds newer rows."""
    return not os.access(path.parent, os.W_OK) and not side_file(path, "-wal").exists()


@contextmanager
def recovered(location: Location, *, immutable: bool) -> Iterator[sqlite3.Connection]:
    """A reading connection; first, when a writer died in the middle of a rollback journal, its change is undone."""
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
