"""The lock of a database on a server: an advisory lock of PostgreSQL, which ends with the session that holds it.

That session may end before its process does, when the server is started anew or a network fails. So whoever holds the
lock looks before each write whether it still does, and takes it again, or writes nothing any more.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC

import sqlalchemy as sa

from benchmark.errors import BusyError, StorageError
from benchmark.results.schema.tables import APPLICATION_ID
from benchmark.results.store.engine import driver_connection, writing_engine
from benchmark.results.store.location import Location
from benchmark.results.store.storage_errors import storage_errors

POLL_SECONDS = 0.2
"""How often a run with `--wait` tries again."""

GHOST_SECONDS = 5.0
"""How long the server may take to end our own session of before, whose connection was lost."""

_SCHEMA_KEY = sa.func.hashtext(sa.func.current_schema())
"""The second key separates schemas of one database that several projects may share."""

_KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""So that the server frees the lock of a computer that is gone within half a minute; without meaning on a local socket."""

_held: dict[sa.URL, ServerLock] = {}
"""The locks of this process, by the address of the database."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a database; its description stays in the lock file after it has ended."""

    pid: int
    host: str
    boot_id: str
    started_utc: str
    command: str

    def describe(self) -> str:
        since = f", since {self.started_utc}" if self.started_utc else ""
        return f"process {self.pid} on {self.host}{since}: {self.command}"


def busy(location: Location, holder: Holder | None) -> BusyError:
    """The error of whoever finds the database held."""
    who = holder.describe() if holder else "a process that has not said who it is"
    return BusyError(
        f"{location.name}: another bench run holds this database: {who}. "
        "Wait for it to end, stop it, or give another path with --db"
    )


@contextmanager
def server_lock(location: Location, *, wait: bool) -> Iterator[None]:
    """Holds a database on a server until the block ends, as `lock_database`."""
    assert location.url is not None
    lock = ServerLock(location)
    try:
        lock.take(wait=wait)
        _held[location.url] = lock
        yield
    finally:
        _held.pop(location.url, None)
        lock.release()


def lock_of(location: Location) -> ServerLock | None:
    """The lock that this process holds on a database; None when it holds none, as a node of a cluster."""
    return None if location.url is None else _held.get(location.url)


class ServerLock:
    """An advisory lock in a session of its own, which is looked after by `keep`."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._engine = writing_engine(location)
        self._connection: sa.Connection | None = None
        self._session: tuple[int, str] | None = None
        self._is_doubtful = False

    def take(self, *, wait: bool = False) -> None:
        """Takes the lock.

        Raises:
            BusyError: Another process holds it, and `wait` does not ask to wait for it.
            StorageError: The server does not answer, or has no schema of that name.
        """
        key = sa.select(sa.func.pg_try_advisory_lock(APPLICATION_ID, _SCHEMA_KEY))
        # PostgreSQL truncates application_name to 63 bytes
        settings = {**_KEEPALIVE, "application_name": f"bench {os.getpid()} {socket.gethostname()}"[:63]}
        with storage_errors(self._location.name):
            connection = self._connect()
            ghost_until = time.monotonic() + GHOST_SECONDS
            while not (answer := connection.scalar(key)):
                if answer is None:
                    self._drop()
                    raise StorageError(
                        f"{self._location.name}: the schema of the address is not there, or this user may not use it. Let the "
                        "owner of the database say: CREATE SCHEMA NAME AUTHORIZATION USER"
                    )
                row = _holding_session(connection)
                if row is not None and (row.pid, str(row.backend_start)) == self._session:
                    # our own session of before, which the server still believes in
                    connection.scalar(sa.select(sa.func.pg_terminate_backend(row.pid)))
                    wait = time.monotonic() < ghost_until
                if not wait:
                    # what is left is a session without the lock
                    self._drop()
                    raise busy(self._location, _holder(row))
                time.sleep(POLL_SECONDS)
            connection.execute(sa.select(*(sa.func.set_config(*each, False) for each in settings.items())))
            own = _holding_session(connection)
        self._session = None if own is None else (own.pid, str(own.backend_start))
        self._is_doubtful = False

    def keep(self) -> None:
        """Makes sure before a write that the lock is still held: takes it again when its session has ended.

        Raises:
            BusyError: Another process has it now.
            StorageError: The server does not answer.
        """
        if self._is_doubtful or not self._is_quiet():
            try:
                self._require_session()
            except (sa.exc.DBAPIError, sa.exc.InvalidRequestError):
                self.take()
            self._is_doubtful = False

    def doubt(self) -> None:
        """The server was away: the session may have ended without a word of it reaching this computer."""
        self._is_doubtful = True

    def release(self) -> None:
        """Lets go of the lock; nothing happens when the server is away."""
        if self._connection is not None:
            # the server notices the end of a session later
            with contextlib.suppress(sa.exc.DBAPIError, sa.exc.InvalidRequestError):
                self._connection.scalar(sa.select(sa.func.pg_advisory_unlock(APPLICATION_ID, _SCHEMA_KEY)))
            self._drop()
        self._engine.dispose()

    def _connect(self) -> sa.Connection:
        self._drop()
        self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            # closed, not given back to the pool: the lock would live on in it
            with contextlib.suppress(sa.exc.DBAPIError, sa.exc.InvalidRequestError):
                self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _is_quiet(self) -> bool:
        """Whether nothing has come from the server, whose end would be heard at once; this asks nobody and takes no time."""
        if self._connection is None or self._connection.invalidated:
            return False
        descriptor = driver_connection(self._connection).pgconn.socket
        return descriptor >= 0 and not select.select([descriptor], [], [], 0)[0]

    def _require_session(self) -> None:
        if self._connection is None or self._connection.invalidated:
            raise sa.exc.InvalidRequestError("the session of the lock is gone")
        self._connection.scalar(sa.select(1))


def is_held(connection: sa.Connection) -> bool:
    """Whether any session holds the lock of this database and schema on a server: whether a run is at work."""
    return _holding_session(connection) is not None


def _holding_session(connection: sa.Connection) -> sa.Row[tuple[int, str, object]] | None:
    return connection.exec_driver_sql(
        "SELECT activity.pid, activity.application_name, activity.backend_start FROM pg_locks AS held "
        "JOIN pg_stat_activity AS activity ON activity.pid = held.pid "
        # other databases of the server, and other schemas of this one, have runs of their own
        "WHERE held.locktype = 'advisory' AND held.granted AND held.classid = %s AND held.objsubid = 2 "
        "AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        # object ids are unsigned, the key is not
        "AND held.objid = (hashtext(current_schema())::bigint & 4294967295)::oid",
        (APPLICATION_ID,),
    ).first()


def _holder(row: sa.Row[tuple[int, str, object]] | None) -> Holder | None:
    if row is None:
        return None
    _, pid, host = (*str(row.application_name).split(" ", 2), "", "")[:3]
    # of the sessions of another user the server tells the names alone
    since = row.backend_start.astimezone(UTC).isoformat(timespec="seconds") if row.backend_start else ""
    return Holder(int(pid or 0), host or "unknown", "", since, "bench run")
