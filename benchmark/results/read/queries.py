"""Reading the database: rows as dictionaries whose keys are the documented columns, NaN restored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from benchmark import layout
from benchmark.errors import NotFoundError, UserError
from benchmark.results.read.cell_states import newest_executions
from benchmark.results.read.rows import Row, fetch_rows, select_columns, select_rows
from benchmark.results.read.runs import RunProgress, run_cells, run_progress, runs
from benchmark.results.read.user_query import read_only_query
from benchmark.results.records import PredictionRow
from benchmark.results.schema.nan_values import NAN_COLUMN
from benchmark.results.schema.tables import artifact, attempt, cell, epoch, execution, prediction, run
from benchmark.results.schema.views import HISTORY, RESULTS
from benchmark.results.store.database import Database
from benchmark.status import Status

__all__ = [
    "CellDetail",
    "RunProgress",
    "cell_detail",
    "cell_specs",
    "durations",
    "history",
    "latest_matrix_text",
    "machines",
    "predictions",
    "read_only_query",
    "results",
    "run_cells",
    "run_progress",
    "runs",
]

SHORTEST_PREFIX = 4
_IDS_AT_ONCE = 1000

_MORE_RESULTS = {
    column.name: column
    for column in (
        execution.c.execution_id,
        execution.c.first_run_id,
        cell.c.strategy_label,
        cell.c.device_kind,
        cell.c.image_size,
        cell.c.color,
        cell.c.batch_size,
        cell.c.epochs_planned,
        cell.c.learning_rate,
        cell.c.optimizer,
        execution.c.detail,
        execution.c.tta_accuracy,
        execution.c.tta_loss,
        execution.c.train_examples,
        execution.c.validation_examples,
        execution.c.test_examples,
        execution.c.data_fingerprint,
        execution.c.weights_sha256,
        execution.c.compute_dtype,
        execution.c.setup_seconds,
        execution.c.first_epoch_seconds,
        execution.c.features,
        execution.c.features_seconds,
        execution.c.features_alone_seconds,
        execution.c.shared_epochs,
        execution.c.shared_seconds,
        execution.c.evaluate_seconds,
        execution.c.peak_device_bytes,
        execution.c.resumed,
        execution.c.digest,
    )
}

_BACKEND_VERSION = (
    sa.select(attempt.c.backend_version)
    .where(attempt.c.execution_id == execution.c.execution_id, attempt.c.backend_version.is_not(None))
    .order_by(attempt.c.number.desc())
    .limit(1)
    .scalar_subquery()
)
"""As the last worker saw it; a run knows TensorFlow's alone."""


def results(database: Database, *, newest: bool = False, spec: bool = False, **filters: Any) -> list[Row]:
    """The columns of the view `results`, and the other columns of `execution` and `cell` that reports need.

    Args:
        database: An open one.
        newest: Only the newest execution of each cell on each machine.
        spec: Also the cell as JSON, in the column `spec`.
        **filters: Columns with the value they must have, or a list or set of values.

    Returns:
        Rows in the order in which the executions began.

    Raises:
        UserError: A filter names no column.
    """
    columns = RESULTS | _MORE_RESULTS | {"backend_version": _BACKEND_VERSION} | ({"spec": cell.c.spec} if spec else {})
    rows = select_columns({**columns, NAN_COLUMN: execution.c.nan_metrics}).select_from(
        execution.join(cell, cell.c.cell_id == execution.c.cell_id).join(run, run.c.run_id == execution.c.run_id)
    )
    if newest:
        latest = newest_executions()
        rows = rows.join(latest, latest.c.execution_id == execution.c.execution_id)
    for name, wanted in filters.items():
        if name not in columns:
            raise UserError(f"results have no column {name!r}; they have {', '.join(columns)}")
        rows = rows.where(_matches(columns[name], wanted))
    return fetch_rows(database, rows.order_by(execution.c.execution_id))


def _matches(column: Any, wanted: Any) -> Any:
    if isinstance(wanted, Sequence | set | frozenset) and not isinstance(wanted, str):
        return column.in_(list(wanted))
    return column.is_(None) if wanted is None else column == wanted


def history(database: Database, execution_ids: Iterable[int]) -> list[Row]:
    """The columns of the view `history`, with `execution_id`, `traced` and `improved`, of these executions."""
    columns = {
        **HISTORY,
        "execution_id": epoch.c.execution_id,
        "traced": epoch.c.traced,
        "improved": epoch.c.improved,
        NAN_COLUMN: epoch.c.nan_metrics,
    }
    rows = select_columns(columns).select_from(
        epoch.join(execution, execution.c.execution_id == epoch.c.execution_id).join(
            cell, cell.c.cell_id == execution.c.cell_id
        )
    )
    ids = sorted(set(execution_ids))
    found: list[Row] = []
    for first in range(0, len(ids), _IDS_AT_ONCE):
        some = epoch.c.execution_id.in_(ids[first : first + _IDS_AT_ONCE])
        found += fetch_rows(database, rows.where(some).order_by(epoch.c.execution_id, epoch.c.epoch))
    return found


