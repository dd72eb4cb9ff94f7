"""A run as its database tells it while it goes on, shown by the displays that show a run of this process."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from benchmark.cli.cell_names import NAMES
from benchmark.events import EpochFinished
from benchmark.matrix.cell import Cell
from benchmark.matrix.settings import cell_settings
from benchmark.results.read.run_at_work import (
    EPOCH_COLUMNS,
    backends_of,
    ended_executions,
    endings,
    running_cells,
    specs_of,
)
from benchmark.status import Status

if TYPE_CHECKING:
    from benchmark.cli.progress.live_display import LiveDisplay
    from benchmark.cli.progress.plain_log import PlainLog
    from benchmark.results.read.runs import RunProgress
    from benchmark.results.store.database import Database

SHOWN_ENDINGS = 10
"""Of cells that have ended before somebody looked so many of the last are shown."""

_COMPARED_CELLS = 200
"""Of so many cells at most the settings are compared, to find those that tell cells apart."""

_SETTLED = {Status.COMPLETED, Status.FAILED, Status.DIVERGED, Status.BLOCKED}

_EPOCH_FIELDS = tuple(name for name in EPOCH_COLUMNS if name in EpochFinished.__slots__)


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """As much of a plan as a display asks for."""

    cells: Sequence[str]
    axes: Sequence[str]


class FollowedRun:
    """Tells a display what the database says about a run, as the run itself would.

    Args:
        display: Is told.
        database: Of the run.
        progress: As read when it began to be followed.
    """

    def __init__(self, display: LiveDisplay | PlainLog, database: Database, progress: RunProgress) -> None:
        self._display, self._board = display, display.board
        self._run_id = progress.run["run_id"]
        self._attempts: dict[int, str] = {}
        self._backends = tuple(backends_of(database, self._run_id))
        ended = ended_executions(database, self._run_id)
        planned = [row for row in progress.cells if row["status"] != Status.SKIPPED]
        settled = (row for row in planned if row["status"] in _SETTLED)
        idle = {row["cell_id"] for row in settled if row["execution_id"] not in set(ended)}
        plan = RecordedPlan([row["cell_id"] for row in planned], _axes(database, planned))
        forecast = progress.run["forecast_seconds"]
        display.run_started(self._run_id, plan, idle, lambda: self._left(forecast))
        self._board.started -= _seconds_since(progress.run["started_utc"])
        # long ago, and counted alone
        self._told = set(ended[:-SHOWN_ENDINGS])
        self._board.done = len(self._told)
        self._board.counts.update(row["status"] for row in planned if row["execution_id"] in self._told)

    def look(self, database: Database) -> None:
        """Tells what has happened since it was looked last."""
        ended = ended_executions(database, self._run_id, known=len(self._told))
        # what ends from here on is told the next time
        running = running_cells(database, self._run_id)
        self._tell_endings(database, [each for each in ended if each not in self._told])
        for row in running:
            self._tell_running(row)
        for attempt_id in self._attempts.keys() - {row["attempt_id"] for row in running}:
            self._board.running.pop(self._attempts.pop(attempt_id), None)
        starting = self._backends if not running and not self._told else ()
        if starting != tuple(self._board.starting):
            self._display.starting(starting)

    def _tell_running(self, row: Mapping[str, Any]) -> None:
        cell_id = row["cell_id"]
        if row["attempt_id"] not in self._attempts:
            self._attempts[row["attempt_id"]] = cell_id
            cell = _cell_of(row)
            self._display.cell_started(cell, row["number"])
            self._board.running[cell_id].started -= _seconds_since(row["started_utc"])
            if row["node"] is not None:
                self._display.placed(cell, row["node"])
        running = self._board.running[cell_id]
        running.is_imported, running.is_built = row["threads"] is not None, row["data_fingerprint"] is not None
        if row["epoch"] is not None and (running.last is None or row["epoch"] > running.last.epoch):
            self._display.epoch(running.cell, _epoch_of(row))
        running.test_accuracy = row["test_accuracy"]

    def _tell_endings(self, database: Database, new: Sequence[int]) -> None:
        rows = endings(database, new) if new else {}
        for execution_id in new:
            row = rows[execution_id]
            cell = _cell_of(row)
            # it may have begun and ended since the last look
            running = self._board.running.get(cell.cell_id) or self._board.start(cell)
            running.test_accuracy = row["test_accuracy"]
            running.last = None if row["epoch"] is None else _epoch_of(row)
            seconds = row["total_seconds"] or 0.0
            self._display.cell_finished(cell, row["status"], row["cause"], seconds, row["detail"])
            self._told.add(execution_id)

    def _left(self, forecast: float | None) -> float | None:
        """What was forecast when the run began, as long as that is not over."""
        left = None if forecast is None else forecast - self._board.elapsed
        return left if left is not None and left > 0 else None


def _cell_of(row: Mapping[str, Any]) -> Cell:
    return Cell.from_dict(json.loads(row["spec"]))


def _epoch_of(row: Mapping[str, Any]) -> EpochFinished:
    values = {name: row[name] for name in _EPOCH_FIELDS}
    return EpochFinished(**values, replayed=row.get("attempt_id") not in {None, row["epoch_attempt_id"]})


def _axes(database: Database, planned: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells the cells of a run apart: names, and settings that differ where all names agree."""
    axes = [name for name in NAMES if len({row[name] for row in planned}) > 1]
    same: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for row in planned:
        same[tuple(row[name] for name in NAMES)].append(row["cell_id"])
    groups = [cell_ids for cell_ids in same.values() if len(cell_ids) > 1]
    compared = {cell_id: number for number, group in enumerate(groups) for cell_id in group}
    chosen = list(compared)[:_COMPARED_CELLS]
    values: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    for cell_id, spec in (specs_of(database, chosen) if chosen else {}).items():
        for name, value in cell_settings(_cell_of({"spec": spec})).items():
            values[compared[cell_id], name].add(json.dumps(value, default=str))
    return axes + list(dict.fromkeys(name for (_, name), known in values.items() if len(known) > 1))


def _seconds_since(started_utc: str) -> float:
    return max((datetime.now(UTC) - datetime.fromisoformat(started_utc)).total_seconds(), 0.0)
