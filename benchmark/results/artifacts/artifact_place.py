"""The place of a database's artifacts, whichever it is: the folder beside it, another one, or a URL with copies in the cache.

Whoever reads a file asks for its local path: in a folder it is the file itself, of a URL a copy that is fetched when it is
needed, and verified each time. A URL is remembered by the database for all computers, and belongs to one database, by a
mark as in a folder (see `artifact_folder`).
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import Path

import sqlalchemy as sa

from benchmark import layout, machine
from benchmark.catalog.cache import default_cache_root
from benchmark.errors import BenchError, StorageError
from benchmark.files import sha256_of
from benchmark.results.artifacts.artifact_folder import (
    IDENTITY_DIGITS,
    Mark,
    folder_of,
    has_unknown,
    identity_of,
    name_of,
)
from benchmark.results.artifacts.artifact_store import ArtifactStore, store_of
from benchmark.results.artifacts.artifact_url import checked_url, is_url
from benchmark.results.artifacts.remembered_places import EVERY_HOST, remember, remembered, remembered_folder
from benchmark.results.schema.tables import attempt
from benchmark.results.store import journal_mode
from benchmark.results.store.database import Database, open_database
from benchmark.results.store.engine import connect_sqlite
from benchmark.results.store.location import Location, locate, side_file

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArtifactPlace:
    """Where artifacts are.

    Attributes:
        root: The folder that holds them, or copies of them.
        url: Where they are, if `root` has copies; None for a folder.
    """

    root: Path
    url: str | None = None

    @property
    def store(self) -> ArtifactStore | None:
        """What is below the URL; None for a folder."""
        return None if self.url is None else store_of(self.url)

    @property
    def name(self) -> str:
        """Of the place, in messages."""
        return self.url or str(self.root)

    def shown(self, path: str) -> str:
        """Where a file is, in messages; `path` is that of its row in the database."""
        return str(self.root / path) if self.url is None else f"{self.url}/{path}"

    def local(self, path: str, sha256: str) -> Path:
        """The path of a file that can be read here; in a folder it need not exist.

        Raises:
            StorageError: It is below a URL, and cannot be fetched from there as it was recorded.
        """
        target = self.root / path
        if (store := self.store) is not None:
            with suppress(OSError):
                if sha256_of(target) == sha256:
                    return target
            store.get(path, target, sha256)
        return target


def place_named(place: str) -> ArtifactPlace:
    """The place that is named with `--artifacts`; raises `UserError` for a URL that cannot be one."""
    return _place_below(checked_url(place)) if is_url(place) else ArtifactPlace(Path(place).absolute())


def _place_below(url: str) -> ArtifactPlace:
    return ArtifactPlace(layout.copies_folder(default_cache_root(), sha256_of(url.encode())[:16]), url)


def place_of(target: str | os.PathLike[str]) -> ArtifactPlace:
    """The place of a database's artifacts, to read from; it need not exist."""
    location = locate(target)
    if location.path is not None:
        places = _remembered_in_file(location)
        folder = places.get(machine.default_machine_name())
        if (url := places.get(EVERY_HOST)) is not None:
            return _place_below(url)
        return ArtifactPlace(Path(folder) if folder is not None and Path(folder).is_dir() else folder_of(target))
    try:
        with open_database(target, mode="read") as database, database.reading() as connection:
            url = remembered(connection).get(EVERY_HOST)
            own = remembered_folder(connection)
    except BenchError:
        return ArtifactPlace(layout.artifacts_folder(None))
    return _place_below(url) if url is not None else ArtifactPlace(own or layout.artifacts_folder(None))


def remember_folder(database: Database, folder: Path) -> None:
    """Has a database in a file remember its folder, where that is none beside it, or it has had another place before."""
    assert database.path is not None
    host, path = machine.default_machine_name(), str(folder.absolute())
    with database.reading() as connection:
        places = remembered(connection)
    if places.get(host) != path and (places or folder.absolute().parent != database.path.parent):
        with database.transaction() as connection:
            remember(connection, host, path)


