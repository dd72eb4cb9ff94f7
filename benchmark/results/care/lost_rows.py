"""Finds the rows that a damaged database has lost, by the references of the others, and rebuilds some of them."""

from __future__ import annotations

import logging
import shlex
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmark import layout
from benchmark.errors import BenchError
from benchmark.results.artifacts.artifact_store import store_of
from benchmark.results.artifacts.remembered_places import EVERY_HOST
from benchmark.status import Cause, Status

log = logging.getLogger(__name__)

UNKNOWN_TIME = "1970-01-01T00:00:00.000Z"
"""The value of a lost date and time in a column that must not be NULL."""

_SHOWN_ROWS = 12
_NAMED_CELLS = "SELECT cell_id FROM execution UNION SELECT cell_id FROM run_cell WHERE cell_id IS NOT NULL"


def named_cells(connection: sqlite3.Connection) -> set[str]:
    """Returns the ids of all cells that other rows refer to."""
    return {row[0] for row in connection.execute(_NAMED_CELLS)}


def missing(
    connection: sqlite3.Connection, table: str, highest: dict[str, int], cells: Collection[str]
) -> tuple[int, str]:
    """Returns how many rows of a table are known to be missing, and a description of which.

    Args:
        connection: Of the new database.
        table: Its name.
        highest: The highest id that each table has ever used.
        cells: The `named_cells` before any row was dropped.
    """

    def ids(column: str) -> set[Any]:
        return {row[0] for row in connection.execute(f"SELECT {column} FROM {table}")}  # noqa: S608

    match table:
        case "run" | "execution" | "attempt" | "artifact" | "look" | "node":
            there = ids(f"{table}_id")
            last = max([*there, highest.get(table, 0)], default=0)
            return _listed([number for number in range(1, last + 1) if number not in there])
        case "cell":
            return _listed(sorted(set(cells) - ids("cell_id")))
        case "run_cell":
            counts = connection.execute("SELECT run_id, max(position) + 1 - count(*) FROM run_cell GROUP BY run_id")
            return _counted(counts, "run")
        case "epoch":
            gone = "max(coalesce(execution.epochs, 0), coalesce(max(epoch.epoch), 0)) - count(epoch.epoch)"
            counts = connection.execute(
                f"SELECT execution.execution_id, {gone} FROM execution "  # noqa: S608
                "LEFT JOIN epoch ON epoch.execution_id = execution.execution_id GROUP BY execution.execution_id"
            )
            return _counted(counts, "execution")
        case _:
            return 0, ""


def _listed(missing: Sequence[int | str]) -> tuple[int, str]:
    shown = ", ".join(map(str, missing[:_SHOWN_ROWS]))
    return len(missing), f"{shown}, …" if len(missing) > _SHOWN_ROWS else shown


def _counted(counts: Iterable[tuple[Any, ...]], noun: str) -> tuple[int, str]:
    gone = [(number, count) for number, count in counts if count > 0]
    return sum(count for _, count in gone), _listed([f"{count} of {noun} {number}" for number, count in gone])[1]


def rebuild(connection: sqlite3.Connection, artifacts: Path) -> dict[str, int]:
    """Rebuilds lost rows that saved rows refer to.

    Args:
        connection: Of the new database, with foreign keys off.
        artifacts: The artifacts folder of the damaged database, where it does not remember a URL.

    Returns:
        The number of rebuilt rows, by the tables in which rows can be.
    """
    # in this order: each is made of those before it
    return {
        "run": _rebuild_runs(connection),
        "execution": _rebuild_executions(connection, artifacts),
        "attempt": _rebuild_attempts(connection),
        "cell": _rebuild_cells(connection),
    }


_NAMED_RUNS = """
    SELECT first_run_id AS run_id, machine, started_utc FROM execution
    UNION SELECT run_id, machine, started_utc FROM execution
    UNION SELECT attempt.run_id, execution.machine, attempt.started_utc
          FROM attempt LEFT JOIN execution ON execution.execution_id = attempt.execution_id
    UNION SELECT run_id, NULL, NULL FROM epoch
    UNION SELECT run_id, NULL, NULL FROM run_cell
    UNION SELECT first_run_id, NULL, NULL FROM cell
"""


