"""Reads runs: all of them, the cells of one with their status, and the progress of a running one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa

from benchmark.errors import NotFoundError
from benchmark.results.read.alive import close_executions, close_runs, dead_runs
from benchmark.results.read.cell_states import newest_executions
from benchmark.results.read.rows import Row, fetch_rows, fetch_table, select_columns
from benchmark.results.schema.reproductions import is_reproducing
from benchmark.results.schema.tables import OUTCOMES, attempt, cell, execution, run, run_cell
from benchmark.results.schema.views import columns_of
from benchmark.results.store.database import Database
from benchmark.status import Status

_LARGEST_ID = (1 << 31) - 1
"""Of an INTEGER column of PostgreSQL, which refuses to compare it with a larger number."""


def all_runs(database: Database) -> dict[int, Row]:
    """Reads all runs by their id, oldest first, without the text of their matrix, with the number of cells of each outcome.

    A run that recorded no end and whose process is gone is `abandoned`.
    """
    counts = {outcome: sa.func.count().filter(run_cell.c.outcome == outcome) for outcome in OUTCOMES}
    columns = {column.name: column for column in run.c if column.name != "matrix_text"}
    joined = run.outerjoin(run_cell, run_cell.c.run_id == run.c.run_id)
    rows = select_columns({**columns, **counts}).select_from(joined).group_by(run.c.run_id).order_by(run.c.run_id)
    fetched = fetch_rows(database, rows)
    close_runs(fetched, served=database.path is None)
    return {row["run_id"]: row for row in fetched}


def run_cells(database: Database, run_id: int) -> list[Row]:
    """Reads the cells of a run in its order, each with its present status; those left out are `skipped`.

    Columns: those of `run_cell`, then `status`, `cause`, `detail`, `execution_id`, `epochs`, `epochs_planned`,
    `total_seconds`, `strategy_label`, `parent_cell_id`.

    Raises:
        NotFoundError: There is no such run.
    """
    owner = _run(database, run_id)
    # a run that reproduces a cell shows its own execution of it
    latest = newest_executions(owner["machine"], reproductions=is_reproducing(owner["name"]))
    moved = execution.join(latest, latest.c.execution_id == execution.c.execution_id)
    columns = {
        **{column.name: column for column in run_cell.c},
        **columns_of(execution, "status cause detail execution_id epochs total_seconds"),
        "moved_in": execution.c.run_id,
        **columns_of(cell, "epochs_planned strategy_label parent_cell_id"),
    }
    rows = (
        select_columns(columns)
        .select_from(run_cell)
        .outerjoin(cell, cell.c.cell_id == run_cell.c.cell_id)
        .outerjoin(moved, execution.c.cell_id == run_cell.c.cell_id)
        .where(run_cell.c.run_id == run_id)
        .order_by(run_cell.c.position)
    )
    fetched = fetch_rows(database, rows)
    close_executions(fetched, dead_runs(database), run_id="moved_in")
    return [_with_status(row, going=owner["state"] == Status.RUNNING) for row in fetched]


def planned_cells(database: Database, run_id: int) -> list[Row]:
    """Reads the cells of a run in its order, without what became of them: the columns of `run_cell`, then `strategy_label`."""
    columns = {**{column.name: column for column in run_cell.c}, **columns_of(cell, "strategy_label")}
    joined = run_cell.outerjoin(cell, cell.c.cell_id == run_cell.c.cell_id)
    rows = select_columns(columns).select_from(joined).where(run_cell.c.run_id == run_id)
    return fetch_rows(database, rows.order_by(run_cell.c.position))


def _with_status(row: Row, *, going: bool) -> Row:
    moved_in = row.pop("moved_in")
    if row["outcome"] == "left_out":
        row["status"] = Status.SKIPPED
        return row
    # the execution may be of an earlier run, where this run has not started the cell yet
    ended = row["outcome"] != "planned" or row["status"] in {Status.FAILED, Status.DIVERGED}
    if row["status"] is None or (going and moved_in < row["run_id"] and not ended):
        row.update(status=Status.PENDING, cause=None, detail=None)
    return row


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The progress of a run.

    Attributes:
        run: Its row, without the text of the matrix; `abandoned` where it recorded no end and its process is gone.
        counts: Number of cells by status; those left out count as `skipped`.
        cells: The rows of `run_cells`.
        running: Attempts that run now: `attempt_id`, `number`, `cell_id`, `dataset`, `model`, `strategy`, `seed`,
            `epochs`, `epochs_planned`, `started_utc`.
    """

    run: Row
    counts: dict[str, int]
    cells: list[Row]
    running: list[Row]


def run_progress(database: Database, run_id: int | None = None) -> RunProgress | None:
    """Reads the progress of a run, by default of the newest; None when the database has no run.

    Raises:
        NotFoundError: There is no run with that id.
    """
    if run_id is None:
        newest = fetch_rows(database, sa.select(run.c.run_id).order_by(run.c.run_id.desc()).limit(1))
        if not newest:
            return None
        run_id = newest[0]["run_id"]
    owner = run_row(database, run_id)
    cells = run_cells(database, run_id)
    running = _running(database, run_id) if owner["state"] == Status.RUNNING else []
    return RunProgress(owner, dict(Counter(row["status"] for row in cells)), cells, running)


def run_row(database: Database, run_id: int) -> Row:
    """Reads a run, without the text of its matrix; its state as of `all_runs`.

    Raises:
        NotFoundError: There is no such run.
    """
    owner = _run(database, run_id)
    del owner["matrix_text"]
    return owner


def _running(database: Database, run_id: int) -> list[Row]:
    columns = {
        **columns_of(attempt, "attempt_id number started_utc"),
        **columns_of(cell, "cell_id dataset model strategy seed epochs_planned"),
        **columns_of(execution, "epochs"),
    }
    rows = (
        select_columns(columns)
        .select_from(attempt)
        .join(execution, execution.c.execution_id == attempt.c.execution_id)
        .join(cell, cell.c.cell_id == execution.c.cell_id)
        .where(attempt.c.run_id == run_id, attempt.c.state == Status.RUNNING)
        .order_by(attempt.c.attempt_id)
    )
    return fetch_rows(database, rows)


def _run(database: Database, run_id: int) -> Row:
    rows = fetch_table(database, run, run.c.run_id == run_id) if abs(run_id) <= _LARGEST_ID else []
    if not rows:
        raise NotFoundError(f"run {run_id}: {database.display_name} has no such run; see: bench list runs")
    close_runs(rows, served=database.path is None)
    return rows[0]
