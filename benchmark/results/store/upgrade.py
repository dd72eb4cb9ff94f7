"""Upgrades an older database to this program's schema, for `bench db upgrade`."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from benchmark.errors import NotFoundError
from benchmark.files import temporary_folder
from benchmark.results.schema import versions
from benchmark.results.schema.tables import SCHEMA_VERSION
from benchmark.results.store.engine import copy_into, driver_connection, reading_engine, writing_engine
from benchmark.results.store.location import Location, check_file, check_writable, locate
from benchmark.results.store.lock import lock_database
from benchmark.results.store.storage_errors import storage_errors

log = logging.getLogger(__name__)


class Upgrade(NamedTuple):
    """The result of an upgrade.

    Attributes:
        old, new: Schema versions; equal when the database was up to date.
        backup: Copy of the older file, beside it; None for a server, and when the database was up to date.
    """

    old: int
    new: int
    backup: Path | None


def upgrade_database(target: str | os.PathLike[str]) -> Upgrade:
    """Upgrades the schema, after copying a SQLite file to `<name>.v<version>.bak` beside it.

    Raises:
        NotFoundError: There is no database.
        SchemaError: Its schema is newer than this program's, or not bench's.
        StorageError: It cannot be written, or the copy cannot be made.
        BusyError: A run holds it.
    """
    location = locate(target)
    if location.path is not None:
        if not check_file(location.path, location.name):
            raise _not_found(location)
        check_writable(location.path, location.name)
    with lock_database(target), storage_errors(location.name):
        return upgrade_held(location)


def upgrade_held(location: Location) -> Upgrade:
    """As `upgrade_database`, for a caller that holds `lock_database`."""
    engine = writing_engine(location)
    try:
        return _upgrade(engine, location)
    finally:
        engine.dispose()


class UpgradedCopy(NamedTuple):
    """A copy of an older file that has this program's schema, and the temporary folder that it lies in."""

    location: Location
    folder: tempfile.TemporaryDirectory[str]


def upgraded_copy(location: Location, *, immutable: bool) -> UpgradedCopy:
    """Copies an older SQLite file, which may be one that nobody can write, and upgrades the copy.

    Raises:
        StorageError: There is no room for it, or the file is damaged.
    """
    from benchmark.results.schema import migrate

    assert location.path is not None
    folder = temporary_folder()
    copy = Location(Path(folder.name) / location.path.name, None, location.name)
    source, engine = reading_engine(location, immutable=immutable), writing_engine(copy)
    try:
        with source.connect() as connection:
            copy_into(connection, Path(folder.name) / location.path.name)
        migrate.migrate(engine)
    except BaseException:
        folder.cleanup()
        raise
    finally:
        source.dispose()
        engine.dispose()
    log.info("%s is of an older version; an upgraded copy is read. To upgrade it: bench db upgrade", location.name)
    return UpgradedCopy(copy, folder)


def _upgrade(engine: sa.Engine, location: Location) -> Upgrade:
    from benchmark.results.schema import migrate

    old = _version(engine, location)
    if old >= SCHEMA_VERSION:
        versions.check_version(old, location.name)
        return Upgrade(old, old, None)
    copy = None
    if location.path is not None:
        copy = location.path.with_name(f"{location.path.name}.v{old}.bak")
        if not copy.exists():
            with engine.connect() as connection:
                copy_into(connection, copy)
    migrate.migrate(engine)
    return Upgrade(old, _version(engine, location), copy)


def _version(engine: sa.Engine, location: Location) -> int:
    with engine.connect() as connection:
        if location.path is None:
            version = versions.postgresql_version(connection, location.name)
        else:
            version = versions.sqlite_version(driver_connection(connection), location.name)
    if version is None:
        raise _not_found(location)
    return version


def _not_found(location: Location) -> NotFoundError:
    return NotFoundError(f"{location.name}: expected a results database, found none. Make one with: bench run")
