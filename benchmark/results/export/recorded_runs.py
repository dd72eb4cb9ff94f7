"""What trackers of experiments are given of an execution: its settings, its curves, its figures, when it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmark.matrix.cell import Cell
from benchmark.matrix.selection import NAME_KEYS
from benchmark.matrix.settings import cell_settings
from benchmark.results.read import queries
from benchmark.results.read.rows import Row
from benchmark.results.schema.views import HISTORY, RESULTS
from benchmark.results.store.database import Database

_NO_CURVES = {"run_id", "seed", "epoch", "execution_id"}
CURVES = tuple(
    name for name, column in HISTORY.items() if column.type.python_type in {int, float} and name not in _NO_CURVES
)
"""Columns of `history` that are drawn over the epochs."""

FIGURES = (
    *(name for name in RESULTS if name.startswith(("test_", "plain_test_"))),
    *("best_epoch", "fit_seconds", "total_seconds", "peak_rss_bytes", "parameters", "trainable_parameters"),
)
"""Columns of `results` that say what came of an execution."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """An execution, as trackers see it.

    Attributes:
        row: Of `queries.results`, with its cell in `spec`.
        epochs: Its rows of `history`.
        begin: When it began, in seconds since 1970; of one that never did, when its run began.
        end: When it ended; None while it can go on.
        matrix_name: `name` of the matrix of its run.
    """

    row: Row
    epochs: list[Row]
    begin: float
    end: float | None
    matrix_name: str

    @property
    def settings(self) -> dict[str, bool | int | float | str]:
        """Names and settings of the cell; tables and lists as JSON, `none` for what is switched off."""
        spec = json.loads(self.row["spec"])
        settings = cell_settings(Cell.from_dict({**spec, "cell_id": self.row["cell_id"]}))
        return {
            **{name: self.row[name] for name in NAME_KEYS},
            **{name: _plain(value) for name, value in settings.items()},
        }

    def curves(self) -> Iterator[tuple[int, float, dict[str, float]]]:
        """Yields of each epoch its number, when it ended in seconds since 1970, and what was measured; NaN stays NaN."""
        for epoch in self.epochs:
            measured = {name: float(epoch[name]) for name in CURVES if epoch[name] is not None}
            yield epoch["epoch"], self.begin + (epoch["elapsed_seconds"] or 0.0), measured


def recorded_runs(database: Database, rows: list[Row], runs: Mapping[int, Row]) -> Iterator[RecordedRun]:
    """Reads executions one after another.

    Args:
        database: Open for reading.
        rows: Of `queries.results`, with `spec`.
        runs: Rows of the table `run`, by id.
    """
    for row in rows:
        run = runs[row["run_id"]]
        end = row["finished_utc"]
        yield RecordedRun(
            row,
            queries.history(database, [row["execution_id"]]),
            _seconds(row["started_utc"] or run["started_utc"]),
            _seconds(end) if end else None,
            run["matrix_name"] or "bench",
        )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _plain(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
