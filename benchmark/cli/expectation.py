"""What a run will take, told before it begins, from what this machine has recorded of like cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.cli import output
from benchmark.matrix.cell import Cell

SETTLED = {"completed", "diverged", "failed", "blocked"}
"""Statuses of cells that a run leaves as they are, unless it is told to retry."""


@dataclass(frozen=True, slots=True)
class History:
    """What the database knows of this machine.

    Attributes:
        statuses: Of the newest execution of each cell.
        durations: See `results.queries.durations`.
        peaks: Most main memory of a worker in bytes, by model.
    """

    statuses: Mapping[str, str] = field(default_factory=dict)
    durations: Sequence[Mapping[str, Any]] = ()
    peaks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the pending cells of a plan will take.

    Attributes:
        cells: How many will run.
        known_cells: For how many of them the database holds a like one.
        wall_seconds: Of the whole run; None unless all are known.
        work_seconds: Sum over the cells that are known.
        jobs: So many run at once.
        peak_rss_bytes: Main memory of that many workers, the largest that are known; None when none is.
    """

    cells: int
    known_cells: int
    wall_seconds: float | None
    work_seconds: float
    jobs: int
    peak_rss_bytes: int | None

    def in_words(self) -> str:
        """One line for people."""
        if not self.cells:
            return "forecast: nothing to do"
        memory = "" if self.peak_rss_bytes is None else f", up to {output.size(self.peak_rss_bytes)} of memory"
        at_once = f"{output.plural(self.jobs, 'cell')} at once"
        if self.wall_seconds is not None:
            return f"forecast: about {output.seconds(self.wall_seconds)}, {at_once}{memory}"
        if not self.known_cells:
            return f"forecast: not known before the first cells have run on this machine ({at_once})"
        part = f"{self.known_cells} of {output.plural(self.cells, 'cell')}"
        return f"forecast: {output.seconds(self.work_seconds)} of work for {part}, {at_once}{memory}; the rest is not known yet"


def history(database: str, machine: str) -> History:
    """What is known of the machine; nothing when there is no database. Makes none."""
    from benchmark.results.location import locate

    path = locate(database).path
    if path is not None and not path.exists():
        return History()
    from benchmark.errors import NotFoundError
    from benchmark.results import queries
    from benchmark.results.database import open_database

    try:
        opened = open_database(database, mode="read")
    except NotFoundError:
        return History()
    with opened:
        rows = queries.results(opened, newest=True, machine=machine)
        durations = queries.durations(opened, machine)
    return History({row["cell_id"]: row["status"] for row in rows}, durations, _peaks(durations))


def _peaks(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    peaks: dict[str, int] = {}
    for row in rows:
        if row["peak_rss_bytes"] is not None:
            peaks[row["model"]] = max(peaks.get(row["model"], 0), row["peak_rss_bytes"])
    return peaks


def expect(cells: Sequence[Cell], known: History, jobs: int | None) -> Expectation:
    """What those of the cells that are not finished will take."""
    from benchmark import machine
    from benchmark.scheduling.forecast import Durations, Remaining
    from benchmark.scheduling.resources import Slots

    pending = [cell for cell in cells if known.statuses.get(cell.cell_id) not in SETTLED]
    slots = Slots(machine.available_cores(), range(machine.gpu_count()), jobs)
    durations = Durations(known.durations)
    single = [seconds for cell in pending if (seconds := durations.seconds(cell)) is not None]
    work = [(cell, 0.0) for cell in pending]
    peaks = sorted((known.peaks[cell.model] for cell in pending if cell.model in known.peaks), reverse=True)
    return Expectation(
        cells=len(pending),
        known_cells=len(single),
        wall_seconds=Remaining(durations, lambda: work, slots.width, len(slots.cores), slots.jobs)(),
        work_seconds=sum(single),
        jobs=min(slots.jobs, max(len(pending), 1)),
        peak_rss_bytes=sum(peaks[: slots.jobs]) if peaks else None,
    )
