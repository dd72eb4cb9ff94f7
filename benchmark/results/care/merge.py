"""Merges the results of another machine's database into this one, for `bench db merge`; merging again adds nothing.

Ids of runs, executions, attempts and artifacts are local to their file and are assigned anew; cells are matched by their
ids. `_RUN_IDENTITY` and `_Executions` say when two runs or executions are the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from benchmark import faults
from benchmark.errors import StorageError
from benchmark.files import being_written, publish_into, sync, temporary_folder
from benchmark.results.artifacts.artifact_folder import claim
from benchmark.results.artifacts.artifact_place import ArtifactPlace, claim_url
from benchmark.results.artifacts.artifact_store import store_of
from benchmark.results.artifacts.remembered_places import EVERY_HOST, remembered
from benchmark.results.care.check import artifact_problem
from benchmark.results.read.rows import Row
from benchmark.results.schema.tables import (
    TABLES,
    artifact,
    artifact_folder,
    attempt,
    cell,
    epoch,
    execution,
    look,
    message,
    node,
    run,
    run_cell,
)
from benchmark.results.store.database import Database
from benchmark.results.write.registration import inserted_id
from benchmark.status import FINAL, Cause, Status

_RUN_IDENTITY = ("machine", "started_utc", "boot_id", "pid", "process_start_ticks", "command")
"""Columns that together differ between any two runs, and are equal for the same run in two files."""

_NOT_MERGED = (artifact_folder, message)
_HANDLED = (run, cell, run_cell, execution, attempt, epoch, artifact, look, node, *_NOT_MERGED)
_OTHER_TABLES = tuple(table for table in TABLES if table not in _HANDLED)
"""Further tables whose rows belong to an execution and have its id in their key."""

_CELLS_AT_ONCE = 500


@dataclass(slots=True)
class Merge:
    """Counts of what was merged from one database.

    Attributes:
        added: Rows added, by table.
        renewed: Executions that existed here and had continued there.
        unfinished: Runs that had not ended there.
        files: Artifacts copied.
        missing: Artifacts left out, because their file was missing or had changed.
        doubled: Executions added of cells that this database has of the same machine; the added ones count as newer.
    """

    added: dict[str, int] = field(default_factory=lambda: dict.fromkeys((table.name for table in TABLES), 0))
    renewed: int = 0
    unfinished: int = 0
    files: int = 0
    missing: int = 0
    doubled: int = 0


def merge(
    destination: Database, source: Database, destination_root: Path, source_root: Path, source_url: str | None = None
) -> Merge:
    """Adds the rows and artifacts of another database that this one does not have.

    Args:
        destination: Open for writing.
        source: Open for reading.
        destination_root: The artifacts folder of the destination by its name; files are copied into the one it has.
        source_root: The artifacts folder of the source, or that of copies.
        source_url: Where its artifacts are, if not in a folder.

    Returns:
        What was added.

    Raises:
        StorageError: A database cannot be read or written, or a file cannot be copied. Then no row was added.
    """
    done = Merge()
    with source.reading() as there, destination.transaction() as here:
        runs, new = _merge_runs(there, here, done)
        _merge_cells(there, here, runs, done)
        _merge_nodes(there, here, runs, done)
        for old, number in new.items():
            rows = _rows(there, sa.select(run_cell).where(run_cell.c.run_id == old).order_by(run_cell.c.position))
            _insert_all(here, run_cell, [{**row, "run_id": number} for row in rows], done)
        place = ArtifactPlace(source_root, source_url)
        url = remembered(here).get(EVERY_HOST)
        with contextlib.ExitStack() as stack:
            claimed = cache(
                partial(claim, destination.location, here, destination_root)
                if url is None
                else lambda: Path(stack.enter_context(temporary_folder()))
            )
            aside = cache(
                lambda: stack.enter_context(being_written(claimed() / f".merge-{os.urandom(4).hex()}.partial"))
            )
            executions = _Executions(there, here, runs, done, partial(_copy_file, place, aside)).merge()
            _merge_looks(there, here, runs, executions, done)
            if done.files and url is None:
                _publish(aside(), claimed())
            elif done.files and url is not None:
                _put_there(aside(), claim_url(destination.location, here, url))
    return done


def _merge_runs(there: sa.Connection, here: sa.Connection, done: Merge) -> tuple[dict[int, int], dict[int, int]]:
    """Adds runs; returns for each run id there the id here, of all runs and of the new ones."""
    known = {_run_identity(row): row for row in _rows(here, sa.select(run))}
    numbers, new = {}, {}
    for row in _rows(there, sa.select(run).order_by(run.c.run_id)):
        old = row.pop("run_id")
        done.unfinished += row["state"] == Status.RUNNING
        row["state"] = _ended(row["state"])
        same = known.get(_run_identity(row))
        if same is None:
            numbers[old] = new[old] = inserted_id(here, run.insert().values(**row))
            done.added["run"] += 1
            continue
        numbers[old] = same["run_id"]
        if same["state"] == Cause.ABANDONED and row["state"] != Cause.ABANDONED:
            here.execute(run.update().where(run.c.run_id == same["run_id"]).values(**row))
    return numbers, new


def _ended(state: str) -> str:
    """The state of a run or attempt of another machine: `running` cannot be verified here and counts as abandoned."""
    return Cause.ABANDONED if state == Status.RUNNING else state


def _run_identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _RUN_IDENTITY)


def _merge_cells(there: sa.Connection, here: sa.Connection, runs: Mapping[int, int], done: Merge) -> None:
    ids = list(there.scalars(sa.select(cell.c.cell_id).order_by(cell.c.cell_id)))
    for first in range(0, len(ids), _CELLS_AT_ONCE):
        batch = ids[first : first + _CELLS_AT_ONCE]
        known = set(here.scalars(sa.select(cell.c.cell_id).where(cell.c.cell_id.in_(batch))))
        new = [cell_id for cell_id in batch if cell_id not in known]
        rows = _rows(there, sa.select(cell).where(cell.c.cell_id.in_(new)))
        for row in rows:
            row["first_run_id"] = runs[row["first_run_id"]]
        _insert_all(here, cell, rows, done)


def _merge_nodes(there: sa.Connection, here: sa.Connection, runs: Mapping[int, int], done: Merge) -> None:
    """Adds the nodes that took part in a run; none of them is a member of it here."""
    identity = (node.c.run_id, node.c.name, node.c.joined_utc)
    known = set(map(tuple, here.execute(sa.select(*identity))))
    rows = []
    for row in _rows(there, sa.select(node).order_by(node.c.node_id)):
        row |= {"run_id": runs[row["run_id"]], "left_utc": row["left_utc"] or row["lease_until_utc"]}
        if tuple(row[column.name] for column in identity) not in known:
            rows.append({name: value for name, value in row.items() if name != "node_id"})
    _insert_all(here, node, rows, done)


def _merge_looks(
    there: sa.Connection, here: sa.Connection, runs: Mapping[int, int], executions: Mapping[int, int], done: Merge
) -> None:
    """Adds the looks that are not here yet; they name runs and executions by their numbers here."""
    known = [_without_id(row) for row in _rows(here, sa.select(look))]
    for row in map(_without_id, _rows(there, sa.select(look).order_by(look.c.look_id))):
        row["run_id"] = runs.get(row["run_id"])
        sides = json.loads(row["executions"])
        row["executions"] = json.dumps(
            [[executions[number] for number in side if number in executions] for side in sides]
        )
        if row not in known:
            _insert_all(here, look, [row], done)


def _without_id(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "look_id"}


class _Executions:
    """Merges the executions of one database into another.

    Two executions are the same when they have the same cell, machine and first run, and the attempts of one (number and
    run of each) begin with those of the other. The one that has continued further is kept.
    """

    def __init__(
        self, there: sa.Connection, here: sa.Connection, runs: Mapping[int, int], done: Merge, copy: Callable[..., bool]
    ) -> None:
        self._there, self._here, self._runs, self._done, self._copy = there, here, runs, done, copy
        self._known: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in _rows(here, sa.select(execution).where(execution.c.first_run_id.in_(set(runs.values())))):
            self._known[row["cell_id"], row["machine"], row["first_run_id"]].append(row)
        self._before = set(map(tuple, here.execute(sa.select(execution.c.cell_id, execution.c.machine))))

    def merge(self) -> dict[int, int]:
        """Adds, renews or skips each execution, oldest first; returns for each id there the id here."""
        numbers = {}
        for row in _rows(self._there, sa.select(execution).order_by(execution.c.execution_id)):
            numbers[row["execution_id"]] = self._merge_execution(dict(row))
        return numbers

    def _merge_execution(self, row: Row) -> int:
        old = row.pop("execution_id")
        row["first_run_id"], row["run_id"] = self._runs[row["first_run_id"]], self._runs[row["run_id"]]
        if row["status"] in {Status.RUNNING, Status.PENDING}:
            row.update(status=Status.INTERRUPTED, cause=Cause.ABANDONED)
        attempts = self._attempts(self._there, old, self._runs)
        for same in self._known[row["cell_id"], row["machine"], row["first_run_id"]]:
            known_attempts = self._attempts(self._here, same["execution_id"], None)
            behind = (row["epochs"] or 0) <= (same["epochs"] or 0) or same["status"] in FINAL
            if behind and _begins_with(known_attempts, attempts):
                self._add_files(old, same["execution_id"], attempts)
                return int(same["execution_id"])
            if _begins_with(attempts, known_attempts) and same["status"] not in FINAL:
                self._renew(old, same["execution_id"], row)
                return int(same["execution_id"])
        return self._add(old, row)

    def _attempts(
        self, side: sa.Connection, execution_id: int, runs: Mapping[int, int] | None
    ) -> list[tuple[Any, ...]]:
        """Number, run id here, state and attempt id of each attempt, in their order."""
        rows = side.execute(
            sa.select(attempt.c.number, attempt.c.run_id, attempt.c.state, attempt.c.attempt_id)
            .where(attempt.c.execution_id == execution_id)
            .order_by(attempt.c.number)
        )
        return [
            (number, runs[run_id] if runs else run_id, _ended(state), attempt_id)
            for number, run_id, state, attempt_id in rows
        ]

    def _add(self, old: int, row: Row) -> int:
        # triggers forbid adding rows to a final execution, so it becomes final at the end of `_fill`
        unfinished = {**row, "status": Status.INTERRUPTED, "cause": Cause.ABANDONED}
        new = inserted_id(self._here, execution.insert().values(**unfinished))
        self._done.added["execution"] += 1
        self._done.doubled += (row["cell_id"], row["machine"]) in self._before
        self._fill(old, new, row)
        return new

    def _renew(self, old: int, new: int, row: Row) -> None:
        for table in (*_OTHER_TABLES, artifact, epoch, attempt):
            self._here.execute(table.delete().where(table.c.execution_id == new))
        self._done.renewed += 1
        self._fill(old, new, row)

    def _fill(self, old: int, new: int, row: Row) -> None:
        attempts = {}
        for part in self._parts(attempt, old, attempt.c.number):
            attempt_id = part.pop("attempt_id")
            part.update(execution_id=new, run_id=self._runs[part["run_id"]], state=_ended(part["state"]))
            attempts[attempt_id] = inserted_id(self._here, attempt.insert().values(**part))
        self._done.added["attempt"] += len(attempts)
        for part in (epochs := self._parts(epoch, old, epoch.c.epoch)):
            part.update(execution_id=new, attempt_id=attempts[part["attempt_id"]], run_id=self._runs[part["run_id"]])
        _insert_all(self._here, epoch, epochs, self._done)
        for table in _OTHER_TABLES:
            rows = [{**part, "execution_id": new} for part in self._parts(table, old)]
            _insert_all(self._here, table, rows, self._done)
        self._copy_artifacts(old, new, attempts, set())
        self._here.execute(execution.update().where(execution.c.execution_id == new).values(**row))

    def _add_files(self, old: int, new: int, attempts: Sequence[tuple[Any, ...]]) -> None:
        """Adds artifacts that an earlier merge left out, because their files were missing."""
        by_number = {number: attempt_id for number, *_, attempt_id in self._attempts(self._here, new, None)}
        ids = {attempt_id: by_number[number] for number, *_, attempt_id in attempts}
        rows = self._here.execute(sa.select(artifact.c.path).where(artifact.c.execution_id == new))
        self._copy_artifacts(old, new, ids, set(rows.scalars()))

    def _copy_artifacts(self, old: int, new: int, attempts: Mapping[int, int], known: Collection[str]) -> None:
        rows = []
        for row in self._parts(artifact, old, artifact.c.artifact_id):
            del row["artifact_id"]
            path = row["path"]
            row.update(execution_id=new, attempt_id=attempts[row["attempt_id"]])
            cell_id, _, *parts = PurePosixPath(path).parts
            row["path"] = str(PurePosixPath(cell_id, str(row["attempt_id"]), *parts))
            if row["path"] in known:
                continue
            if self._copy(path, row):
                rows.append(row)
            else:
                self._done.missing += 1
        self._done.files += len(rows)
        _insert_all(self._here, artifact, rows, self._done)

    def _parts(self, table: sa.Table, execution_id: int, *order: Any) -> list[Row]:
        return _rows(self._there, sa.select(table).where(table.c.execution_id == execution_id).order_by(*order))


def _begins_with(longer: Sequence[tuple[Any, ...]], shorter: Sequence[tuple[Any, ...]]) -> bool:
    """Whether one list of attempts begins with the other; an abandoned attempt may have continued in the longer one."""
    pairs = zip(longer, shorter, strict=False)
    return len(longer) >= len(shorter) and all(
        long[:2] == short[:2] and short[2] in {long[2], Cause.ABANDONED} for long, short in pairs
    )


def _copy_file(source: ArtifactPlace, destination: Callable[[], Path], path: str, row: Mapping[str, Any]) -> bool:
    """Copies an artifact to the path of its new row; False when it is not as it was recorded."""
    if source.url is not None:
        with contextlib.suppress(StorageError):
            source.local(path, row["sha256"])
    if artifact_problem(source.root, path, row["sha256"], row["size_bytes"]) is not None:
        return False
    target = destination() / row["path"]
    if not target.resolve().is_relative_to(destination().resolve()):
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.root / path, target)
        faults.point("write")
        sync(target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}. Nothing was merged") from error
    return True


def _put_there(aside: Path, url: str) -> None:
    """Puts the copied files below the URL of the destination."""
    for path in aside.rglob("*"):
        if path.is_file():
            store_of(url).put(path, path.relative_to(aside).as_posix())


def _publish(aside: Path, folder: Path) -> None:
    """Moves the copied files to where they belong; of attempts that the database does not know none may lie there long."""
    try:
        publish_into(aside, folder)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: cannot be written: {error.strerror}. Nothing was merged"
        ) from error


def _rows(side: sa.Connection, statement: sa.Select[Any]) -> list[Row]:
    return [dict(row) for row in side.execute(statement).mappings()]


def _insert_all(side: sa.Connection, table: sa.Table, rows: Sequence[Row], done: Merge) -> None:
    if rows:
        side.execute(table.insert(), rows)
        done.added[table.name] += len(rows)
