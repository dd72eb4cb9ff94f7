"""Measured durations of completed cells and of the start of runs, which a forecast is made from."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import sqlalchemy as sa

from benchmark.results.read.rows import Row, fetch_rows
from benchmark.results.schema.tables import attempt, cell, execution, run
from benchmark.results.store.database import Database
from benchmark.status import Status

_SEED = sa.literal('"seed": ').concat(cell.c.seed.cast(sa.String)).concat(",")
_BESIDE_SEED = sa.func.replace(
    sa.func.replace(sa.func.replace(cell.c.spec, cell.c.cell_id, ""), sa.func.coalesce(cell.c.parent_cell_id, "-"), ""),
    _SEED,
    "",
)
_SIMILAR_BY = (
    _BESIDE_SEED,
    *execution.c["parameters", "trainable_parameters", "train_examples", "validation_examples", "test_examples"],
)
"""Executions with equal values take about the same time: of cells that differ in the seed and their parents alone."""

_MEANS = ("epochs", "setup_seconds", "first_epoch_seconds", "fit_seconds", "shared_seconds", "total_seconds")

_RECENT_RUNS = 5


def totals(database: Database, machine: str) -> list[Row]:
    """Reads how long each completed execution on a machine took, oldest first: `cell_id`, `total_seconds`."""
    rows = (
        sa.select(execution.c.cell_id, execution.c.total_seconds)
        .where(execution.c.machine == machine, execution.c.status == Status.COMPLETED)
        .order_by(execution.c.execution_id)
    )
    return fetch_rows(database, rows)


def efforts(database: Database, machine: str) -> list[Row]:
    """Mean durations of the completed executions on a machine, one row for all with equal `_SIMILAR_BY`.

    Columns: `executions` (their number), the means `epochs`, `setup_seconds`, `first_epoch_seconds`, `fit_seconds`,
    `shared_seconds` and `total_seconds`, the largest `peak_rss_bytes`, and `spec`, the newest of these cells as JSON.
    """
    similar = (
        sa.select(
            sa.func.max(execution.c.execution_id).label("newest"),
            sa.func.count().label("executions"),
            *(sa.func.avg(execution.c[name]).cast(sa.Double).label(name) for name in _MEANS),
            sa.func.max(execution.c.peak_rss_bytes).label("peak_rss_bytes"),
        )
        .join(cell, cell.c.cell_id == execution.c.cell_id)
        .where(execution.c.machine == machine, execution.c.status == Status.COMPLETED)
        .group_by(*_SIMILAR_BY)
        .subquery("alike")
    )
    columns = [column for column in similar.c if column.name != "newest"]
    rows = (
        sa.select(*columns, cell.c.spec)
        .join(execution, execution.c.execution_id == similar.c.newest)
        .join(cell, cell.c.cell_id == execution.c.cell_id)
        .order_by(similar.c.newest)
    )
    return fetch_rows(database, rows)


def starts(database: Database, machine: str) -> dict[str, float]:
    """Seconds from the beginning of a run to its first attempt, by backend: the shortest of the last runs on a machine.

    The shortest, because a run may have prepared data first. Runs of several backends are left out.
    """
    recent = (
        sa.select(run.c.run_id, run.c.started_utc)
        .where(run.c.machine == machine)
        .order_by(run.c.run_id.desc())
        .limit(_RECENT_RUNS)
        .subquery("recent")
    )
    rows = (
        sa.select(
            recent.c.started_utc.label("begun"),
            sa.func.min(attempt.c.started_utc).label("first"),
            sa.func.min(cell.c.backend).label("backend"),
        )
        .join(attempt, attempt.c.run_id == recent.c.run_id)
        .join(execution, execution.c.execution_id == attempt.c.execution_id)
        .join(cell, cell.c.cell_id == execution.c.cell_id)
        .group_by(recent.c.run_id, recent.c.started_utc)
        .having(sa.func.min(cell.c.backend) == sa.func.max(cell.c.backend))
    )
    shortest: dict[str, float] = {}
    with database.reading() as connection:
        for row in connection.execute(rows):
            # a text that is no date and time tells nothing
            with suppress(TypeError, ValueError):
                begun, first = map(datetime.fromisoformat, (row.begun, row.first))
                if (seconds := (first - begun).total_seconds()) >= 0:
                    shortest[row.backend] = min(seconds, shortest.get(row.backend, seconds))
    return shortest
