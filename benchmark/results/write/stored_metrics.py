"""Further metrics of the test set, from stored predictions: as the columns of `execution`, when a cell ends and afterwards."""

from __future__ import annotations

import io
import os

import sqlalchemy as sa

from benchmark.catalog.source_files.npz_headers import DAMAGE
from benchmark.prediction_metrics import prediction_metrics, stored_metrics
from benchmark.results.schema.tables import TEST_METRICS, execution, prediction
from benchmark.results.store.database import Database, open_database
from benchmark.results.store.lock import lock_database

_WAITING = (
    sa.select(execution.c.execution_id)
    .join(prediction, prediction.c.execution_id == execution.c.execution_id)
    .where(prediction.c.split == "test", execution.c.test_log_loss.is_(None))
)


def metric_columns(content: bytes) -> dict[str, float | None]:
    """The columns that follow from the content of `predictions.npz`; none where it cannot be read."""
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            if "metrics" in stored:
                metrics = stored_metrics(stored)
            else:
                labels, predicted = (stored[name].astype(np.int64) for name in ("labels", "predicted"))
                metrics = prediction_metrics(labels, predicted, stored["probabilities"]) if len(labels) else {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, MemoryError, *DAMAGE):
        return {}
    columns = {f"test_{name}": value for name, value in metrics.items()}
    return {name: value for name, value in columns.items() if name in TEST_METRICS and np.isfinite(value or 0.0)}


def has_unfilled(database: Database) -> bool:
    """Whether executions have test predictions and no metrics yet."""
    with database.reading() as connection:
        return connection.execute(_WAITING.limit(1)).first() is not None


def fill_database(target: str | os.PathLike[str]) -> int:
    """Does what `fill_metrics` does for a database that no run holds.

    Raises:
        BusyError: A run holds it.
        StorageError: It cannot be written.
    """
    with lock_database(target):
        # a file without anything to do stays as it is, to the byte
        with open_database(target, mode="read") as opened:
            if not has_unfilled(opened):
                return 0
        with open_database(target, mode="write") as opened, opened.engine.begin() as connection:
            return fill_metrics(connection)


def fill_metrics(connection: sa.Connection) -> int:
    """Computes the columns of executions that have test predictions and no metrics yet; returns of how many.

    Side effects: writes rows of `execution`; neither their digests nor anything else changes.
    """
    filled = 0
    for number in connection.execute(_WAITING).scalars().all():
        content = sa.select(prediction.c.content).where(
            prediction.c.execution_id == number, prediction.c.split == "test"
        )
        columns = metric_columns(connection.execute(content).scalar_one())
        if columns:
            connection.execute(execution.update().where(execution.c.execution_id == number).values(columns))
            filled += 1
    return filled
