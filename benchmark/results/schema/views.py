"""The columns of the two views that users read, and the table column that each comes from.

The SQL of the views is in the migrations; a test compares it with this module.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.results.schema.tables import cell, epoch, execution, run


def columns_of(table: sa.Table, names: str) -> dict[str, sa.Column[Any]]:
    """Returns columns by their names, which spaces separate."""
    return {name: table.c[name] for name in names.split()}


_CELL = columns_of(cell, "dataset model strategy seed")

RESULTS: dict[str, sa.Column[Any]] = {
    **columns_of(execution, "cell_id run_id"),
    "run_name": run.c.name,
    **columns_of(execution, "machine"),
    **_CELL,
    **columns_of(cell, "backend device threads precision"),
    **columns_of(execution, "status cause"),
    **columns_of(cell, "parent_cell_id"),
    **columns_of(
        execution, "epochs best_epoch train_accuracy train_loss val_accuracy val_loss test_accuracy test_loss"
    ),
    **columns_of(
        execution, "parameters trainable_parameters fit_seconds total_seconds images_per_second peak_rss_bytes"
    ),
    **columns_of(execution, "timing_valid started_utc finished_utc package_version git_commit"),
}
"""`results`: one row for each execution of a cell."""

HISTORY: dict[str, sa.Column[Any]] = {
    **columns_of(execution, "cell_id"),
    **columns_of(epoch, "run_id"),
    **columns_of(execution, "machine"),
    **_CELL,
    **columns_of(epoch, "stage epoch stage_epoch train_accuracy train_loss val_accuracy val_loss learning_rate"),
    **columns_of(epoch, "seconds images_per_second input_seconds step_seconds validation_seconds checkpoint_seconds"),
}
"""`history`: one row for each epoch of an execution."""