def _remembered_in_file(location: Location) -> dict[str, str]:
    """The places that a database in a file remembers; none where it cannot be read, which others say."""
    if location.path is None or not location.path.is_file():
        return {}
    # where no -wal file is, none must be made: whoever opens the database next says that it is missing
    immutable = journal_mode.is_frozen(location.path) or not side_file(location.path, "-wal").exists()
    try:
        with closing(connect_sqlite(location, "ro", immutable=immutable)) as connection:
            return dict(connection.execute("SELECT host, path FROM artifact_folder"))
    except (sqlite3.Error, OSError):
        return {}


# ---- whose it is


def claim_url(location: Location, connection: sa.Connection, url: str) -> str:
    """The URL that a database writes its artifacts to, which it remembers; marks it.

    Args:
        location: Of the database, which the caller holds.
        connection: Open on it, in a writing transaction.
        url: The one that was asked for, or that it has had.

    Returns:
        `url`, or one below it where that one belongs to another database. Without any run there is nothing yet to know the
        database by: `url`, unmarked.

    Raises:
        StorageError: It cannot be read or written.
    """
    identity = identity_of(connection)
    if identity is None:
        return url
    own = f"{url}/database-{identity[:IDENTITY_DIGITS]}"
    for each in chain([url, own], (f"{own}-{number}" for number in count(2))):
        mark = _own_mark(location, connection, store_of(each))
        if mark is None:
            continue
        if each != url:
            log.warning("%s: another database has used it; the files of %s go to %s", url, location.name, each)
        _write_mark(store_of(each), replace(mark, newest=None))
        remember(connection, EVERY_HOST, each)
        return each
    raise AssertionError


def release_url(location: Location, connection: sa.Connection, url: str) -> None:
    """Notes in the mark of a claimed URL which attempt was the last to use it; best effort."""
    newest = sa.select(attempt.c.attempt_id, attempt.c.started_utc).order_by(attempt.c.attempt_id.desc()).limit(1)
    with suppress(StorageError):
        mark = _read_mark(store_of(url))
        if mark is not None and (row := connection.execute(newest).first()) is not None:
            _write_mark(store_of(url), replace(mark, database=name_of(location), newest=(row[0], row[1])))


def is_own_url(location: Location, connection: sa.Connection, url: str) -> bool:
    """Whether what is below a URL is the database's own."""
    return _own_mark(location, connection, store_of(url)) is not None


def _own_mark(location: Location, connection: sa.Connection, store: ArtifactStore) -> Mark | None:
    mark, mine = _read_mark(store), Mark(identity_of(connection) or "", name_of(location))
    if mark is not None and mark.newest is not None:
        known = connection.scalar(sa.select(attempt.c.started_utc).where(attempt.c.attempt_id == mark.newest[0]))
        return replace(mine, newest=mark.newest) if known == mark.newest[1] else None
    if mark is not None and mark.identity != mine.identity:
        return None
    names = (name.split("/") for name in store.files())
    attempts = {(parts[0], int(parts[1])) for parts in names if _is_of_attempt(parts)}
    if mark is None and attempts:
        return None
    return None if has_unknown(connection, sorted(attempts)) else mine


def _is_of_attempt(parts: list[str]) -> bool:
    return len(parts) > 2 and layout.CELL_FOLDER.fullmatch(parts[0]) is not None and parts[1].isdecimal()


def _read_mark(store: ArtifactStore) -> Mark | None:
    content = store.read(layout.OWN_MARK)
    try:
        fields = json.loads(content or b"")
        return Mark(**{**fields, "newest": fields.get("newest") and tuple(fields["newest"])})
    except (ValueError, TypeError, AttributeError):
        return None


def _write_mark(store: ArtifactStore, mark: Mark) -> None:
    if _read_mark(store) != mark:
        store.write(layout.OWN_MARK, json.dumps(asdict(mark)).encode())
