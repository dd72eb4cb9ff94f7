"""Which folder of artifacts a database has: one folder belongs to one database, by a mark that lies in it.

Names alone do not tell: `run.2026-01` and `run.2026-02`, `x.db` and `x.sqlite` would have one folder, and a new database
the folder of one that was deleted. Attempts are numbered in each database anew, so that one would overwrite, go on
from, or delete the files of another.

The folder beside a database, `results.artifacts`, is its own when it is new, when the mark says so, or, in folders that
are older than marks, when files are in it that the database has registered. Otherwise the database has
`<name>-<identity>.artifacts`. A database that is moved or renamed together with its folder keeps it; a copy under
another name does not, nor one to which attempts in the folder are unknown: an older backup put back in its place, or a
copy that went its own way. What those attempts left is needed by a database that may come back.

That of a server's database is in the folder where its first run was started; the database remembers it for each
computer, so that it is found from any folder.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import Path

import sqlalchemy as sa

from benchmark import layout, machine
from benchmark.errors import BenchError, StorageError
from benchmark.files import make_own_folder, sha256_of, write_whole
from benchmark.results.artifacts.remembered_places import remember, remembered_folder
from benchmark.results.schema.tables import APPLICATION_ID, artifact, attempt, execution, run
from benchmark.results.store.database import open_database
from benchmark.results.store.engine import connect_sqlite
from benchmark.results.store.location import Location, locate

log = logging.getLogger(__name__)

IDENTITY_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose folder it is.

    Attributes:
        identity: Of the database, see `identity_of`.
        database: The name of its file, or the address of its server.
        shared: Other databases lay beside it that would have used this folder too, before there were marks: what is in
            it and not registered may be theirs.
        newest: Number and begin of the newest attempt when the last run ended; None while one goes on, after one that
            was killed, and in older marks. Then the folders of attempts tell.
    """

    identity: str
    database: str
    shared: bool = False
    newest: tuple[int, str] | None = None


def identity_of(connection: sa.Connection) -> str | None:
    """What tells a database from all others, and its copies have too: its first run; None before that."""
    marks = (run.c.machine, run.c.started_utc, run.c.boot_id, run.c.pid, run.c.process_start_ticks)
    first = connection.execute(sa.select(*marks).order_by(run.c.run_id).limit(1)).first()
    return None if first is None else sha256_of(json.dumps(list(first)).encode())[:16]


def folder_of(target: str | os.PathLike[str]) -> Path:
    """The artifacts folder of a database, to read from; it need not exist. `artifact_place.place_of` knows URLs too.

    A copy of a database that has no folder of its own reads one in which its files are: each file is verified.
    """
    location = locate(target)
    root = layout.artifacts_folder(location.path)
    if location.path is None:
        try:
            with open_database(target, mode="read") as database, database.reading() as connection:
                return remembered_folder(connection) or root
        except BenchError:
            return root
    if not any(root.parent.glob(f"{glob.escape(_stem(location, root))}-*{root.suffix}")):
        # it was never given another one
        return root
    try:
        with open_database(target, mode="read") as database, database.reading() as connection:
            *folders, _ = _folders_of(location, root, identity_of(connection) or "")
            owned = (each for each in folders if owner_mark(location, connection, each))
            with_files = (each for each in folders if next(_registered(connection, each), None))
            return next(chain(owned, with_files), root)
    except BenchError:
        return root


