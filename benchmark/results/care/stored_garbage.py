"""Finds the files below the URL of artifacts that nothing needs any more: the same as `garbage` finds in a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import sqlalchemy as sa

from benchmark import layout
from benchmark.errors import UserError
from benchmark.files import is_partial
from benchmark.results.artifacts.artifact_place import is_own_url
from benchmark.results.artifacts.artifact_store import ArtifactStore, StoredFile
from benchmark.results.care.garbage import LOGS, STATES, Garbage, Owner, beside_database, owners_of
from benchmark.results.schema.tables import artifact
from benchmark.results.store.database import Database


def find_stored_garbage(database: Database, store: ArtifactStore) -> list[Garbage]:
    """Finds the garbage below a URL and beside the database.

    Args:
        database: An open database. While a run writes it, files that the run is making may be among the result.
        store: What is below the URL of its artifacts.

    Raises:
        UserError: What is there belongs to another database.
        StorageError: It cannot be listed.
    """
    with database.reading() as connection:
        if not is_own_url(database.location, connection, store.url):
            raise UserError(
                f"{store.url}: expected the artifacts of {database.display_name} alone, but another database has used the "
                "place as well. Nothing was deleted; give each database a place of its own: bench run --artifacts URL"
            )
        owners = owners_of(connection)
        registered = set(connection.execute(sa.select(artifact.c.path)).scalars())
    return [*_below(store, owners, registered), *beside_database(database.path)]


def _below(store: ArtifactStore, owners: Mapping[int, Owner], registered: set[str]) -> Iterator[Garbage]:
    files = store.files()
    needed = {path.rpartition("/")[0] for path in registered}
    may_resume = any(owner.running or owner.may_resume for owner in owners.values())
    attempts: defaultdict[tuple[str, str], dict[str, StoredFile]] = defaultdict(dict)
    for name, file in files.items():
        parts = PurePosixPath(name).parts
        if len(parts) > 2 and layout.CELL_FOLDER.fullmatch(parts[0]) and parts[1].isdecimal():
            attempts[parts[0], parts[1]][name] = file
        elif parts[0] == layout.stages_folder(Path()).name and not may_resume:
            yield Garbage("state", Path(name), file.size_bytes, store.url)
        elif len(parts) == 1 and is_partial(name):
            yield Garbage("temporary", Path(name), file.size_bytes, store.url)
    for (cell_id, number), here in sorted(attempts.items()):
        owner = owners.get(int(number))
        if owner is None or owner.cell_id != cell_id:
            if not any(place.startswith(f"{cell_id}/{number}") for place in needed):
                yield from (Garbage("orphan", Path(name), file.size_bytes, store.url) for name, file in here.items())
        elif not owner.running:
            yield from _in_attempt(store, here, owner, registered)


def _in_attempt(
    store: ArtifactStore, files: Mapping[str, StoredFile], owner: Owner, registered: set[str]
) -> Iterator[Garbage]:
    for path, file in sorted(files.items()):
        name = PurePosixPath(path).name
        if path in registered:
            continue
        if is_partial(name):
            yield Garbage("temporary", Path(path), file.size_bytes, store.url)
        elif name not in LOGS and not owner.may_resume:
            kind = "state" if name in {*STATES, layout.SCRIPT_ARCHIVE} else "orphan"
            yield Garbage(kind, Path(path), file.size_bytes, store.url)
