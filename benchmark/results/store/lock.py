"""Lets one `bench run` at a time write a database, by a lock of the kernel or the server that ends with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from benchmark import layout, machine
from benchmark.errors import BusyError, StorageError
from benchmark.results.schema.tables import APPLICATION_ID
from benchmark.results.store.engine import writing_engine
from benchmark.results.store.location import Location, kind_of, locate
from benchmark.results.store.reference import refuse_to_write
from benchmark.results.store.storage_errors import storage_errors
from benchmark.text import without_passwords

POLL_SECONDS = 0.2
"""How often a run with `--wait` tries again."""

WRITING_SECONDS = 0.5
"""How long a refused second run waits until the first has written its name into the lock file."""

_SCHEMA_KEY = sa.func.hashtext(sa.func.current_schema())
"""The second key of the server's lock separates schemas of one database that several projects may share."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a database; its description stays in the lock file after it has ended."""

    pid: int
    host: str
    boot_id: str
    started_utc: str
    command: str

    def describe(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started_utc}: {self.command}"


@contextmanager
def lock_database(target: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Holds the database for this process until the block ends or the process dies.

    Args:
        target: Path or URL of the database.
        wait: Whether to wait for the holder to end instead of failing.

    Raises:
        BusyError: Another process holds it; the message names it.
        StorageError: The lock file cannot be created, or the server does not answer.
        UserError: It is the file of the reference results.

    Side effects:
        Leaves `<name>.lock` beside a SQLite file: if it were deleted, two runs could lock two files of one name.
    """
    location = locate(target)
    refuse_to_write(location)
    path = location.path
    with _server_lock(location, wait=wait) if path is None else _file_lock(location, path, wait=wait):
        yield


@contextmanager
def _file_lock(location: Location, path: Path, *, wait: bool) -> Iterator[None]:
    lock = layout.lock_file(path)
    _check_kind(lock, location.name)
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise StorageError(
            f"{location.name}: the lock file {lock} cannot be made: {error.strerror}. "
            "Make its folder, or one that can be written, and give the path with --db"
        ) from error
    try:
        # one that an older bench made may hold a password, and everybody could read it
        with contextlib.suppress(OSError):
            os.fchmod(handle, 0o600)
        while not _try_lock(handle):
            if not wait:
                raise BusyError(_busy(location, _read_holder(handle)))
            time.sleep(POLL_SECONDS)
        _write_holder(handle)
        yield
    finally:
        os.close(handle)


def _check_kind(lock: Path, name: str) -> None:
    # the lock file is truncated and written: a link could lead to another program's file
    with contextlib.suppress(OSError):
        mode = lock.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise StorageError(
                f"{name}: {lock}: expected a file of bench, found {kind_of(mode)}. It was not touched; take it away, or "
                "give another path with --db"
            )


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(handle: int) -> None:
    command = shlex.join(without_passwords(word, whole=True) for word in sys.argv)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder = Holder(os.getpid(), socket.gethostname(), machine.boot_id(), now, command)
    # on a full disk the lock holds all the same, without a description
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(holder)).encode() + b"\n", 0)


def _read_holder(handle: int) -> Holder | None:
    deadline = time.monotonic() + WRITING_SECONDS
    while True:
        try:
            return Holder(**json.loads(os.pread(handle, 1 << 16, 0)))
        except (ValueError, TypeError):
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)


def _busy(location: Location, holder: Holder | None) -> str:
    who = holder.describe() if holder else "a process that has not said who it is"
    return (
        f"{location.name}: another bench run holds this database: {who}. "
        "Wait for it to end, stop it, or give another path with --db"
    )


@contextmanager
def _server_lock(location: Location, *, wait: bool) -> Iterator[None]:
    engine = writing_engine(location)
    try:
        with storage_errors(location.name), closing(engine.connect()) as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            key = sa.select(sa.func.pg_try_advisory_lock(APPLICATION_ID, _SCHEMA_KEY))
            while not connection.scalar(key):
                if not wait:
                    raise BusyError(_busy(location, _server_holder(connection)))
                time.sleep(POLL_SECONDS)
            # PostgreSQL truncates application_name to 63 bytes
            label = f"bench {os.getpid()} {socket.gethostname()}"[:63]
            connection.exec_driver_sql("SELECT set_config('application_name', %s, false)", (label,))
            try:
                yield
            finally:
                # the server notices the end of a session later; with a session that is gone the lock is gone too
                with contextlib.suppress(sa.exc.DBAPIError):
                    connection.scalar(sa.select(sa.func.pg_advisory_unlock(APPLICATION_ID, _SCHEMA_KEY)))
    finally:
        engine.dispose()


def is_held(connection: sa.Connection) -> bool:
    """Whether any session holds the lock of this database and schema on a server: whether a run is at work."""
    return _server_holder(connection) is not None


def _server_holder(connection: sa.Connection) -> Holder | None:
    row = connection.exec_driver_sql(
        "SELECT activity.application_name, activity.backend_start FROM pg_locks AS held "
        "JOIN pg_stat_activity AS activity ON activity.pid = held.pid "
        # other databases of the server, and other schemas of this one, have runs of their own
        "WHERE held.locktype = 'advisory' AND held.granted AND held.classid = %s AND held.objsubid = 2 "
        "AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        # object ids are unsigned, the key is not
        "AND held.objid = (hashtext(current_schema())::bigint & 4294967295)::oid",
        (APPLICATION_ID,),
    ).first()
    if row is None:
        return None
    _, pid, host = (*str(row[0]).split(" ", 2), "", "")[:3]
    since = row[1].astimezone(UTC).isoformat(timespec="seconds")
    return Holder(int(pid or 0), host or "unknown", "", since, "bench run")