def predictions(database: Database, execution_ids: Iterable[int]) -> dict[int, PredictionRow]:
    """What these executions predicted for their test sets, by execution; those without predictions are left out.

    `reporting/rows/predictions.py` makes arrays of them.
    """
    ids = sorted(set(execution_ids))
    found: dict[int, PredictionRow] = {}
    for first in range(0, len(ids), _IDS_AT_ONCE):
        some = prediction.c.execution_id.in_(ids[first : first + _IDS_AT_ONCE])
        for row in fetch_rows(database, select_rows(prediction, some, prediction.c.execution_id)):
            names = tuple(json.loads(row["class_names"]))
            found[row["execution_id"]] = PredictionRow(row["examples"], names, row["sha256"], row["content"])
    return found


@dataclass(frozen=True, slots=True)
class CellDetail:
    """Everything about one cell: its row, and those of its executions, attempts, epochs and artifacts, oldest first."""

    cell: Row
    executions: list[Row]
    attempts: list[Row]
    epochs: list[Row]
    artifacts: list[Row]


def cell_detail(database: Database, id_prefix: str) -> CellDetail:
    """Everything about the cell whose id begins so.

    Raises:
        NotFoundError: No cell's id does.
        UserError: Several do, or the prefix is too short.
    """
    found = _cell(database, id_prefix)
    executions = fetch_rows(
        database, select_rows(execution, execution.c.cell_id == found["cell_id"], execution.c.execution_id)
    )
    ids = [row["execution_id"] for row in executions]
    return CellDetail(
        found,
        executions,
        fetch_rows(database, select_rows(attempt, attempt.c.execution_id.in_(ids), attempt.c.attempt_id)),
        fetch_rows(database, select_rows(epoch, epoch.c.execution_id.in_(ids), epoch.c.execution_id, epoch.c.epoch)),
        fetch_rows(database, select_rows(artifact, artifact.c.execution_id.in_(ids), artifact.c.artifact_id)),
    )


def _cell(database: Database, id_prefix: str) -> Row:
    prefix = id_prefix.strip().lower()
    if len(prefix) < SHORTEST_PREFIX:
        raise UserError(f"cell {id_prefix!r}: expected at least the first {SHORTEST_PREFIX} digits of a cell id")
    starts = cell.c.cell_id.startswith(prefix, autoescape=True)
    found = fetch_rows(database, select_rows(cell, starts, cell.c.cell_id).limit(6))
    if not found:
        raise NotFoundError(
            f"cell {id_prefix!r}: no cell of {database.display_name} has such an id; see: bench list cells"
        )
    if len(found) > 1:
        ids = ", ".join(row["cell_id"] for row in found[:5])
        raise UserError(f"cell {id_prefix!r}: expected the beginning of one id, found several: {ids}")
    return found[0]


def cell_specs(database: Database, **filters: Any) -> dict[str, str]:
    """The specifications, as JSON, of the cells whose columns have these values (or one of a list), by cell id."""
    rows = sa.select(cell.c.cell_id, cell.c.spec).order_by(cell.c.cell_id)
    for name, wanted in filters.items():
        rows = rows.where(_matches(cell.c[name], wanted))
    return {row["cell_id"]: row["spec"] for row in fetch_rows(database, rows)}


def machines(database: Database) -> list[Row]:
    """Names of the machines with results: `machine`, `executions`, `completed`, `last_run_id`."""
    columns = {
        "machine": execution.c.machine,
        "executions": sa.func.count(),
        Status.COMPLETED: sa.func.count().filter(execution.c.status == Status.COMPLETED),
        "last_run_id": sa.func.max(execution.c.run_id),
    }
    return fetch_rows(database, select_columns(columns).group_by(execution.c.machine).order_by(execution.c.machine))


def latest_matrix_text(database: Database, machine: str | None = None) -> tuple[str, str] | None:
    """Path and text of the matrix of the newest run, on one machine or on any; None when no run has one."""
    rows = sa.select(run.c.matrix_path, run.c.matrix_text).where(run.c.matrix_text.is_not(None))
    if machine is not None:
        rows = rows.where(run.c.machine == machine)
    found = fetch_rows(database, rows.order_by(run.c.run_id.desc()).limit(1))
    return (found[0]["matrix_path"] or layout.MATRIX, found[0]["matrix_text"]) if found else None


def durations(database: Database, machine: str) -> list[Row]:
    """What completed executions on this machine took, newest last: the past that a forecast goes by."""
    names = ("cell_id", "dataset", "model", "strategy", "device_kind", "threads", "image_size", "epochs_planned")
    times = ("epochs", "setup_seconds", "first_epoch_seconds", "fit_seconds", "total_seconds", "peak_rss_bytes")
    columns = {**{name: cell.c[name] for name in names}, **{name: execution.c[name] for name in times}}
    rows = (
        select_columns(columns)
        .select_from(execution.join(cell, cell.c.cell_id == execution.c.cell_id))
        .where(execution.c.machine == machine, execution.c.status == Status.COMPLETED)
        .order_by(execution.c.execution_id)
    )
    return fetch_rows(database, rows)
