"""Finds the files and folders that nothing needs any more, which `bench gc` may delete.

In the artifacts folder only what bench itself makes is considered, `<cell_id>/<attempt_id>/…`: never other files, never
the target of a symbolic link, and never a file that is recorded in the database.
"""

from __future__ import annotations

import glob
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmark import layout
from benchmark.errors import UserError
from benchmark.files import is_partial
from benchmark.results.artifacts.artifact_folder import foreign_owner, owner_mark
from benchmark.results.read.cell_states import newest_executions
from benchmark.results.schema.tables import artifact, attempt, execution
from benchmark.results.store.database import Database
from benchmark.status import FINAL, Status

OLD_SECONDS = 24 * 3600.0
"""Temporary copies of the database are garbage only at this age: a younger one may be in the making."""

STATES = (layout.STATE, layout.PREVIOUS_STATE, layout.SCRIPT_EPOCHS)
_STATE_FOLDERS = (layout.SCRIPT_STATE, layout.SCRIPT)
LOGS = (layout.LOG, layout.OLD_LOG)
_COPIES, _SALVAGES = ".{name}.*.part*", ".salvage-*.partial"


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file or folder that nothing needs any more.

    Attributes:
        kind: `orphan` (of no attempt in the database any more), `state` (for resuming a cell that will not be resumed, or of a
            shared stage when no cell is left to be resumed), `temporary` (an incomplete file of a killed process),
            `cache` (can be made again).
        path: Absolute, or relative to the working directory as the artifacts folder is.
        size_bytes: Of the file, or of all files in the folder.
        url: Below which `path` leads; None of what lies on this computer.
    """

    kind: str
    path: Path
    size_bytes: int
    url: str | None = None

    @property
    def shown(self) -> str:
        """Where it is, in words."""
        return str(self.path) if self.url is None else f"{self.url}/{self.path}"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose the folder of an attempt is."""

    cell_id: str
    running: bool
    may_resume: bool


def find_garbage(database: Database, root: Path) -> list[Garbage]:
    """Finds the garbage in the artifacts folder and beside the database.

    Args:
        database: An open database. While a run writes it, files that the run is making may be among the result.
        root: Its artifacts folder.

    Raises:
        UserError: The folder belongs to another database, or others have used it as well.
    """
    with database.reading() as connection:
        _require_own(database, connection, root)
        owners = owners_of(connection)
        files: defaultdict[int, set[str]] = defaultdict(set)
        for attempt_id, path in connection.execute(sa.select(artifact.c.attempt_id, artifact.c.path)):
            files[attempt_id].add(path)
    return [*_in_folder(root, owners, files), *_merges(root), *_stages(root, owners), *beside_database(database.path)]


def owners_of(connection: sa.Connection) -> dict[int, Owner]:
    """Of each attempt in the database, its cell and whether it runs or may be resumed."""
    newest = newest_executions()
    rows = connection.execute(
        sa.select(attempt.c.attempt_id, execution.c.cell_id, attempt.c.state, execution.c.status, newest.c.execution_id)
        .join(execution, execution.c.execution_id == attempt.c.execution_id)
        .outerjoin(newest, newest.c.execution_id == execution.c.execution_id)
    )
    return {
        attempt_id: Owner(cell_id, state == Status.RUNNING, status not in FINAL and latest is not None)
        for attempt_id, cell_id, state, status, latest in rows
    }


def _in_folder(root: Path, owners: dict[int, Owner], files: dict[int, set[str]]) -> Iterator[Garbage]:
    needed = {path.rpartition("/")[0] for paths in files.values() for path in paths}
    for cell_folder in _folders(root):
        if not layout.CELL_FOLDER.fullmatch(cell_folder.name):
            continue
        for folder in _folders(cell_folder):
            if not folder.name.isdecimal():
                continue
            owner = owners.get(int(folder.name))
            if owner is None or owner.cell_id != cell_folder.name:
                if not any(place.startswith(f"{cell_folder.name}/{folder.name}") for place in needed):
                    yield Garbage("orphan", folder, size_of(folder))
            elif not owner.running:
                yield from _in_attempt(root, folder, owner, files[int(folder.name)])


def _in_attempt(root: Path, folder: Path, owner: Owner, registered: set[str]) -> Iterator[Garbage]:
    for drawn in sorted((folder / layout.EXPLANATION).parent.glob(".*")):
        if is_partial(drawn.name) and drawn.is_file():
            yield Garbage("temporary", drawn, drawn.lstat().st_size)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name in _STATE_FOLDERS and entry.is_dir(follow_symlinks=False) and not owner.may_resume:
            yield Garbage("state", path, size_of(path))
        if not entry.is_file(follow_symlinks=False) or path.relative_to(root).as_posix() in registered:
            continue
        size = entry.stat(follow_symlinks=False).st_size
        if is_partial(entry.name):
            yield Garbage("temporary", path, size)
        elif entry.name in STATES:
            if not owner.may_resume:
                yield Garbage("state", path, size)
        elif entry.name not in LOGS and not owner.may_resume:
            yield Garbage("orphan", path, size)


def _stages(root: Path, owners: dict[int, Owner]) -> Iterator[Garbage]:
    """States of shared stages that an interrupted run has left."""
    place = layout.stages_folder(root)
    if place.is_symlink() or any(owner.running or owner.may_resume for owner in owners.values()):
        return
    for folder in _folders(place):
        if layout.CELL_FOLDER.fullmatch(folder.name):
            yield Garbage("state", folder, size_of(folder))


def _merges(root: Path) -> Iterator[Garbage]:
    """What merges that were killed have copied."""
    for folder in _folders(root):
        if is_partial(folder.name):
            yield Garbage("temporary", folder, size_of(folder))


def beside_database(path: Path | None) -> Iterator[Garbage]:
    """Incomplete copies that killed processes have left beside a database's file."""
    if path is None:
        return
    copies = path.parent.glob(_COPIES.format(name=glob.escape(path.name)))
    for copy in sorted([*copies, *path.parent.glob(_SALVAGES)]):
        status = copy.lstat()
        # nothing but its age is known; with a wrong clock it stays, or a copy in the making fails with a message
        if (copy.is_file() or copy.is_dir()) and not copy.is_symlink() and time.time() - status.st_mtime > OLD_SECONDS:
            yield Garbage("temporary", copy, size_of(copy) if copy.is_dir() else status.st_size)


def cache_garbage(cache_root: Path) -> list[Garbage]:
    """Lists everything in the cache that can be made again: prepared datasets, frozen features, compiled programs."""
    return [Garbage("cache", entry, size_of(entry)) for kind in layout.CACHES for entry in _folders(cache_root / kind)]


def _folders(folder: Path) -> list[Path]:
    """The subfolders of a folder without symbolic links, by name; none when it does not exist."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def size_of(folder: Path) -> int:
    """Adds up the bytes of all files in a folder; links are not followed."""
    return sum((Path(place) / name).lstat().st_size for place, _, names in os.walk(folder) for name in names)


def _require_own(database: Database, connection: sa.Connection, root: Path) -> None:
    """Refuses a folder whose files another database may need: what is an orphan of one is the other's."""
    mark = owner_mark(database.location, connection, root)
    if mark is None or mark.shared:
        used = "other databases have used it as well"
        why = used if mark else foreign_owner(database.location, root)
        raise UserError(
            f"{root}: expected the artifacts of {database.display_name} alone, but {why}. Nothing was deleted; "
            f"`bench db merge NEW.sqlite {database.display_name}` makes a database with a folder of its own"
        )
