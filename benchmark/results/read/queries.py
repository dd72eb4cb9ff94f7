"""The queries of reports and reading commands: rows as dictionaries of the documented columns, with NaN restored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import sqlalchemy as sa

from benchmark import layout
from benchmark.errors import NotFoundError, UserError
from benchmark.results.read.alive import close_attempts, close_executions, dead_runs
from benchmark.results.read.cell_states import newest_executions
from benchmark.results.read.rows import Row, fetch_rows, fetch_table, select_epochs, select_executions
from benchmark.results.records import PredictionRow
from benchmark.results.schema.reproductions import is_reproduction, is_retiming
from benchmark.results.schema.tables import artifact, attempt, cell, epoch, execution, node, prediction, run
from benchmark.results.schema.views import HISTORY, RESULTS, columns_of, flag
from benchmark.results.store.database import Database

SHORTEST_PREFIX = 4
_IDS_AT_ONCE = 1000

_MORE_RESULTS = {
    **columns_of(execution, "first_run_id"),
    **columns_of(cell, "strategy_label device_kind epochs_planned"),
    **columns_of(execution, "detail tta_accuracy tta_loss validation_examples test_examples"),
    **columns_of(execution, "data_fingerprint weights_sha256 compute_dtype setup_seconds first_epoch_seconds features"),
    **columns_of(execution, "evaluate_seconds peak_device_bytes steady_seconds_per_epoch disturbed_epochs"),
    "resumed": flag("resumed"),
}

HARDWARE_OF_NODES = ("os", "python_version", "cpu_model", "cpu_cores", "memory_bytes", "gpu_names", "gpu_driver")
"""Columns of `node` that stand for those of `run` where a cell ran on a node of a cluster."""

_SEEN_BY_WORKER = {
    column.name: sa.select(column)
    .where(attempt.c.execution_id == execution.c.execution_id, column.is_not(None))
    .order_by(attempt.c.number.desc())
    .limit(1)
    .scalar_subquery()
    for column in (attempt.c.backend_version, attempt.c.device_name, attempt.c.isolation, attempt.c.neighbours)
}
"""What the last worker reported; of the backends, table `run` has the version of TensorFlow alone."""


def results(database: Database, *, newest: bool = False, spec: bool = False, **filters: Any) -> list[Row]:
    """Reads executions: the columns of the view `results`, and further columns of `execution` and `cell`.

    Args:
        database: An open database.
        newest: Whether to return only the newest execution of each cell on each machine.
        spec: Whether to add what reports go by: the cell as JSON, in the column `spec`; `is_reproduction`, made by `bench
            reproduce` or `bench run --retime`, and `is_retiming`, by the latter; `lost_seconds`, what `fit_seconds` has
            more than without disturbed epochs.
        **filters: The value that a column must have, or a list or set of values.

    Returns:
        Rows in the order in which the executions began; what runs that died left open is interrupted.

    Raises:
        UserError: A filter names no column.
    """
    of_reports = {"spec": cell.c.spec, "is_reproduction": is_reproduction(), "is_retiming": is_retiming()}
    columns = RESULTS | _MORE_RESULTS | _SEEN_BY_WORKER | (of_reports if spec else {})
    rows = select_executions(columns)
    if newest:
        latest = newest_executions()
        rows = rows.join(latest, latest.c.execution_id == execution.c.execution_id)
    for name, wanted in filters.items():
        if name not in columns:
            raise UserError(f"results have no column {name!r}; they have {', '.join(columns)}")
        rows = rows.where(_matches(columns[name], wanted))
    fetched = fetch_rows(database, rows)
    close_executions(fetched, dead_runs(database))
    if spec:
        lost = _lost_seconds(database, fetched)
        for row in fetched:
            row["lost_seconds"] = lost.get(row["execution_id"], 0.0)
    _add_hardware_of_nodes(database, fetched)
    return fetched


def _add_hardware_of_nodes(database: Database, rows: Iterable[Row]) -> None:
    """What ran on a node of a cluster ran on its hardware, not on that of the computer where the run was started."""
    on_nodes = [row for row in rows if row["node"] is not None]
    if not on_nodes:
        return
    known = _nodes(database, {row["run_id"] for row in on_nodes})
    for row in on_nodes:
        facts = known.get((row["run_id"], row["node"]), {})
        row.update({name: facts.get(name) for name in HARDWARE_OF_NODES})


def _nodes(database: Database, run_ids: Iterable[int]) -> dict[tuple[int, str], Row]:
    """Rows of table `node`, by run and name; of a node that has come several times the last one."""
    return {
        (each["run_id"], each["name"]): each
        for ids in in_batches(run_ids)
        for each in fetch_table(database, node, node.c.run_id.in_(ids))
    }


def _lost_seconds(database: Database, rows: Iterable[Row]) -> dict[int, float]:
    """Seconds that disturbed epochs took beyond the median of the other epochs of their stage, by execution."""
    valid = [row for row in rows if row["timing_valid"] and row["disturbed_epochs"]]
    touched = {row["execution_id"]: set(json.loads(row["disturbed_epochs"])) for row in valid}
    stages: dict[tuple[int, int], list[Row]] = {}
    for row in history(database, [number for number, epochs in touched.items() if epochs]):
        if not row["traced"]:
            stages.setdefault((row["execution_id"], row["stage"]), []).append(row)
    lost: dict[int, float] = {}
    for (number, _), epochs in stages.items():
        quiet = [row["seconds"] for row in epochs if row["epoch"] not in touched[number]]
        if quiet:
            excess = sum(row["seconds"] - median(quiet) for row in epochs if row["epoch"] in touched[number])
            lost[number] = lost.get(number, 0.0) + excess
    return lost


def _matches(column: Any, wanted: Any) -> Any:
    if isinstance(wanted, Sequence | set | frozenset) and not isinstance(wanted, str):
        return column.in_(list(wanted))
    return column.is_(None) if wanted is None else column == wanted


def history(database: Database, execution_ids: Iterable[int]) -> list[Row]:
    """Reads the epochs of executions: the view `history`, with `traced` and `improved`."""
    rows = select_epochs(HISTORY | columns_of(epoch, "traced improved"))
    return [
        row
        for ids in in_batches(execution_ids)
        for row in fetch_rows(database, rows.where(epoch.c.execution_id.in_(ids)))
    ]


def newest_attempts(database: Database, execution_ids: Iterable[int]) -> dict[int, Row]:
    """Reads the newest attempt of each execution, by the id of the execution."""
    return {
        row["execution_id"]: row
        for ids in in_batches(execution_ids)
        for row in fetch_table(database, attempt, attempt.c.execution_id.in_(ids))
    }


def in_batches(execution_ids: Iterable[int]) -> Iterator[list[int]]:
    """Few enough ids at once for one statement: SQLite limits its parameters (https://sqlite.org/limits.html, 9)."""
    ids = sorted(set(execution_ids))
    return (ids[first : first + _IDS_AT_ONCE] for first in range(0, len(ids), _IDS_AT_ONCE))


def predictions(database: Database, execution_ids: Iterable[int], split: str = "test") -> dict[int, PredictionRow]:
    """Reads the predictions of executions for `test` or `validation` images; executions without any are left out.

    `reporting/predictions/stored_predictions.py` makes arrays of them.

    Returns:
        By execution id.
    """
    return {
        row["execution_id"]: PredictionRow(
            row["examples"], tuple(json.loads(row["class_names"])), row["sha256"], row["content"], split
        )
        for ids in in_batches(execution_ids)
        for row in fetch_table(database, prediction, prediction.c.execution_id.in_(ids) & (prediction.c.split == split))
    }


def predicted(database: Database, split: str = "test") -> set[int]:
    """Reads the ids of the executions that have predictions for `test` or `validation` images."""
    rows = sa.select(prediction.c.execution_id).where(prediction.c.split == split)
    return {row["execution_id"] for row in fetch_rows(database, rows)}


@dataclass(frozen=True, slots=True)
class CellDetail:
    """One cell: its row, and the rows of its executions, attempts, epochs and artifacts, oldest first.

    Attributes:
        nodes: Rows of the computers of a cluster on which attempts ran, by run and name.
        reproductions: Ids of the executions that check or time others.
    """

    cell: Row
    executions: list[Row]
    attempts: list[Row]
    epochs: list[Row]
    artifacts: list[Row]
    nodes: dict[tuple[int, str], Row] = field(default_factory=dict)
    reproductions: frozenset[int] = frozenset()

    @property
    def results(self) -> list[Row]:
        """The executions that are results; where nothing else is there those that check or time others."""
        return [row for row in self.executions if row["execution_id"] not in self.reproductions] or self.executions


def cell_detail(database: Database, id_prefix: str) -> CellDetail:
    """Reads all rows of the cell whose id begins with `id_prefix`.

    Raises:
        NotFoundError: No cell's id does.
        UserError: Several do, or the prefix is too short.
    """
    row = _cell(database, id_prefix)
    executions = fetch_table(database, execution, execution.c.cell_id == row["cell_id"])
    ids = [row["execution_id"] for row in executions]
    attempts = fetch_table(database, attempt, attempt.c.execution_id.in_(ids))
    dead = dead_runs(database)
    close_executions(executions, dead)
    close_attempts(attempts, dead)
    checks = sa.select(execution.c.execution_id).where(execution.c.execution_id.in_(ids), is_reproduction())
    return CellDetail(
        row,
        executions,
        attempts,
        fetch_table(database, epoch, epoch.c.execution_id.in_(ids)),
        fetch_table(database, artifact, artifact.c.execution_id.in_(ids)),
        _nodes(database, {row["run_id"] for row in attempts if row["node"] is not None}),
        frozenset(row["execution_id"] for row in fetch_rows(database, checks)),
    )


def _cell(database: Database, id_prefix: str) -> Row:
    prefix = id_prefix.strip().lower()
    if len(prefix) < SHORTEST_PREFIX:
        raise UserError(f"cell {id_prefix!r}: expected at least the first {SHORTEST_PREFIX} digits of a cell id")
    starts = cell.c.cell_id.startswith(prefix, autoescape=True)
    rows = fetch_table(database, cell, starts, limit=6)
    if not rows:
        raise NotFoundError(
            f"cell {id_prefix!r}: no cell of {database.display_name} has such an id; see: bench list cells"
        )
    if len(rows) > 1:
        ids = ", ".join(row["cell_id"] for row in rows[:5])
        raise UserError(f"cell {id_prefix!r}: expected the beginning of one id, found several: {ids}")
    return rows[0]


def cell_specs(database: Database, **filters: Any) -> dict[str, str]:
    """Reads the cells whose columns have these values (or one of a list), as JSON, by cell id."""
    rows = sa.select(cell.c.cell_id, cell.c.spec).order_by(cell.c.cell_id)
    for name, wanted in filters.items():
        rows = rows.where(_matches(cell.c[name], wanted))
    return {row["cell_id"]: row["spec"] for row in fetch_rows(database, rows)}


def parents(database: Database) -> set[str]:
    """Reads the ids of the cells whose weights others start from."""
    rows = sa.select(cell.c.parent_cell_id).where(cell.c.parent_cell_id.is_not(None)).distinct()
    return {row["parent_cell_id"] for row in fetch_rows(database, rows)}


def latest_matrix_text(database: Database, machine: str | None = None) -> tuple[str, str] | None:
    """Reads path and text of the matrix of the newest run, on one machine or on any; None when no run has one."""
    rows = sa.select(run.c.matrix_path, run.c.matrix_text).where(run.c.matrix_text.is_not(None))
    if machine is not None:
        rows = rows.where(run.c.machine == machine)
    newest = fetch_rows(database, rows.order_by(run.c.run_id.desc()).limit(1))
    return (newest[0]["matrix_path"] or layout.MATRIX, newest[0]["matrix_text"]) if newest else None
