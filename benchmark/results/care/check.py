"""Checks whether a database and its artifacts still hold what was recorded, for `bench db check`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import sqlalchemy as sa

from benchmark import faults
from benchmark.errors import BenchError, StorageError
from benchmark.files import sha256_of
from benchmark.results.artifacts.artifact_store import ArtifactStore
from benchmark.results.care.invalid_values import invalid_values
from benchmark.results.schema.nan_values import null_to_nan
from benchmark.results.schema.tables import artifact, attempt, epoch, execution, prediction
from benchmark.results.store import journal_mode
from benchmark.results.store.database import Database, open_database
from benchmark.results.store.engine import connect_sqlite
from benchmark.results.write.result_digest import execution_digest
from benchmark.units import plural

_EXECUTIONS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Damage:
    """A difference between what was recorded and what is there.

    Attributes:
        kind: `file` (pages of the database), `value` (one that bench never writes), `reference` (a foreign key without
            its row), `digest` (results of an execution have changed), `prediction` (its predictions have), `artifact`
            (a file is missing or has changed).
        where: The execution, attempt, table or file.
        detail: What was expected and what was found.
    """

    kind: str
    where: str
    detail: str

    def as_error(self, target: str | os.PathLike[str]) -> StorageError:
        """Returns the error of a command that cannot read the database because of this damage."""
        return StorageError(
            f"{target}: it holds what bench did not write there: {self.where}: {self.detail}. It was not touched; put a "
            f"backup in its place, or see all of it with: bench db check --db '{target}', and save the rest with: "
            f"bench db salvage '{target}' rescued.sqlite"
        )


def check_database(database: Database, artifacts_root: Path | None, store: ArtifactStore | None = None) -> list[Damage]:
    """Checks the file's pages, its values, references, digests and predictions, and the artifacts' sha256.

    Args:
        database: An open database.
        artifacts_root: The artifacts folder; None to leave artifacts out.
        store: What is below the URL of artifacts, if they are there.

    Returns:
        All damage; empty when there is none.

    Raises:
        StorageError: The database cannot be read at all.
    """
    damages = list(_check_file(database)) if database.path is not None else []
    if any(damage.kind == "file" for damage in damages):
        # reading the rows of a file with damaged pages may fail anywhere
        return damages
    with database.reading() as connection:
        if database.path is not None:
            damages += [Damage("value", where, detail) for where, detail in invalid_values(connection)]
        if any(damage.kind == "value" for damage in damages):
            return damages
        damages += _check_digests(connection)
        damages += _check_predictions(connection)
        if store is not None:
            damages += _check_stored(connection, store)
        elif artifacts_root is not None:
            damages += _check_artifacts(connection, artifacts_root)
    return damages


def _check_file(database: Database) -> Iterator[Damage]:
    assert database.path is not None
    immutable = journal_mode.is_frozen(database.path)
    with closing(connect_sqlite(database.location, "ro", immutable=immutable)) as connection:
        try:
            for (line,) in connection.execute("PRAGMA integrity_check(20)"):
                if line != "ok":
                    yield Damage("file", database.display_name, line)
            for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check"):
                yield Damage("reference", f"{table} row {rowid}", f"refers to a row of {parent} that is not there")
        except sqlite3.DatabaseError as error:
            yield Damage("file", database.display_name, str(error))


def _check_digests(connection: sa.Connection) -> Iterator[Damage]:
    query = sa.select(execution).where(execution.c.digest.is_not(None)).order_by(execution.c.execution_id)
    finished = [null_to_nan(row) for row in connection.execute(query).mappings()]
    for first in range(0, len(finished), _EXECUTIONS_AT_ONCE):
        batch = finished[first : first + _EXECUTIONS_AT_ONCE]
        ids = [row["execution_id"] for row in batch]
        rows = connection.execute(
            sa.select(epoch).where(epoch.c.execution_id.in_(ids)).order_by(epoch.c.execution_id, epoch.c.epoch)
        ).mappings()
        epochs = {key: list(group) for key, group in groupby(map(null_to_nan, rows), key=itemgetter("execution_id"))}
        for row in batch:
            digest = execution_digest(row["cell_id"], row, epochs.get(row["execution_id"], []))
            if digest != row["digest"]:
                last = connection.scalar(
                    sa.select(sa.func.max(attempt.c.attempt_id)).where(attempt.c.execution_id == row["execution_id"])
                )
                yield Damage(
                    "digest",
                    f"cell {row['cell_id']}, execution {row['execution_id']}, attempt {last}",
                    f"its numbers have changed since it was recorded: expected {row['digest']}, got {digest}",
                )


def _check_predictions(connection: sa.Connection) -> Iterator[Damage]:
    rows = sa.select(
        prediction.c.execution_id, prediction.c.split, prediction.c.sha256, prediction.c.content, execution.c.cell_id
    )
    rows = rows.join(execution, execution.c.execution_id == prediction.c.execution_id)
    for row in connection.execute(rows.order_by(*prediction.primary_key)):
        actual = sha256_of(row.content)
        if actual != row.sha256:
            where = f"cell {row.cell_id}, execution {row.execution_id}"
            detail = f"its {row.split} predictions have changed since they were recorded: expected {row.sha256}, got {actual}"
            yield Damage("prediction", where, detail)


def _check_artifacts(connection: sa.Connection, root: Path) -> Iterator[Damage]:
    rows = connection.execute(sa.select(artifact).order_by(artifact.c.artifact_id)).all()
    if rows and not root.exists():
        files = plural(len(rows), "file")
        detail = f"the folder is missing, with its {files}: expected it beside the database, also beside a copy"
        yield Damage("artifact", str(root), detail)
        return
    for row in rows:
        problem = artifact_problem(root, row.path, row.sha256, row.size_bytes)
        if problem:
            yield Damage("artifact", row.path, problem)


def _check_stored(connection: sa.Connection, store: ArtifactStore) -> Iterator[Damage]:
    files = store.files()
    for row in connection.execute(sa.select(artifact).order_by(artifact.c.artifact_id)):
        file = files.get(row.path)
        if file is None:
            problem = "is missing"
        elif file.size_bytes != row.size_bytes:
            problem = f"expected {row.size_bytes} bytes, got {file.size_bytes}"
        elif (actual := store.sha256(row.path)) != row.sha256:
            problem = f"expected the sha256 {row.sha256}, got {actual}"
        else:
            continue
        yield Damage("artifact", f"{store.url}/{row.path}", problem)


def require_sound(database: Database) -> None:
    """Refuses to merge a database with damage that could not be found any more in the merged one.

    Changed digests and predictions pass: they can be found there too.

    Raises:
        StorageError: Its pages, values or references are damaged.
    """
    for damage in check_database(database, None):
        if damage.kind in {"file", "value", "reference"}:
            raise damage.as_error(database.display_name)


def first_damage(target: str | os.PathLike[str]) -> Damage | None:
    """Checks a database without its artifacts.

    Returns:
        The first damage; None when there is none, and when the database cannot be opened or read.
    """
    try:
        with open_database(target, mode="read") as database:
            return next(iter(check_database(database, None)), None)
    except (BenchError, sa.exc.SQLAlchemyError, sqlite3.Error):
        return None


def artifact_problem(root: Path, path: str, sha256: str, size_bytes: int) -> str | None:
    """Describes what is wrong with an artifact; None when it is as it was recorded.

    Nothing outside of `root`, the artifacts folder, is ever read.
    """
    place = (root / path).resolve()
    if not place.is_relative_to(root.resolve()):
        return "leads out of the artifacts folder"
    try:
        size = place.stat().st_size
        if size != size_bytes:
            return f"expected {size_bytes} bytes, got {size}"
        faults.point("verify")
        actual = sha256_of(place)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if actual == sha256 else f"expected the sha256 {sha256}, got {actual}"
