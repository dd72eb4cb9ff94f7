"""Opens a results database for one writer or for readers, and closes it as a single file.

Between runs a SQLite file is in rollback mode, so that one file holds everything and opens anywhere, read-only folders
included. While a run writes, it is in WAL mode, so that readers never wait (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import sqlalchemy as sa

from benchmark import faults
from benchmark.errors import NotFoundError, ServerError, StorageError
from benchmark.results.schema import versions
from benchmark.results.store import journal_mode
from benchmark.results.store.engine import BusyTimeout, connect_sqlite, copy_into, reading_engine, writing_engine
from benchmark.results.store.location import Location, check_file, check_writable, inode_of, locate, side_file
from benchmark.results.store.server_lock import lock_of
from benchmark.results.store.storage_errors import storage_errors
from benchmark.results.store.upgrade import UpgradedCopy, upgrade_held, upgraded_copy

log = logging.getLogger(__name__)


class Database:
    """An open results database, which belongs to the process and the thread that opened it.

    SQLite's connections must not be carried over a fork (https://sqlite.org/howtocorrupt.html, 2.6).

    Attributes:
        location: Its address.
        contents: Where its rows are read from: the same, or an upgraded copy of a file of an older version.
        engine: SQLAlchemy's engine; queries use `reading()`, the recorder uses `transaction()`.
        path: The file; None for PostgreSQL.
        display_name: Its name in messages, without a password.
        writable: Whether it was opened to be written.
        busy_timeout: How long its transactions wait for another program's lock.
    """

    def __init__(
        self,
        location: Location,
        engine: sa.Engine,
        *,
        writable: bool,
        busy_timeout: BusyTimeout | None = None,
        copy: UpgradedCopy | None = None,
    ) -> None:
        self.location = location
        self.contents = copy.location if copy else location
        self.engine = engine
        self.path = location.path
        self.display_name = location.name
        self.writable = writable
        self.busy_timeout = busy_timeout or BusyTimeout()
        self._copy = copy
        self._owner = os.getpid()
        # of the -wal file too: it holds rows that the database file does not have yet
        files = [] if location.path is None else [location.path, side_file(location.path, "-wal")]
        self._inodes = {file: inode for file in files if (inode := inode_of(file)) is not None}
        self._lost: StorageError | None = None
        self._warned_of_wal = False
        self._server_lock = lock_of(location) if writable else None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Gives a connection inside one reading transaction, so that all queries see the same snapshot.

        Raises:
            StorageError: The file or the server cannot be read.
        """
        self._check_owner()
        with storage_errors(self.display_name), self.engine.connect() as connection:
            # `engine._begin_immediate` sees this and begins a transaction that takes no lock
            connection.execution_options(reading=True)
            with connection.begin():
                yield connection

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Gives a connection inside one writing transaction, which is committed at the end or rolled back.

        Raises:
            StorageError: The disk is full, the file is locked, or it was deleted or replaced since it was opened. In
                the last case everything recorded is saved to a new file beside it, which the message names.
            ServerError: The server does not answer. The commit may have been done all the same, and its answer lost.
            BusyError: The lock of a server's database was lost, and another run has it now.
        """
        self._check_owner()
        if self._lost is not None:
            raise self._lost
        if self._server_lock is not None:
            self._server_lock.keep()
        with self._server_watched(), storage_errors(self.display_name, self.path), self.engine.connect() as connection:
            with connection.begin():
                yield connection
                # an INSERT into a deleted or renamed file succeeds silently (https://sqlite.org/howtocorrupt.html, 2.4)
                lost = self._is_replaced()
                faults.point("db.commit")
            if lost:
                self._lost = self._save_lost(connection)
                raise self._lost
        if self.path is not None and not self._warned_of_wal:
            self._warned_of_wal = journal_mode.warn_of_long_wal(self.location)

    def close(self) -> None:
        """Closes all connections; after writing, leaves a single file without `-wal` and `-shm` beside it."""
        if os.getpid() != self._owner:
            return
        if self.writable and self.path is not None and not self._is_replaced():
            journal_mode.leave_wal(self.engine, self.location)
        self.engine.dispose()
        if self._copy is not None:
            self._copy.folder.cleanup()
        self.writable = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_owner(self) -> None:
        assert os.getpid() == self._owner, "a database connection must not be used in a forked process"

    @contextmanager
    def _server_watched(self) -> Iterator[None]:
        try:
            yield
        except ServerError:
            if self._server_lock is not None:
                self._server_lock.doubt()
            raise

    def _is_replaced(self) -> bool:
        return any(inode_of(file) != inode for file, inode in self._inodes.items())

    def _save_lost(self, connection: sa.Connection) -> StorageError:
        assert self.path is not None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{self.path.stem}.recovered-{stamp}.sqlite"
        what = f"{self.display_name}: the file, or the -wal file beside it, was deleted, renamed or replaced while it was written"
        problem: Exception | None = None
        # its folder may have gone with it
        for folder in (self.path.parent, Path(tempfile.gettempdir())):
            rescue = folder / name
            try:
                copy_into(connection, rescue)
            except (sa.exc.DBAPIError, sqlite3.Error, StorageError, OSError) as error:
                problem = problem or error
            else:
                return StorageError(
                    f"{what}. All that was recorded is now in {rescue}; put it back with: mv '{rescue}' '{self.path}'"
                )
        return StorageError(f"{what}, and what it held could not be saved ({problem})")


def open_database(target: str | os.PathLike[str], *, mode: Literal["read", "write"]) -> Database:
    """Opens a results database.

    Args:
        target: Path of a SQLite file, or a URL of SQLite or PostgreSQL.
        mode: `read` needs an existing database and cannot change it; of a file of an older version an upgraded copy is
            read. `write` creates a missing one, and upgrades an older file; the caller holds `lock_database`.

    Raises:
        NotFoundError: There is no database to read.
        SchemaError: Its schema is newer than this program's, on a server also older, or not bench's.
        StorageError: It cannot be opened, is damaged, or cannot be written.
        UserError: The target is neither a path nor a URL of SQLite or PostgreSQL.

    Side effects:
        Writing checks the whole file (about 0.2 s for each million epochs) and switches it to WAL mode.
    """
    location = locate(target)
    if location.path is None:
        return _open_server(location, writable=mode == "write")
    with storage_errors(location.name, location.path):
        return _open_to_write(location, location.path) if mode == "write" else _open_to_read(location, location.path)


def _open_to_read(location: Location, path: Path) -> Database:
    if not check_file(path, location.name):
        raise _nothing_there(location)
    immutable = journal_mode.is_frozen(path)
    had_wal = side_file(path, "-wal").exists()
    with journal_mode.recovered(location, immutable=immutable) as connection:
        version = versions.sqlite_version(connection, location.name)
        journal_mode.warn_of_lost_wal(connection, location, had_wal=had_wal)
    if version is None:
        raise _nothing_there(location)
    if versions.is_older(version):
        copy = upgraded_copy(location, immutable=immutable)
        return Database(location, reading_engine(copy.location), writable=False, copy=copy)
    versions.check_version(version, location.name)
    return Database(location, reading_engine(location, immutable=immutable), writable=False)


def _open_to_write(location: Location, path: Path) -> Database:
    check_file(path, location.name)
    check_writable(path, location.name)
    had_wal = side_file(path, "-wal").exists()
    connection = connect_sqlite(location, "rwc")
    try:
        version = versions.sqlite_version(connection, location.name)
        if version is not None:
            if not versions.is_older(version):
                versions.check_version(version, location.name)
            _check_pages(connection, location)
            journal_mode.warn_of_lost_wal(connection, location, had_wal=had_wal)
    finally:
        connection.close()
    if version is not None and versions.is_older(version):
        upgraded = upgrade_held(location)
        log.warning("%s was upgraded; as it was, it is kept in %s", location.name, upgraded.backup)
    busy_timeout = BusyTimeout()
    engine = writing_engine(location, busy_timeout)
    try:
        if version is None:
            _create(engine)
        journal_mode.enter_wal(engine, location)
    except BaseException:
        engine.dispose()
        raise
    return Database(location, engine, writable=True, busy_timeout=busy_timeout)


def _check_pages(connection: sqlite3.Connection, location: Location) -> None:
    lines = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if lines != ["ok"]:
        raise StorageError(
            f"{location.name}: the file is damaged ({'; '.join(lines)}). It was not touched; put a backup in its place, "
            f"or save what can be read with: bench db salvage '{location.name}' rescued.sqlite"
        )


def _open_server(location: Location, *, writable: bool) -> Database:
    engine = writing_engine(location) if writable else reading_engine(location)
    try:
        with storage_errors(location.name):
            with engine.connect() as connection:
                version = versions.postgresql_version(connection, location.name)
            if version is None and not writable:
                raise _nothing_there(location)
            if version is None:
                _create(engine)
            else:
                versions.check_version(version, location.name)
    except BaseException:
        engine.dispose()
        raise
    return Database(location, engine, writable=writable)


def _create(engine: sa.Engine) -> None:
    from benchmark.results.schema.migrate import migrate

    migrate(engine)


def _nothing_there(location: Location) -> NotFoundError:
    return NotFoundError(
        f"{location.name}: expected a results database, found none. Make one with: bench run; "
        "or give the path of yours with --db"
    )
