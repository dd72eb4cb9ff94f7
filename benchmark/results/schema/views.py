"""The columns of the two views that users read, and the table column that each comes from.

The SQL of the views is in the migrations; a test compares it with this module.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.results.schema.tables import cell, epoch, execution, run


def _of(table: sa.Table, names: str) -> dict[str, sa.Column[Any]]:
    return {name: table.c[name] for name in names.split()}


_CELL = _of(cell, "dataset model strategy seed")

RESULTS: dict[str, sa.Column[Any]] = {
    **_of(execution, "cell_id run_id"),
    "run_name": run.c.name,
    **_of(execution, "machine"),
    **_CELL,
    **_of(cell, "backend device threads precision"),
    **_of(execution, "status cause"),
    **_of(cell, "parent_cell_id"),
    **_of(execution, "epochs best_epoch train_accuracy train_loss val_accuracy val_loss test_accuracy test_loss"),
    **_of(execution, "parameters trainable_parameters fit_seconds total_seconds images_per_second peak_rss_bytes"),
    **_of(execution, "timing_valid started_utc finished_utc package_version git_commit"),
}
"""`results`: one row for each execution of a cell."""

HISTORY: dict[str, sa.Column[Any]] = {
    **_of(execution, "cell_id"),
    **_of(epoch, "run_id"),
    **_of(execution, "machine"),
    **_CELL,
    **_of(epoch, "stage epoch stage_epoch train_accuracy train_loss val_accuracy val_loss learning_rate"),
    **_of(epoch, "seconds images_per_second input_seconds step_seconds validation_seconds checkpoint_seconds"),
}
"""`history`: one row for each epoch of an execution."""
