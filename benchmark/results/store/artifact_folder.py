"""Which folder of artifacts a database has: one folder belongs to one database, by a mark that lies in it.

Names alone do not tell: `run.2026-01` and `run.2026-02`, `x.db` and `x.sqlite` would have one folder, and a new database
the folder of one that was deleted. Attempts are numbered in each database anew, so that one would overwrite, go on
from, or delete the files of another.

The folder beside a database, `results.artifacts`, is its own when it is new, when the mark says so, or, in folders that
are older than marks, when files are in it that the database has registered. Otherwise the database has
`<name>-<identity>.artifacts`. A database that is moved or renamed together with its folder keeps it, and so does one
that was salvaged or restored; a copy under another name does not.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from benchmark import layout
from benchmark.errors import BenchError, StorageError
from benchmark.files import make_own_folder, sha256_of, write_whole
from benchmark.results.schema.tables import APPLICATION_ID, artifact, attempt, execution, run
from benchmark.results.store.database import open_database
from benchmark.results.store.engine import connect_sqlite
from benchmark.results.store.location import Location, locate

log = logging.getLogger(__name__)

_IDENTITY_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose folder it is.

    Attributes:
        identity: Of the database, see `identity_of`.
        database: The name of its file, or the address of its server.
        shared: Other databases lay beside it that would have used this folder too, before there were marks: what is in
            it and not registered may be theirs.
    """

    identity: str
    database: str
    shared: bool = False


def identity_of(connection: sa.Connection) -> str | None:
    """What tells a database from all others, and its copies have too: its first run; None before that."""
    marks = (run.c.machine, run.c.started_utc, run.c.boot_id, run.c.pid, run.c.process_start_ticks)
    first = connection.execute(sa.select(*marks).order_by(run.c.run_id).limit(1)).first()
    return None if first is None else sha256_of(json.dumps(list(first)).encode())[:16]


def folder_of(target: str | os.PathLike[str]) -> Path:
    """The artifacts folder of a database, to read from; it need not exist.

    A copy of a database that has no folder of its own reads that of the name that it has: each file is verified.
    """
    location = locate(target)
    root = layout.artifacts_folder(location.path)
    if not any(root.parent.glob(f"{glob.escape(_stem(location, root))}-*{root.suffix}")):
        # it was never given another one
        return root
    try:
        with open_database(target, mode="read") as database, database.reading() as connection:
            identity = identity_of(connection)
    except BenchError:
        return root
    own = _own_folder(location, root, identity or "")
    return own if own.is_dir() else root


def claim(location: Location, connection: sa.Connection, root: Path) -> Path:
    """The folder that a database writes its artifacts to; makes and marks it.

    Args:
        location: Of the database, which the caller holds.
        connection: Open on it.
        root: The folder that it would have by its name, or has had.

    Returns:
        `root`, or a folder beside it where that one belongs to another database. Without any run there is nothing yet
        to know the database by: `root`, unmarked.

    Raises:
        StorageError: The folder cannot be made, or not be written.

    Side effects: a folder of its own gets links to, or copies of, the registered files that lie in `root`.
    """
    identity = identity_of(connection)
    if identity is None:
        return root
    mark = owner_mark(location, connection, root)
    folder = root if mark is not None else _own_folder(location, root, identity)
    is_new = not folder.is_dir()
    try:
        make_own_folder(folder, adopt=True)
        mark = mark or Mark(identity, _name(location))
        if _read_mark(folder) != mark:
            write_whole(folder / layout.OWN_MARK, json.dumps(asdict(mark)).encode())
        if folder != root and is_new:
            other = _read_mark(root)
            owner = f"the database {other.database}" if other else "another database"
            log.warning("%s belongs to %s: the files of %s go to %s", root, owner, location.name, folder)
            for path in _registered(connection, root):
                _bring(root / path, folder / path)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: expected a folder for artifacts that can be written, got: {error.strerror}"
        ) from error
    return folder


def owner_mark(location: Location, connection: sa.Connection, root: Path) -> Mark | None:
    """The mark that the folder has, or may be given, as the database's own; None when it is another's."""
    mine = Mark(identity_of(connection) or "", _name(location))
    mark = _read_mark(root)
    if mark is None:
        if not _has_folders(root):
            return mine
        return replace(mine, shared=_has_siblings(location, root)) if _holds_own(connection, root) else None
    if mark.identity == mine.identity:
        return None if _is_used_by_original(mark, location, root) else replace(mark, database=mine.database)
    # salvaged, or restored: another first run, and the files are its own
    is_own = mark.database == mine.database and next(_registered(connection, root), None) is not None
    return replace(mark, identity=mine.identity) if is_own else None


def _own_folder(location: Location, root: Path, identity: str) -> Path:
    return root.with_name(f"{_stem(location, root)}-{identity[:_IDENTITY_DIGITS]}{root.suffix}")


def _stem(location: Location, root: Path) -> str:
    return root.stem if location.path is None else location.path.name


def _name(location: Location) -> str:
    return location.name if location.path is None else location.path.name


def _read_mark(root: Path) -> Mark | None:
    try:
        return Mark(**json.loads((root / layout.OWN_MARK).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _has_folders(root: Path) -> bool:
    with suppress(OSError), os.scandir(root) as entries:
        return any(entry.is_dir(follow_symlinks=False) for entry in entries)
    return False


def _is_used_by_original(mark: Mark, location: Location, root: Path) -> bool:
    """Whether this is a copy of the database that is named in the mark, and still there."""
    if location.path is None or mark.database == location.path.name:
        return False
    original = root.with_name(mark.database)
    return original.exists() and not original.samefile(location.path) and layout.artifacts_folder(original) == root


def _has_siblings(location: Location, root: Path) -> bool:
    """Whether another database lies beside, whose name leads to the same folder."""
    others = [path for path in root.parent.iterdir() if path != location.path and path.is_file()]
    return any(layout.artifacts_folder(path) == root and _is_database(path) for path in others)


def _is_database(path: Path) -> bool:
    try:
        with closing(connect_sqlite(Location(path, None, path.name), "ro", immutable=True)) as connection:
            return bool(connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)
    except sqlite3.Error:
        return False


def _holds_own(connection: sa.Connection, root: Path) -> bool:
    """Whether files are there that the database has registered; of one that has none, folders of its attempts."""
    if connection.scalar(sa.select(artifact.c.artifact_id).limit(1)) is not None:
        return next(_registered(connection, root), None) is not None
    attempts = sa.select(execution.c.cell_id, attempt.c.attempt_id).join(attempt)
    return any(layout.attempt_folder(root, *row).is_dir() for row in connection.execute(attempts))


def _registered(connection: sa.Connection, root: Path) -> Iterator[str]:
    """The registered files that are in the folder as they were recorded, newest first."""
    columns = (artifact.c.path, artifact.c.size_bytes, artifact.c.sha256)
    for path, size, digest in connection.execute(sa.select(*columns).order_by(artifact.c.artifact_id.desc())):
        file = root / path
        with suppress(OSError):
            is_inside = file.resolve().is_relative_to(root.resolve())
            if is_inside and file.stat().st_size == size and sha256_of(file) == digest:
                yield path


def _bring(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