def _rebuild_runs(connection: sqlite3.Connection) -> int:
    done = connection.execute(
        "INSERT INTO run (run_id, machine, executor, started_utc, state) "  # noqa: S608
        "SELECT named.run_id, coalesce(max(named.machine), 'unknown'), 'local', "
        f"coalesce(min(named.started_utc), '{UNKNOWN_TIME}'), '{Cause.ABANDONED}' FROM ({_NAMED_RUNS}) AS named "
        "WHERE named.run_id NOT IN (SELECT run_id FROM run) GROUP BY named.run_id"
    )
    return done.rowcount


def _rebuild_executions(connection: sqlite3.Connection, artifacts: Path) -> int:
    lost = connection.execute(
        "SELECT named.execution_id, min(named.attempt_id), min(named.run_id), max(named.run_id) FROM ("
        "SELECT execution_id, attempt_id, run_id FROM attempt UNION SELECT execution_id, attempt_id, run_id FROM epoch "
        "UNION SELECT execution_id, attempt_id, NULL FROM artifact) AS named "
        "WHERE named.execution_id NOT IN (SELECT execution_id FROM execution) GROUP BY named.execution_id"
    ).fetchall()
    rebuilt, cells_with = 0, _cells_with_files(connection, artifacts)
    for execution_id, attempt_id, first_run, last_run in lost:
        cell_id = _cell_of(connection, execution_id, cells_with(attempt_id))
        if cell_id is None or first_run is None:
            continue
        connection.execute(
            "INSERT INTO execution (execution_id, cell_id, machine, first_run_id, run_id, status, cause, detail, epochs, "
            "timing_valid, resumed) SELECT ?, ?, machine, ?, ?, ?, ?, "
            "'its row was lost and made again by bench db salvage', "
            "(SELECT nullif(count(*), 0) FROM epoch WHERE execution_id = ?), 0, 0 FROM run WHERE run_id = ?",
            (execution_id, cell_id, first_run, last_run, Status.INTERRUPTED, Cause.ABANDONED, execution_id, last_run),
        )
        rebuilt += 1
        # it continues from its last saved state, and predicts anew
        if _has_table(connection, "prediction"):
            connection.execute("DELETE FROM prediction WHERE execution_id = ?", (execution_id,))
    return rebuilt


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the database's version has a table."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone() is not None


def _cells_with_files(connection: sqlite3.Connection, artifacts: Path) -> Callable[[int], Sequence[str]]:
    """Which cells have left files of an attempt: in the folder, or below the URL that the database remembers."""
    place = None
    if _has_table(connection, "artifact_folder"):
        place = connection.execute("SELECT path FROM artifact_folder WHERE host = ?", (EVERY_HOST,)).fetchone()
    if place is None:
        return lambda attempt_id: [folder.parent.name for folder in artifacts.glob(f"*/{attempt_id}")]

    @cache
    def by_attempt() -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {}
        try:
            names = store_of(place[0]).files()
        except BenchError as error:
            log.warning("the files of lost executions cannot be looked up: %s", error)
            return found
        for name in names:
            cell_id, attempt_id, *_ = (*name.split("/"), "")
            found.setdefault(attempt_id, set()).add(cell_id)
        return found

    return lambda attempt_id: sorted(by_attempt().get(str(attempt_id), ()))


def _cell_of(connection: sqlite3.Connection, execution_id: int, cells: Sequence[str]) -> str | None:
    """The cell of an execution, by its artifacts, or as the only one that has left files."""
    recorded = connection.execute("SELECT path FROM artifact WHERE execution_id = ?", (execution_id,)).fetchone()
    if recorded is not None:
        return str(recorded[0]).partition("/")[0]
    return cells[0] if len(cells) == 1 else None