def claim(location: Location, connection: sa.Connection, root: Path) -> Path:
    """The folder that a database writes its artifacts to; makes and marks it.

    Args:
        location: Of the database, which the caller holds.
        connection: Open on it; of a server's, in a writing transaction.
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
    if location.path is None and root == layout.artifacts_folder(None):
        # nobody has named one
        root = remembered_folder(connection) or root
    folders = _folders_of(location, root, identity)
    folder, mark = next((each, mark) for each in folders if (mark := owner_mark(location, connection, each)))
    is_new = not folder.is_dir()
    try:
        make_own_folder(folder, adopt=True)
        _write_mark(folder, replace(mark, newest=None))
        if folder != root and is_new:
            log.warning("%s: %s; the files of %s go to %s", root, foreign_owner(location, root), location.name, folder)
            for path in _registered(connection, root):
                _bring(root / path, folder / path)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: expected a folder for artifacts that can be written, got: {error.strerror}"
        ) from error
    if location.path is None:
        remember(connection, machine.default_machine_name(), str(folder.absolute()))
    return folder


def release(location: Location, connection: sa.Connection, folder: Path) -> None:
    """Notes in the mark of a claimed folder which attempt was the last to use it; best effort."""
    mark = _read_mark(folder)
    newest = sa.select(attempt.c.attempt_id, attempt.c.started_utc).order_by(attempt.c.attempt_id.desc()).limit(1)
    with suppress(OSError):
        if mark is not None and (row := connection.execute(newest).first()) is not None:
            _write_mark(folder, replace(mark, database=name_of(location), newest=(row[0], row[1])))


def owner_mark(location: Location, connection: sa.Connection, root: Path) -> Mark | None:
    """The mark that the folder has, or may be given, as the database's own; None when it is another's."""
    mark = _read_mark(root)
    # before the database is read: a run that goes on records an attempt, and then makes its folder
    folders = _attempt_folders(root) if mark is None or mark.newest is None else []
    mine = Mark(identity_of(connection) or "", name_of(location))
    if mark is not None and mark.newest is not None:
        known = connection.scalar(sa.select(attempt.c.started_utc).where(attempt.c.attempt_id == mark.newest[0]))
        is_own = known == mark.newest[1]
    elif mark is not None and mark.identity != mine.identity:
        # salvaged, or restored: another first run, and the files are its own
        is_own = mark.database == mine.database and next(_registered(connection, root), None) is not None
    else:
        is_own = (
            mark is not None or not _folders(root) - {layout.executor_folder(root).name} or _holds_own(connection, root)
        )
    if not is_own or has_unknown(connection, folders) or (mark and _is_used_by_original(mark, location, root)):
        return None
    shared = mark.shared if mark else bool(folders) and _has_siblings(location, root)
    return replace(mine, shared=shared, newest=mark.newest if mark else None)


def foreign_owner(location: Location, root: Path) -> str:
    """Says why a folder that has no `owner_mark` is not the database's own."""
    mark = _read_mark(root)
    if mark is None or mark.database == name_of(location):
        return "attempts that this database does not know have used it"
    return f"it belongs to the database {mark.database}"


def _folders_of(location: Location, root: Path, identity: str) -> list[Path]:
    """The folders that the database may have: those that are there, and last one that is not."""
    stem = f"{_stem(location, root)}-{identity[:IDENTITY_DIGITS]}"
    made = [root] if root.is_dir() else []
    for end in chain([""], (f"-{number}" for number in count(2))):
        folder = root.with_name(f"{stem}{end}{root.suffix}")
        if not folder.is_dir():
            break
        made.append(folder)
    return [*made, folder if root in made else root]


def _stem(location: Location, root: Path) -> str:
    return root.stem if location.path is None else location.path.name


def name_of(location: Location) -> str:
    """What a mark calls a database."""
    return location.name if location.path is None else location.path.name


def _read_mark(root: Path) -> Mark | None:
    try:
        fields = json.loads((root / layout.OWN_MARK).read_bytes())
        return Mark(**{**fields, "newest": fields.get("newest") and tuple(fields["newest"])})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _write_mark(folder: Path, mark: Mark) -> None:
    if _read_mark(folder) != mark:
        write_whole(folder / layout.OWN_MARK, json.dumps(asdict(mark)).encode())


def _folders(folder: Path) -> set[str]:
    """The names of the folders in one; links are none of ours."""
    with suppress(OSError), os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    return set()


def _attempt_folders(root: Path) -> list[tuple[str, int]]:
    """Cell and attempt of each attempt that has left a folder."""
    cells = filter(layout.CELL_FOLDER.fullmatch, _folders(root))
    return [(cell, int(name)) for cell in cells for name in _folders(root / cell) if name.isdecimal()]


def has_unknown(connection: sa.Connection, folders: Collection[tuple[str, int]]) -> bool:
    """Whether an attempt has left a folder that the database has not made, or will make another time.

    A number below the newest may be missing: an execution that a merge has renewed.
    """
    attempts = sa.select(attempt.c.attempt_id, execution.c.cell_id).join(
        execution, execution.c.execution_id == attempt.c.execution_id
    )
    cells = dict(tuple(row) for row in connection.execute(attempts)) if folders else {}
    newest = max(cells, default=0)
    return any(number > newest or cells.get(number, cell) != cell for cell, number in folders)


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
