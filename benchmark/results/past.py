"""The past that a forecast goes by: what became of each cell, and what executions took that are alike."""

from __future__ import annotations

import sqlalchemy as sa

from benchmark.results.database import Database
from benchmark.results.schema import cell, execution
from benchmark.results.select import Row, fetch
from benchmark.results.states import newest_executions

_ALIKE = (
    *(
        cell.c[name]
        for name in (
            "backend", "device_kind", "precision", "threads", "image_size", "color", "batch_size", "epochs_planned",
            "optimizer", "strategy",
        )
    ),
    *(
        execution.c[name]
        for name in ("parameters", "trainable_parameters", "train_examples", "validation_examples", "test_examples")
    ),
)  # fmt: skip

_MEANS = ("epochs", "setup_seconds", "first_epoch_seconds", "fit_seconds", "total_seconds")


def statuses(database: Database, machine: str) -> dict[str, str]:
    """Status of the newest execution of each cell on a machine, by cell id."""
    newest = newest_executions(machine)
    rows = sa.select(execution.c.cell_id, execution.c.status).join(
        newest, newest.c.execution_id == execution.c.execution_id
    )
    with database.reading() as connection:
        return {row.cell_id: row.status for row in connection.execute(rows)}


def efforts(database: Database, machine: str) -> list[Row]:
    """Completed executions on a machine, one row for all that are alike in what decides their time.

    Columns: `executions` (how many), the means `epochs`, `setup_seconds`, `first_epoch_seconds`, `fit_seconds` and
    `total_seconds`, the largest `peak_rss_bytes`, and `spec`, the newest of these cells as JSON.
    """
    alike = (
        sa.select(
            sa.func.max(execution.c.execution_id).label("newest"),
            sa.func.count().label("executions"),
            *(sa.func.avg(execution.c[name]).cast(sa.Double).label(name) for name in _MEANS),
            sa.func.max(execution.c.peak_rss_bytes).label("peak_rss_bytes"),
        )
        .join(cell, cell.c.cell_id == execution.c.cell_id)
        .where(execution.c.machine == machine, execution.c.status == "completed")
        .group_by(*_ALIKE)
        .subquery("alike")
    )
    columns = [column for column in alike.c if column.name != "newest"]
    rows = (
        sa.select(*columns, cell.c.spec)
        .join(execution, execution.c.execution_id == alike.c.newest)
        .join(cell, cell.c.cell_id == execution.c.cell_id)
        .order_by(alike.c.newest)
    )
    return fetch(database, rows)
