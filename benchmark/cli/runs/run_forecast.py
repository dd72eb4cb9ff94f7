"""The forecast of a run before it begins, from what this machine has recorded of similar cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark import units
from benchmark.errors import NotFoundError, UserError
from benchmark.forecast.cost import UNKNOWN_EXAMPLES
from benchmark.forecast.estimate import MEASURED, Durations, Estimate, run_seconds, work_of
from benchmark.forecast.simulation import Room, ends
from benchmark.forecast.trial_store import TrialStore
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.results.read import cell_states, durations
from benchmark.results.records import Recorded
from benchmark.results.store.database import open_database
from benchmark.results.store.location import locate
from benchmark.scheduling.decisions.reuse import decide
from benchmark.scheduling.processes.slots import slots_of
from benchmark.scheduling.run_options import RunOptions


@dataclass(frozen=True, slots=True)
class History:
    """What the database has of cells on this machine, and what follows from it for others."""

    recorded: Recorded
    durations: Durations

    @property
    def statuses(self) -> Mapping[str, str]:
        """Of the newest execution of each cell, by cell id."""
        return {cell_id: state.status for cell_id, state in self.recorded.states.items()}


@dataclass(frozen=True, slots=True)
class Budget:
    """What of a plan can be done in a given time.

    Attributes:
        seconds: The time.
        fitting: Ids of the cells that will have ended by then, in the order of the run.
        shortest_first: How many could have ended if the shortest were run first.
    """

    seconds: float
    fitting: frozenset[str]
    shortest_first: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the cells of a plan that will run are going to take.

    Attributes:
        estimates: Of each of them, by its id.
        cells: How many will run.
        known_cells: For how many of them the machine has recorded, or tried, a cell of the same model.
        wall_seconds: Of the whole run.
        work_seconds: Sum over the cells.
        jobs: So many run at once.
        peak_rss_bytes: Main memory of that many workers, the largest.
        disk_bytes: What the cells leave on the disk.
        budget: What can be done in the time that was asked about; None without one.
    """

    estimates: Mapping[str, Estimate]
    cells: int
    known_cells: int
    wall_seconds: float
    work_seconds: float
    jobs: int
    peak_rss_bytes: int
    disk_bytes: int
    budget: Budget | None = None

    def totals(self) -> dict[str, Any]:
        """For JSON."""
        names = ("cells", "known_cells", "wall_seconds", "work_seconds", "jobs", "peak_rss_bytes", "disk_bytes")
        record = {name: getattr(self, name) for name in names}
        record["bases"] = dict(Counter(estimate.basis for estimate in self.estimates.values()))
        if self.budget is not None:
            record["budget"] = {
                "seconds": self.budget.seconds,
                "fitting_cells": len(self.budget.fitting),
                "fitting_cells_shortest_first": self.budget.shortest_first,
            }
        return record

    def of_cell(self, cell_id: str) -> dict[str, Any]:
        """What JSON and CSV say of one cell; None for what does not run."""
        estimate = self.estimates.get(cell_id)
        names = ("seconds", "peak_rss_bytes", "disk_bytes", "basis")
        record = {f"forecast_{name}": getattr(estimate, name, None) for name in names}
        if self.budget is not None:
            record["fits"] = None if estimate is None else cell_id in self.budget.fitting
        return record

    def in_words(self) -> list[str]:
        """A few lines for people."""
        if not self.cells:
            return ["forecast: nothing to do"]
        words = [
            f"about {units.seconds(self.wall_seconds)}",
            f"{units.plural(self.jobs, 'cell')} at once",
            f"up to {units.size(self.peak_rss_bytes)} of memory",
            f"{units.size(self.disk_bytes)} on the disk",
        ]
        lines = [f"forecast: {', '.join(words)}"]
        estimates = self.estimates.values()
        bases = Counter(estimate.basis for estimate in estimates)
        if unknown := bases["cost model"] + bases["usual"]:
            some = f"{unknown:,} of {units.plural(self.cells, 'cell')} are of models that have not"
            which = "no cell of these models has" if unknown == self.cells else some
            without = any(estimate.without_own_code for estimate in estimates)
            beside = ", without your own callbacks, losses and metrics" if without else ""
            lines.append(f"  {which} been measured on this machine yet: within a factor of about two{beside}")
        if other := bases["other code"]:
            which = f"{other:,} of {units.plural(self.cells, 'cell')}"
            lines.append(
                f"  the forecast of {which} is that of the same models with other code of yours (callbacks, losses, metrics, "
                "an earlier version): what the change takes is not counted"
            )
        if uncounted := sum(each.guessed_images for each in estimates):
            lines.append(
                f"  how many images {units.plural(uncounted, 'cell')} will have is unknown until they are prepared: "
                f"{UNKNOWN_EXAMPLES:,} are taken"
            )
        if guessed := bases["unknown"]:
            lines.append(
                f"  how long {units.plural(guessed, 'command')} will take is unknown until one has run here: a guess"
            )
        if self.budget is not None:
            time, count, more = units.seconds(self.budget.seconds), len(self.budget.fitting), self.budget.shortest_first
            enough = f"  {time} are enough for {count:,} of {units.plural(self.cells, 'cell')}"
            shortest_first = f"; with the shortest first for {more:,}" if more > count else ""
            lines.append(f"  all of it fits into {time}" if count == self.cells else enough + shortest_first)
        return lines


