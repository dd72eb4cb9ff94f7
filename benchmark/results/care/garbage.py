"""What lies in the artifacts folder of a database and belongs to nothing any more: what `bench gc` may delete.

Only what bench itself made is looked at: `<cell_id>/<attempt_id>/…`. Anything else in the folder, and whatever a
symbolic link leads to, is somebody else's. A file that is registered in the database is never among the leftovers.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmark import layout
from benchmark.errors import UserError
from benchmark.files import is_partial
from benchmark.results.read.cell_states import newest_executions
from benchmark.results.schema.tables import artifact, attempt, execution
from benchmark.results.store.database import Database
from benchmark.status import FINAL, Status

OLD_SECONDS = 24 * 3600.0
"""Temporary files of a database's own copies are left alone for so long: somebody may be making one now."""

_CELL = re.compile(r"[0-9a-f]{20}")
"""Name of the folder of a cell, and of a stage."""
_STATES = (layout.STATE, layout.PREVIOUS_STATE)
_LOGS = (layout.LOG, layout.OLD_LOG)
_COPIES = ".{name}.*.part*"


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file or a folder that nothing needs any more.

    Attributes:
        kind: `orphan` (of no attempt in the database), `state` (to resume a cell that will not be resumed, or of a stage
            that cells share, when none is left to be resumed),
            `temporary` (half a file that a killed process left), `cache` (can be made again).
        size_bytes: Of the file, or of all that is in the folder.
    """

    kind: str
    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Owner:
    cell_id: str
    running: bool
    may_resume: bool


def find_garbage(database: Database, root: Path) -> list[Garbage]:
    """What in the artifacts folder, and beside the database, nothing needs any more.

    Args:
        database: An open one; while a run writes it, what that run is making may be among the leftovers.
        root: Its artifacts folder.

    Raises:
        UserError: Another database uses the same folder.
    """
    _refuse_shared(database, root)
    with database.reading() as connection:
        owners = _owners(connection)
        files: defaultdict[int, set[str]] = defaultdict(set)
        for attempt_id, path in connection.execute(sa.select(artifact.c.attempt_id, artifact.c.path)):
            files[attempt_id].add(path)
    return [*_in_folder(root, owners, files), *_stages(root, owners), *_beside(database.path)]


def _owners(connection: sa.Connection) -> dict[int, _Owner]:
    newest = newest_executions()
    rows = connection.execute(
        sa.select(attempt.c.attempt_id, execution.c.cell_id, attempt.c.state, execution.c.status, newest.c.execution_id)
        .join(execution, execution.c.execution_id == attempt.c.execution_id)
        .outerjoin(newest, newest.c.execution_id == execution.c.execution_id)
    )
    return {
        attempt_id: _Owner(cell_id, state == Status.RUNNING, status not in FINAL and latest is not None)
        for attempt_id, cell_id, state, status, latest in rows
    }


def _in_folder(root: Path, owners: dict[int, _Owner], files: dict[int, set[str]]) -> Iterator[Garbage]:
    needed = {path.rpartition("/")[0] for paths in files.values() for path in paths}
    for cell_folder in _folders(root):
        if not _CELL.fullmatch(cell_folder.name):
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


def _in_attempt(root: Path, folder: Path, owner: _Owner, registered: set[str]) -> Iterator[Garbage]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if not entry.is_file(follow_symlinks=False) or path.relative_to(root).as_posix() in registered:
            continue
        size = entry.stat(follow_symlinks=False).st_size
        if is_partial(entry.name):
            yield Garbage("temporary", path, size)
        elif entry.name in _STATES:
            if not owner.may_resume:
                yield Garbage("state", path, size)
        elif entry.name not in _LOGS and not owner.may_resume:
            yield Garbage("orphan", path, size)


def _stages(root: Path, owners: dict[int, _Owner]) -> Iterator[Garbage]:
    """States that an interrupted run has left for cells that share their first stages."""
    place = layout.stages_folder(root)
    if place.is_symlink() or any(owner.running or owner.may_resume for owner in owners.values()):
        return
    for folder in _folders(place):
        if _CELL.fullmatch(folder.name):
            yield Garbage("state", folder, size_of(folder))


def _beside(path: Path | None) -> Iterator[Garbage]:
    if path is None:
        return
    for found in sorted(path.parent.glob(_COPIES.format(name=_escaped(path.name)))):
        status = found.lstat()
        # its age is all that is known of it; with a wrong clock it stays, or a copy that is being made fails and says so
        if found.is_file() and not found.is_symlink() and time.time() - status.st_mtime > OLD_SECONDS:
            yield Garbage("temporary", found, status.st_size)


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def cache_garbage(cache_root: Path) -> list[Garbage]:
    """Everything in the cache that can be made again: prepared datasets, frozen features, compiled programs."""
    return [Garbage("cache", entry, size_of(entry)) for kind in layout.CACHES for entry in _folders(cache_root / kind)]


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, links left out, by name; none when it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; links are not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += (Path(place) / name).lstat().st_size
    return total


def _refuse_shared(database: Database, root: Path) -> None:
    """`a.sqlite` and `a.db` keep their artifacts in one folder, `a.artifacts`: what is an orphan of one is the other's."""
    here = root.absolute()
    others = [
        path
        for path in sorted(here.parent.glob(f"{_escaped(here.stem)}.*"))
        if path.suffix in layout.DATABASE_ENDINGS
        and layout.artifacts_folder(path) == here
        and path.resolve() != database.path
    ]
    if others:
        raise UserError(
            f"{root}: expected the artifacts of {database.display_name} alone, but {others[0].name} beside it has its "
            "files there too. Move one of them to a folder of its own, with its artifacts"
        )
