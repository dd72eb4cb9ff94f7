"""SQLAlchemy engines and plain connections for SQLite and PostgreSQL, for the writer and for readers."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmark import faults
from benchmark.errors import StorageError, UserError
from benchmark.files import appearing
from benchmark.results.store.location import Location

SQLITE_VERSION = sqlite3.sqlite_version
"""Version of the library that Python uses, which need not be that of the `sqlite3` command."""

BUSY_SECONDS = 30.0
"""How long a connection waits for a lock that another program holds."""

HURRIED_SECONDS = 2.0
"""How long a writer waits for a lock after the user has asked the run to stop."""

_SLICE_SECONDS = 0.25
"""SQLite waits this long at a time: Python handles signals only in between."""

STEPS_AT_ONCE = 1_000_000
"""Instructions of SQLite's virtual machine between two calls of the progress handler."""

READING_STEPS = 50_000
"""How many times `STEPS_AT_ONCE` a reading transaction may take: about ten minutes. The queries of bench take a hundredth
of that for ten million epochs; a file that was crafted to keep its readers busy takes more."""

_PRAGMAS = (
    "PRAGMA foreign_keys=ON",
    # these three protect against crafted files (https://sqlite.org/security.html)
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA mmap_size=0",
)


class BusyTimeout:
    """How long a writer waits for a lock that another program holds.

    Attributes:
        is_hurried: Called while it waits: whether the run is to stop, so that `HURRIED_SECONDS` are enough.
    """

    def __init__(self) -> None:
        self.is_hurried: Callable[[], bool] = lambda: False

    def is_over(self, waited_seconds: float) -> bool:
        """Whether the writer gives up after this time."""
        return waited_seconds >= min(BUSY_SECONDS, HURRIED_SECONDS if self.is_hurried() else BUSY_SECONDS)


def writing_engine(location: Location, busy_timeout: BusyTimeout | None = None) -> sa.Engine:
    """Creates an engine whose transactions may write.

    SQLite transactions begin with `BEGIN IMMEDIATE`: a deferred one that reads first and then writes does not wait for
    a lock but fails at once (https://sqlite.org/lang_transaction.html).

    Raises:
        UserError: PostgreSQL is asked for and its driver is not installed.
    """
    if location.path is None:
        return _postgresql(location, read_only=False)
    engine = _sqlite(partial(connect_sqlite, location, "rwc"))
    sa.event.listen(engine, "begin", partial(_begin_immediate, busy_timeout or BusyTimeout()))
    return engine


def reading_engine(location: Location, *, immutable: bool = False) -> sa.Engine:
    """Creates an engine that cannot write: neither rows nor, on SQLite, checkpoints.

    Args:
        location: The database.
        immutable: Whether the file cannot change while it is read, so that SQLite needs no locks and no side files.

    Raises:
        UserError: PostgreSQL is asked for and its driver is not installed.
    """
    if location.path is None:
        return _postgresql(location, read_only=True)
    engine = _sqlite(partial(connect_sqlite, location, "ro", immutable=immutable))
    sa.event.listen(engine, "begin", _begin_deferred)
    return engine


def connect_sqlite(location: Location, mode: str, *, immutable: bool = False) -> sqlite3.Connection:
    """Opens a plain SQLite connection with bench's pragmas; `mode` is `ro`, `rw` or `rwc` (create)."""
    assert location.path is not None
    uri = f"{location.path.as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
    # isolation_level=None: the driver would begin transactions by itself, and not before every statement
    # (https://docs.python.org/3/library/sqlite3.html#sqlite3-controlling-transactions)
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if mode != "ro":
            # with NORMAL a power loss may undo commits of the WAL mode; FULL costs 0.1 ms, an epoch may be an hour
            connection.execute("PRAGMA synchronous=FULL")
            # 32 MiB: a hundred thousand cells are inserted without spilling pages to the disk
            connection.execute("PRAGMA cache_size=-32768")
        faults.point("db.open")
    except BaseException:
        connection.close()
        raise
    return connection


def driver_connection(connection: sa.Connection) -> Any:
    """Returns the driver's own connection below SQLAlchemy's, such as a `sqlite3.Connection`."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return driver


def copy_into(connection: sa.Connection, destination: Path) -> None:
    """Copies what a SQLite connection sees into a new file, which appears whole or not at all, with `VACUUM INTO`.

    Never by reading the database file: opening and closing it would drop this process's locks on it, see `location.py`.

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


def _sqlite(creator: Any) -> sa.Engine:
    return sa.create_engine("sqlite+pysqlite://", creator=creator, poolclass=sa.QueuePool, pool_size=1)


def _begin_immediate(busy_timeout: BusyTimeout, connection: sa.Connection) -> None:
    if connection.get_execution_options().get("reading", False):
        connection.exec_driver_sql("BEGIN")
        return
    raw = driver_connection(connection)
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
    left = itertools.count(READING_STEPS, -1)
    driver_connection(connection).set_progress_handler(lambda: next(left) <= 0, STEPS_AT_ONCE)
    connection.exec_driver_sql("BEGIN")


def _postgresql(location: Location, *, read_only: bool) -> sa.Engine:
    assert location.url is not None
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise UserError(
            "PostgreSQL needs its driver. Install it with: pip install 'benchmark-matrix[postgres]'"
        ) from error
    given = location.url.query
    value = given.get("options", ())
    options = [value] if isinstance(value, str) else list(value)
    if read_only:
        options.append("-c default_transaction_read_only=on")
    arguments: dict[str, Any] = {name: setting for name, setting in _PATIENCE.items() if name not in given}
    arguments |= {"application_name": "bench", "options": " ".join(options)}
    engine = sa.create_engine(location.url, pool_size=1, connect_args=arguments)
    sa.event.listen(engine, "checkin", _note_use)
    sa.event.listen(engine, "checkout", partial(_refuse_dead, engine))
    return engine


_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""When a server that keeps silent counts as gone: seconds, the last one milliseconds, where the address has no such words
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)."""

_UNUSED_SECONDS = 1.0
"""A connection that was not used for so long is asked whether the server is still there."""


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _refuse_dead(engine: sa.Engine, connection: Any, record: Any, _proxy: Any) -> None:
    """A server that was started anew meanwhile is no error: another connection takes the place of the dead one."""
    if time.monotonic() - record.info.get("used", time.monotonic()) < _UNUSED_SECONDS:
        return
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error as error:
        raise sa.exc.DisconnectionError from error