def _rebuild_attempts(connection: sqlite3.Connection) -> int:
    lost = connection.execute(
        "SELECT named.attempt_id, named.execution_id, max(named.run_id) FROM ("
        "SELECT attempt_id, execution_id, run_id FROM epoch UNION SELECT attempt_id, execution_id, NULL FROM artifact"
        ") AS named WHERE named.attempt_id NOT IN (SELECT attempt_id FROM attempt) GROUP BY named.attempt_id"
    ).fetchall()
    rebuilt = 0
    for attempt_id, execution_id, run_id in lost:
        rebuilt += connection.execute(
            "INSERT INTO attempt (attempt_id, execution_id, run_id, number, state, detail, started_utc) "
            "SELECT ?, execution_id, coalesce(?, run_id), "
            "1 + coalesce((SELECT max(number) FROM attempt WHERE execution_id = execution.execution_id), 0), "
            "CASE status WHEN ? THEN status ELSE ? END, "
            "'its row was lost and made again by bench db salvage', coalesce(started_utc, ?) "
            "FROM execution WHERE execution_id = ?",
            (attempt_id, run_id, Status.COMPLETED, Cause.ABANDONED, UNKNOWN_TIME, execution_id),
        ).rowcount
    return rebuilt


def _rebuild_cells(connection: sqlite3.Connection) -> int:
    """Rebuilds cells by planning the recorded matrices again; only cells with a lost id are taken."""
    lost = named_cells(connection) - {row[0] for row in connection.execute("SELECT cell_id FROM cell")}
    columns = {row[1] for row in connection.execute("PRAGMA table_info(cell)")}
    rebuilt = 0
    runs = connection.execute(
        "SELECT run_id, matrix_path, matrix_text, command, gpu_names, cpu_cores FROM run "
        "WHERE matrix_text IS NOT NULL ORDER BY run_id"
    ).fetchall()
    for run_id, *facts in runs:
        if not lost:
            break
        for row in _rows_of_matrix(run_id, *facts):
            if row["cell_id"] in lost:
                # the new file has the schema of the damaged one, which may be older
                values = {name: value for name, value in row.items() if name in columns}
                names, marks = ", ".join(values), ", ".join("?" * len(values))
                connection.execute(f"INSERT INTO cell ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608
                lost.discard(row["cell_id"])
                rebuilt += 1
    return rebuilt


def _rows_of_matrix(
    run_id: int, path: str | None, text: str, command: str | None, gpu_names: str | None, cores: int | None
) -> list[dict[str, Any]]:
    from benchmark.matrix.load import load_matrix
    from benchmark.matrix.plan import MachineKind
    from benchmark.matrix.speed_key import possible_threads
    from benchmark.results.write.registration import cell_rows

    kind = MachineKind(gpus=len(gpu_names.split(", ")) if gpu_names else 0, cores=cores or 1)
    parse = partial(load_matrix, path or layout.MATRIX, text, overrides=_overrides(command or ""))
    try:
        plan = parse(machine_kind=kind)
        # the number of threads for `auto` is not recorded: every possible one is tried
        counts = possible_threads(kind.cores) if plan.undecided else []
        plans = [plan, *(parse(machine_kind=replace(kind, threads=dict.fromkeys(plan.undecided, n))) for n in counts)]
    except BenchError:
        return []
    return list(cell_rows(run_id, list({cell.cell_id: cell for plan in plans for cell in plan.cells}.values())))


def _overrides(command: str) -> list[str]:
    """The values of `--set` in a command line."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    apart = [words[place + 1] for place, word in enumerate(words[:-1]) if word == "--set"]
    return apart + [word.removeprefix("--set=") for word in words if word.startswith("--set=")]


def drop_dangling_rows(connection: sqlite3.Connection) -> None:
    """Deletes rows that refer to a row that is lost and could not be rebuilt."""
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        for _, _, parent, column, target, *_ in connection.execute(f"PRAGMA foreign_key_list({name})").fetchall():
            connection.execute(
                f"DELETE FROM {name} WHERE {column} IS NOT NULL "  # noqa: S608
                f"AND {column} NOT IN (SELECT {target or column} FROM {parent})"
            )