def history(database: str, options: RunOptions) -> History:
    """What is known of the machine; nothing when there is no database. Makes none."""
    trials, name = TrialStore(options.cache_root).find, options.machine
    nothing = History(Recorded(), Durations(trials=trials))
    path = locate(database).path
    if path is not None and not path.exists():
        return nothing
    try:
        opened = open_database(database, mode="read")
    except NotFoundError:
        return nothing
    with opened:
        recorded = cell_states.recorded(opened, name)
        known, efforts = durations.totals(opened, name), durations.efforts(opened, name)
        return History(recorded, Durations(known, efforts, trials, durations.starts(opened, name)))


def expect(
    cells: Sequence[Cell],
    known: History,
    options: RunOptions,
    budget_seconds: float | None = None,
    *,
    room: Room | None = None,
) -> Expectation:
    """What cells that will run are going to take.

    Args:
        cells: These cells.
        known: What this machine has recorded.
        options: How to run.
        budget_seconds: Ask also what can be done in this time.
        room: What there is for them; None for what this machine has.
    """
    room = room or slots_of(options).room
    estimates = {cell.cell_id: known.durations.estimate(cell) for cell in cells}
    peaks = sorted((estimate.peak_rss_bytes for estimate in estimates.values()), reverse=True)
    return Expectation(
        estimates=estimates,
        cells=len(cells),
        known_cells=sum(estimate.basis in MEASURED for estimate in estimates.values()),
        wall_seconds=run_seconds(cells, known.durations, room) or 0.0,
        work_seconds=sum(estimate.seconds for estimate in estimates.values()),
        jobs=min(room.jobs, max(len(cells), 1)),
        peak_rss_bytes=sum(peaks[: room.jobs]),
        disk_bytes=sum(estimate.disk_bytes for estimate in estimates.values()),
        budget=None if budget_seconds is None else _budget(cells, known.durations, room, budget_seconds),
    )


def _budget(pending: Sequence[Cell], known: Durations, room: Room, seconds: float) -> Budget:
    work = [work_of(cell, known.seconds(cell)) for cell in pending]
    left = seconds - known.start_seconds(pending)
    fitting = (cell_id for cell_id, end in ends(work, room).items() if end <= left)
    short = ends(work, room, shortest_first=True).values()
    return Budget(seconds, frozenset(fitting), sum(end <= left for end in short))


def within_budget(plan: Plan, known: History, options: RunOptions, seconds: float, room: Room | None) -> Plan:
    """The plan without the cells that will not have ended by then; `room` as for `expect`.

    Raises:
        UserError: None will.
    """
    decisions = decide(plan.cells, known.recorded, options)
    to_do = [cell for cell in plan.cells if decisions[cell.cell_id].will_run]
    expected = expect(to_do, known, options, seconds, room=room)
    assert expected.budget is not None
    fitting = expected.budget.fitting
    if to_do and not fitting:
        raise UserError(
            f"--budget: no cell will have ended after {units.seconds(seconds)}; the shortest takes about "
            f"{units.seconds(min(each.seconds for each in expected.estimates.values()))}"
        )
    over = {cell.cell_id for cell in to_do} - fitting
    note = (
        f"{units.plural(len(over), 'cell')} will not fit into {units.seconds(seconds)}; `bench run` goes on with them"
    )
    notes = (*plan.notes, note) if over else plan.notes
    return replace(plan, cells=tuple(cell for cell in plan.cells if cell.cell_id not in over), notes=notes)
