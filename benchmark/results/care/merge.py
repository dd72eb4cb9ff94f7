"""`bench db merge`: the results of other machines' databases in one, each row once, however often they are merged.

Numbers of runs, executions, attempts and artifacts are those of the file they stand in, so they are given anew; cells
are shared by their ids. What tells two runs or executions to be the same one is said at `_RUN_MARKS` and in `_Executions`.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from benchmark.errors import StorageError
from benchmark.files import appearing
from benchmark.results.care.check import artifact_problem
from benchmark.results.schema.tables import (
    TABLES,
    artifact,
    attempt,
    cell,
    epoch,
    execution,
    run,
    run_cell,
)
from benchmark.results.store.database import Database
from benchmark.status import FINAL, Cause, Status

_RUN_MARKS = ("machine", "started_utc", "boot_id", "pid", "process_start_ticks", "command")
"""What two runs never share, and the same run in two files always does."""

_HANDLED = {table.name for table in (run, cell, run_cell, execution, attempt, epoch, artifact)}
_PARTS = tuple(table for table in TABLES if table.name not in _HANDLED)
"""Further tables whose rows belong to an execution, and have its number for a key."""

_AT_ONCE = 500

Row = dict[str, Any]


@dataclass(slots=True)
class Merge:
    """What was added from one database.

    Attributes:
        added: Rows by table.
        renewed: Executions that were here, but had gone on there.
        unfinished: Runs that had not ended there.
        files: Artifacts that were copied.
        missing: Artifacts whose file was not there or had changed, and which were left out therefore.
        doubled: Executions of cells that the same machine had finished here too; those that were added count as newer.
    """

    added: dict[str, int] = field(default_factory=lambda: dict.fromkeys((table.name for table in TABLES), 0))
    renewed: int = 0
    unfinished: int = 0
    files: int = 0
    missing: int = 0
    doubled: int = 0


def merge(destination: Database, source: Database, destination_root: Path, source_root: Path) -> Merge:
    """Add what another database holds and this one does not.

    Args:
        destination: Open for writing.
        source: Open for reading.
        destination_root: The artifacts folder of the one, which files are copied into.
        source_root: The artifacts folder of the other.

    Returns:
        What was added; nothing when all was there.

    Raises:
        StorageError: A database cannot be read or written, or a file cannot be copied. Then no row was added.
    """
    done = Merge()
    with source.reading() as there, destination.transaction() as here:
        runs, new = _merge_runs(there, here, done)
        _merge_cells(there, here, runs, done)
        _merge_run_cells(there, here, new, done)
        _Executions(there, here, runs, done, _Files(source_root, destination_root, done)).merge()
    return done


def _merge_runs(there: sa.Connection, here: sa.Connection, done: Merge) -> tuple[dict[int, int], dict[int, int]]:
    """Add runs; returns the number here of each number there, of all runs and of those that are new."""
    known = {_marks(row): row for row in _rows(here, sa.select(run))}
    numbers, new = {}, {}
    for row in _rows(there, sa.select(run).order_by(run.c.run_id)):
        old = row.pop("run_id")
        done.unfinished += row["state"] == Status.RUNNING
        row["state"] = _ended(row["state"])
        same = known.get(_marks(row))
        if same is None:
            numbers[old] = new[old] = _insert(here, run, row)
            done.added["run"] += 1
            continue
        numbers[old] = same["run_id"]
        if same["state"] == Cause.ABANDONED and row["state"] != Cause.ABANDONED:
            here.execute(run.update().where(run.c.run_id == same["run_id"]).values(**row))
    return numbers, new


def _ended(state: str) -> str:
    """What the state of a run or attempt is to somebody who cannot see whether it still goes on."""
    return Cause.ABANDONED if state == Status.RUNNING else state


def _marks(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _RUN_MARKS)


def _merge_cells(there: sa.Connection, here: sa.Connection, runs: Mapping[int, int], done: Merge) -> None:
    ids = list(there.scalars(sa.select(cell.c.cell_id).order_by(cell.c.cell_id)))
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        known = set(here.scalars(sa.select(cell.c.cell_id).where(cell.c.cell_id.in_(some))))
        rows = _rows(there, sa.select(cell).where(cell.c.cell_id.in_([one for one in some if one not in known])))
        for row in rows:
            row["first_run_id"] = runs[row["first_run_id"]]
        _insert_all(here, cell, rows, done)


def _merge_run_cells(there: sa.Connection, here: sa.Connection, new: Mapping[int, int], done: Merge) -> None:
    for old, number in new.items():
        rows = _rows(there, sa.select(run_cell).where(run_cell.c.run_id == old).order_by(run_cell.c.position))
        _insert_all(here, run_cell, [{**row, "run_id": number} for row in rows], done)


class _Executions:
    """The executions of one database, on their way into another.

    Two are the same when they are of the same cell, on the same machine, begun by the same run, and one's attempts
    (number and run of each) begin with the other's. The one that has gone on further is kept.
    """

    def __init__(
        self, there: sa.Connection, here: sa.Connection, runs: Mapping[int, int], done: Merge, files: _Files
    ) -> None:
        self._there, self._here, self._runs, self._done, self._files = there, here, runs, done, files
        self._known: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in _rows(here, sa.select(execution).where(execution.c.first_run_id.in_(set(runs.values())))):
            self._known[row["cell_id"], row["machine"], row["first_run_id"]].append(row)
        self._before = set(map(tuple, here.execute(sa.select(execution.c.cell_id, execution.c.machine))))

    def merge(self) -> None:
        """Add or renew each of them, oldest first."""
        for row in _rows(self._there, sa.select(execution).order_by(execution.c.execution_id)):
            self._merge_one(row)

    def _merge_one(self, row: Row) -> None:
        old = row.pop("execution_id")
        row["first_run_id"], row["run_id"] = self._runs[row["first_run_id"]], self._runs[row["run_id"]]
        if row["status"] in {Status.RUNNING, Status.PENDING}:
            row.update(status=Status.INTERRUPTED, cause=Cause.ABANDONED)
        tries = self._tries(self._there, old, self._runs)
        for same in self._known[row["cell_id"], row["machine"], row["first_run_id"]]:
            shared = self._tries(self._here, same["execution_id"], None)
            behind = (row["epochs"] or 0) <= (same["epochs"] or 0) or same["status"] in FINAL
            if behind and _begins_with(shared, tries):
                self._add_files(old, same["execution_id"], tries)
                return
            if _begins_with(tries, shared) and same["status"] not in FINAL:
                self._renew(old, same["execution_id"], row)
                return
        self._add(old, row)

    def _tries(self, side: sa.Connection, execution_id: int, runs: Mapping[int, int] | None) -> list[tuple[Any, ...]]:
        rows = side.execute(
            sa.select(attempt.c.number, attempt.c.run_id, attempt.c.state, attempt.c.attempt_id)
            .where(attempt.c.execution_id == execution_id)
            .order_by(attempt.c.number)
        )
        return [
            (number, runs[run_id] if runs else run_id, _ended(state), attempt_id)
            for number, run_id, state, attempt_id in rows
        ]

    def _add(self, old: int, row: Row) -> None:
        # its parts can only be added while it has not come to an end: triggers of the database hold that
        new = _insert(self._here, execution, {**row, "status": Status.INTERRUPTED, "cause": Cause.ABANDONED})
        self._done.added["execution"] += 1
        self._done.doubled += (row["cell_id"], row["machine"]) in self._before
        self._fill(old, new, row)

    def _renew(self, old: int, new: int, row: Row) -> None:
        for table in (*_PARTS, artifact, epoch, attempt):
            self._here.execute(table.delete().where(table.c.execution_id == new))
        self._done.renewed += 1
        self._fill(old, new, row)

    def _fill(self, old: int, new: int, row: Row) -> None:
        attempts = {}
        for one in self._parts(attempt, old, attempt.c.number):
            number = one.pop("attempt_id")
            one.update(execution_id=new, run_id=self._runs[one["run_id"]], state=_ended(one["state"]))
            attempts[number] = _insert(self._here, attempt, one)
        self._done.added["attempt"] += len(attempts)
        for one in (epochs := self._parts(epoch, old, epoch.c.epoch)):
            one.update(execution_id=new, attempt_id=attempts[one["attempt_id"]], run_id=self._runs[one["run_id"]])
        _insert_all(self._here, epoch, epochs, self._done)
        for table in _PARTS:
            rows = [{**one, "execution_id": new} for one in self._parts(table, old)]
            _insert_all(self._here, table, rows, self._done)
        self._copy_artifacts(old, new, attempts, set())
        self._here.execute(execution.update().where(execution.c.execution_id == new).values(**row))

    def _add_files(self, old: int, new: int, tries: Sequence[tuple[Any, ...]]) -> None:
        """Artifacts that were left out before, because their files were not there."""
        here = {one[0]: one[3] for one in self._tries(self._here, new, None)}
        attempts = {one[3]: here[one[0]] for one in tries}
        rows = self._here.execute(sa.select(artifact.c.path).where(artifact.c.execution_id == new))
        self._copy_artifacts(old, new, attempts, set(rows.scalars()))

    def _copy_artifacts(self, old: int, new: int, attempts: Mapping[int, int], known: Collection[str]) -> None:
        rows = []
        for one in self._parts(artifact, old, artifact.c.artifact_id):
            del one["artifact_id"]
            path = one["path"]
            one.update(execution_id=new, attempt_id=attempts[one["attempt_id"]])
            one["path"] = _renumbered(path, one["attempt_id"])
            if one["path"] not in known and self._files.copy(path, one):
                rows.append(one)
        _insert_all(self._here, artifact, rows, self._done)

    def _parts(self, table: sa.Table, execution_id: int, *order: Any) -> list[Row]:
        return _rows(self._there, sa.select(table).where(table.c.execution_id == execution_id).order_by(*order))


def _begins_with(longer: Sequence[tuple[Any, ...]], shorter: Sequence[tuple[Any, ...]]) -> bool:
    """Whether one list of attempts goes on where the other ends; one that counted as abandoned may have gone on too."""
    pairs = zip(longer, shorter, strict=False)
    return len(longer) >= len(shorter) and all(
        one[:2] == two[:2] and two[2] in {one[2], Cause.ABANDONED} for one, two in pairs
    )


def _renumbered(path: str, attempt_id: int) -> str:
    parts = PurePosixPath(path).parts
    return str(PurePosixPath(parts[0], str(attempt_id), *parts[2:]))


class _Files:
    """Copies artifacts from one folder to another; a file appears whole or not at all."""

    def __init__(self, source: Path, destination: Path, done: Merge) -> None:
        self._source, self._destination, self._done = source, destination, done

    def copy(self, path: str, row: Mapping[str, Any]) -> bool:
        """Copy one file to where its new row says; False when it is not there as it was recorded."""
        if artifact_problem(self._source, path, row["sha256"], row["size_bytes"]) is not None:
            self._done.missing += 1
            return False
        target = self._destination / row["path"]
        if not target.resolve().is_relative_to(self._destination.resolve()):
            self._done.missing += 1
            return False
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with appearing(target) as aside:
                shutil.copyfile(self._source / path, aside)
        except OSError as error:
            raise StorageError(f"{target}: cannot be written: {error.strerror}. Nothing was merged") from error
        self._done.files += 1
        return True


def _rows(side: sa.Connection, statement: sa.Select[Any]) -> list[Row]:
    return [dict(row) for row in side.execute(statement).mappings()]


def _insert(side: sa.Connection, table: sa.Table, row: Row) -> int:
    key = side.execute(table.insert().values(**row)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _insert_all(side: sa.Connection, table: sa.Table, rows: Sequence[Row], done: Merge) -> None:
    if rows:
        side.execute(table.insert(), rows)
        done.added[table.name] += len(rows)
