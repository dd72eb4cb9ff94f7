"""What was expected of recorded cells and runs before they began, beside what they took."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from benchmark.errors import NewerRecordError
from benchmark.forecast.estimate import Durations
from benchmark.reporting.figures.groups.forecast_accuracy import RUN, Forecast
from benchmark.reporting.rows.latest import cell_of
from benchmark.reporting.rows.metrics import has_valid_timing
from benchmark.reporting.tables.shown import Shown
from benchmark.results.read.runs import all_runs
from benchmark.results.store.database import Database
from benchmark.status import Status


def forecasts_of(shown: Shown, database: Database) -> list[Forecast]:
    """The cells of a report and the runs that they are of, on its machine, each with its forecast.

    The forecast of a run was recorded when it began. That of a cell is what `bench plan` would have said just before it
    began, from what had been recorded on the machine until then; trials are left aside. Cells that were resumed or
    disturbed, and runs that did not complete, tell nothing of a forecast.
    """
    ids = {number for group in shown.groups for number in group.execution_ids}
    machines = {row["machine"] for group in shown.groups for row in group.cells}
    rows = [row for row in shown.recorded if row["machine"] in machines and _is_whole(row)]
    return [*_of_cells(rows, ids), *_of_runs(rows, ids, database)]


def _is_whole(row: Mapping[str, Any]) -> bool:
    return bool(
        has_valid_timing(row) and row.get("total_seconds") and row.get("spec") and row.get("started_utc")
        and row.get("finished_utc")
    )  # fmt: skip


def _of_cells(rows: list[Mapping[str, Any]], ids: set[int]) -> list[Forecast]:
    durations = Durations()
    begun = sorted(rows, key=lambda row: row["started_utc"])
    ended = sorted(rows, key=lambda row: row["finished_utc"])
    learned = 0
    forecasts = []
    for row in begun:
        while ended[learned]["finished_utc"] <= row["started_utc"]:
            _learn(durations, ended[learned])
            learned += 1
        if row["execution_id"] in ids:
            try:
                seconds, basis = durations.expected(cell_of(row))
            except NewerRecordError:
                continue
            forecasts.append(Forecast(seconds, row["total_seconds"], basis))
    return forecasts


def _learn(durations: Durations, row: Mapping[str, Any]) -> None:
    if row.get("epochs"):
        try:
            durations.learn(cell_of(row), row["total_seconds"], row["epochs"], row.get("shared_seconds") or 0.0)
        except NewerRecordError:
            return


def _of_runs(rows: list[Mapping[str, Any]], ids: set[int], database: Database) -> list[Forecast]:
    runs = all_runs(database)
    shown = [runs[number] for number in sorted({row["run_id"] for row in rows if row["execution_id"] in ids})]
    done = [
        run for run in shown if run["state"] == Status.COMPLETED and run["forecast_seconds"] and run["finished_utc"]
    ]
    return [
        Forecast(run["forecast_seconds"], seconds, RUN)
        for run in done
        if (seconds := _seconds(run["started_utc"], run["finished_utc"])) > 0
    ]


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
