"""The columns of the two views that users read, and the table column that each comes from.

The SQL of the views is in the migrations; a test compares it with this module.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from benchmark.results.schema.tables import cell, epoch, execution, run

RESULTS: dict[str, sa.Column[Any]] = {
    "cell_id": execution.c.cell_id,
    "run_id": execution.c.run_id,
    "run_name": run.c.name,
    "machine": execution.c.machine,
    "dataset": cell.c.dataset,
    "model": cell.c.model,
    "strategy": cell.c.strategy,
    "seed": cell.c.seed,
    "backend": cell.c.backend,
    "device": cell.c.device,
    "threads": cell.c.threads,
    "precision": cell.c.precision,
    "status": execution.c.status,
    "cause": execution.c.cause,
    "parent_cell_id": cell.c.parent_cell_id,
    "epochs": execution.c.epochs,
    "best_epoch": execution.c.best_epoch,
    "train_accuracy": execution.c.train_accuracy,
    "train_loss": execution.c.train_loss,
    "val_accuracy": execution.c.val_accuracy,
    "val_loss": execution.c.val_loss,
    "test_accuracy": execution.c.test_accuracy,
    "test_loss": execution.c.test_loss,
    "parameters": execution.c.parameters,
    "trainable_parameters": execution.c.trainable_parameters,
    "fit_seconds": execution.c.fit_seconds,
    "total_seconds": execution.c.total_seconds,
    "images_per_second": execution.c.images_per_second,
    "peak_rss_bytes": execution.c.peak_rss_bytes,
    "timing_valid": execution.c.timing_valid,
    "started_utc": execution.c.started_utc,
    "finished_utc": execution.c.finished_utc,
    "package_version": execution.c.package_version,
    "git_commit": execution.c.git_commit,
}
"""`results`: one row for each execution of a cell."""

HISTORY: dict[str, sa.Column[Any]] = {
    "cell_id": execution.c.cell_id,
    "run_id": epoch.c.run_id,
    "machine": execution.c.machine,
    "dataset": cell.c.dataset,
    "model": cell.c.model,
    "strategy": cell.c.strategy,
    "seed": cell.c.seed,
    "stage": epoch.c.stage,
    "epoch": epoch.c.epoch,
    "stage_epoch": epoch.c.stage_epoch,
    "train_accuracy": epoch.c.train_accuracy,
    "train_loss": epoch.c.train_loss,
    "val_accuracy": epoch.c.val_accuracy,
    "val_loss": epoch.c.val_loss,
    "learning_rate": epoch.c.learning_rate,
    "seconds": epoch.c.seconds,
    "images_per_second": epoch.c.images_per_second,
    "input_seconds": epoch.c.input_seconds,
    "step_seconds": epoch.c.step_seconds,
    "validation_seconds": epoch.c.validation_seconds,
    "checkpoint_seconds": epoch.c.checkpoint_seconds,
}
"""`history`: one row for each epoch of an execution."""
