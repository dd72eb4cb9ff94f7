"""Connections: how SQLite and PostgreSQL are spoken to, for one writer and for readers."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa

from benchmark.errors import UserError
from benchmark.results.store.location import Location

SQLITE_VERSION = sqlite3.sqlite_version
"""Of the library that Python uses, which need not be that of the `sqlite3` command."""

BUSY_SECONDS = 30.0
"""How long a connection waits for a lock that another program holds."""

HURRIED_SECONDS = 2.0
"""How long a writer waits for one when somebody wants it to end."""

_SLICE_SECONDS = 0.25
"""After so much waiting Python may run: only then it hears a signal."""

READING_STEPS = 50_000
"""So many times `STEPS_AT_ONCE` steps of SQLite's machine one reading transaction may take: ten minutes or so. What
bench asks of ten million epochs takes a hundredth of that; a file that was made to keep its reader busy takes more."""

STEPS_AT_ONCE = 1_000_000

_PRAGMAS = (
    "PRAGMA foreign_keys=ON",
    # a database may come from somebody else: its views and triggers get no dangerous functions
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA mmap_size=0",
)


class BusyTimeout:
    """How a writer waits for a lock that another program holds.

    Attributes:
        is_hurried: Asked while it waits: whether somebody wants it to end, so that `HURRIED_SECONDS` are enough.
    """

    def __init__(self) -> None:
        self.is_hurried: Callable[[], bool] = lambda: False

    def is_over(self, waited: float) -> bool:
        """Whether so many seconds of waiting are enough."""
        return waited >= min(BUSY_SECONDS, HURRIED_SECONDS if self.is_hurried() else BUSY_SECONDS)


def writing_engine(location: Location, busy_timeout: BusyTimeout | None = None) -> sa.Engine:
    """An engine whose transactions may write.

    SQLite transactions begin with `BEGIN IMMEDIATE`: one that reads first and writes then would not wait for a lock,
    but fail at once.

    Raises:
        UserError: PostgreSQL is asked for and its driver is not installed.
    """
    if location.path is None:
        return _postgresql(location, read_only=False)
    engine = _sqlite(partial(connect_sqlite, location, "rwc"))
    sa.event.listen(engine, "begin", partial(_begin_immediate, busy_timeout or BusyTimeout()))
    return engine


def reading_engine(location: Location, *, immutable: bool = False) -> sa.Engine:
    """An engine that cannot write: neither rows nor, on SQLite, checkpoints.

    Args:
        location: Where the database is.
        immutable: The file cannot change while it is read, so that SQLite needs no locks and no files beside it.

    Raises:
        UserError: PostgreSQL is asked for and its driver is not installed.
    """
    if location.path is None:
        return _postgresql(location, read_only=True)
    engine = _sqlite(partial(connect_sqlite, location, "ro", immutable=immutable))
    sa.event.listen(engine, "begin", _begin_deferred)
    return engine


def connect_sqlite(location: Location, mode: str, *, immutable: bool = False) -> sqlite3.Connection:
    """A plain connection with our pragmas; `mode` is `ro`, `rw` or `rwc` (create)."""
    assert location.path is not None
    address = f"{location.path.as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
    # isolation_level=None: transactions begin where we say so, not where Python's driver guesses
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if mode != "ro":
            # each commit reaches the disk: 0.1 ms more than NORMAL, and an epoch may be an hour of GPU time
            connection.execute("PRAGMA synchronous=FULL")
            # 32 MiB: a hundred thousand cells are entered without pages going to the disk and back
            connection.execute("PRAGMA cache_size=-32768")
    except BaseException:
        connection.close()
        raise
    return connection


def _sqlite(creator: Any) -> sa.Engine:
    return sa.create_engine("sqlite+pysqlite://", creator=creator, poolclass=sa.QueuePool, pool_size=1)


def _begin_immediate(busy_timeout: BusyTimeout, connection: sa.Connection) -> None:
    if connection.get_execution_options().get("reading", False):
        connection.exec_driver_sql("BEGIN")
        return
    raw = connection.connection.dbapi_connection
    assert raw is not None
    begun = time.monotonic()
    raw.execute(f"PRAGMA busy_timeout={_SLICE_SECONDS * 1000:.0f}")
    try:
        while not _has_begun(connection, final=busy_timeout.is_over(time.monotonic() - begun)):
            continue
    finally:
        raw.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")


def _has_begun(connection: sa.Connection, *, final: bool) -> bool:
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except sa.exc.OperationalError as error:
        if final or getattr(error.orig, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _begin_deferred(connection: sa.Connection) -> None:
    raw = connection.connection.dbapi_connection
    assert raw is not None
    left = itertools.count(READING_STEPS, -1)
    raw.set_progress_handler(lambda: next(left) <= 0, STEPS_AT_ONCE)
    connection.exec_driver_sql("BEGIN")


def _postgresql(location: Location, *, read_only: bool) -> sa.Engine:
    assert location.url is not None
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise UserError(
            "PostgreSQL needs its driver. Install it with: pip install 'benchmark-matrix[postgres]'"
        ) from error
    given = location.url.query.get("options", ())
    options = [given] if isinstance(given, str) else list(given)
    if read_only:
        options.append("-c default_transaction_read_only=on")
    return sa.create_engine(
        location.url,
        pool_size=1,
        connect_args={"application_name": "bench", "connect_timeout": 10, "options": " ".join(options)},
    )
