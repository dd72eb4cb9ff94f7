"""Runs pairs of seeds until a comparison is decided: `--resolve`."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from benchmark import units
from benchmark.cli.progress.run_summary import conclude
from benchmark.cli.runs.dispute import Dispute, updated_looks, verdict_of
from benchmark.cli.runs.resolve_forecast import seconds_to_do
from benchmark.cli.runs.run_forecast import History, history
from benchmark.cli.runs.seed_pairs import SeedPair
from benchmark.cli.runs.start_run import run_held
from benchmark.cli.terminal import verbosity
from benchmark.errors import INTERRUPTED_EXIT_CODES, CellsFailedError
from benchmark.forecast.simulation import Room
from benchmark.reporting.comparing.look_remarks import SKEWED_LOOKS, on_looks
from benchmark.reporting.rows.missing_results import name_seeds
from benchmark.reporting.statistics import sequential
from benchmark.reporting.statistics.mean_difference import NOT_RESOLVED
from benchmark.results.records import LookRow
from benchmark.results.store.lock import lock_database
from benchmark.scheduling.decisions.reuse import decide
from benchmark.scheduling.executors.separate_executor import SeparateExecutor
from benchmark.scheduling.processes.launcher import kept_templates
from benchmark.scheduling.run import room_of
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import Status
from benchmark.text import one_line


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known when nothing more is done.

    Attributes:
        verdict: On B.
        looks: All looks at these sides so far, oldest first.
        remarks: What a reader must know beside it.
        exit_code: 0, 3 when cells failed, 130 and 143 when interrupted.
    """

    verdict: str
    looks: tuple[LookRow, ...]
    remarks: tuple[str, ...]
    exit_code: int

    def record(self, dispute: Dispute) -> dict[str, Any]:
        """For JSON and CSV."""
        last = self.looks[-1] if self.looks else None
        return {
            "a": dispute.sides[0],
            "b": dispute.sides[1],
            "n": last.n if last else 0,
            "looks": len(self.looks),
            "verdict": self.verdict,
            "margin": dispute.judging.margin,
            "difference": last and last.difference,
            "low": last and last.low,
            "high": last and last.high,
            "alpha": math.fsum(look.alpha for look in self.looks),
            "max_seeds": dispute.most,
            "remarks": list(self.remarks),
        }

    def lines(self, dispute: Dispute) -> list[str]:
        """For people."""
        record = self.record(dispute)
        head = f"{dispute.sides[1]} against {dispute.sides[0]}: {self.verdict}"
        if record["difference"] is not None:
            head += f", {record['difference']:+.4f}"
        if record["low"] is not None:
            head += f" ({record['low']:+.4f} to {record['high']:+.4f})"
        looked = [f"  n = {record['n']} was chosen by {on_looks(self.looks)}"] if self.looks else []
        return [head, *looked, *(f"  {remark}" for remark in self.remarks)]


def resolve(
    dispute: Dispute,
    database: str,
    options: RunOptions,
    *,
    budget: float | None = None,
    wait: bool = False,
    executor: SeparateExecutor | None = None,
) -> Answer:
    """Runs pairs of seeds until a look decides, there are no more, or the time is over; `executor` as for `run_plan`.

    Side effects: everything that a run does, and a row of the table `look` for each look.
    """
    begun, tried, run_id = time.monotonic(), set[int](), None
    exit_code, remarks = 0, []
    lock = lock_database(database, wait=wait) if executor is None else nullcontext()
    with lock, kept_templates() as templates:
        # its imports take longer than many a batch
        options = replace(options, templates=templates)
        while True:
            known = history(database, options)
            done = [pair for pair in dispute.pairs if pair.is_done(known.statuses)]
            made = updated_looks(dispute, database, options, done, run_id)
            verdict = verdict_of(dispute, made)
            if made and run_id is not None:
                verbosity.inform(one_line(_progress(made[-1], verdict, dispute)))
            if verdict != NOT_RESOLVED or exit_code in INTERRUPTED_EXIT_CODES:
                break
            room = room_of(options, executor)
            batch = _next_pairs(dispute, known, options, room, tried, len(done))
            if batch and budget is not None:
                left = budget - (time.monotonic() - begun)
                batch, remark = _within(batch, dispute, known, options, room, left)
                remarks += [remark] if remark else []
            if not batch:
                break
            summary, board = run_held(dispute.plan_of(batch), database, options, executor)
            run_id, exit_code = summary.run_id, summary.exit_code
            tried |= {pair.seed for pair in batch}
            if exit_code:
                conclude(board, summary, options.command, database)
            if summary.stopped is not None:
                break
    remarks += _on_losses(dispute, known.statuses, tried)
    if made and made[-1].details.get("skewed"):
        remarks.append(SKEWED_LOOKS)
    if verdict == NOT_RESOLVED and len(done) == dispute.most:
        remarks.append(f"--max-seeds {2 * dispute.most} goes on with the error that is left")
    if exit_code not in INTERRUPTED_EXIT_CODES:
        exit_code = CellsFailedError.exit_code if _has_failures(dispute, known.statuses, tried) else 0
    return Answer(verdict, tuple(made), tuple(remarks), exit_code)


def _next_pairs(
    dispute: Dispute, known: History, options: RunOptions, room: Room, tried: Collection[int], done: int
) -> list[SeedPair]:
    """The pairs to run next: as many as keep all jobs busy, and enough for a first look."""
    cells = {cell.cell_id: cell for pair in dispute.pairs for cell in pair.cells}
    decisions = decide(list(cells.values()), known.recorded, options)
    runnable = [
        pair
        for pair in dispute.pairs
        if pair.seed not in tried
        and not pair.is_done(known.statuses)
        and any(decisions[cell.cell_id].will_run for cell in pair.cells)
    ]
    if not runnable:
        return []
    width = max(sum(decisions[cell.cell_id].will_run for cell in runnable[0].cells), 1)
    at_once = max(room.jobs // width, 1)
    return runnable[: max(at_once, sequential.FIRST_LOOK - done)]


def _within(
    batch: list[SeedPair], dispute: Dispute, known: History, options: RunOptions, room: Room, left: float
) -> tuple[list[SeedPair], str]:
    """As many pairs of a batch as fit into the seconds that are left; why none does."""
    for count in range(len(batch), 0, -1):
        seconds = seconds_to_do(dispute.plan_of(batch[:count]), known, options, room)
        if seconds <= left:
            return batch[:count], ""
    return [], f"the budget ends here: the next pair of seeds takes about {units.seconds(seconds)}"


def _progress(look: LookRow, verdict: str, dispute: Dispute) -> str:
    ends = "" if look.low is None else f" ({look.low:+.4f} to {look.high:+.4f})"
    difference = "" if look.difference is None else f", B - A = {look.difference:+.4f}{ends}"
    return f"{look.n} of at most {dispute.most} pairs{difference}: {verdict}"


def _lost(dispute: Dispute, statuses: Mapping[str, str], tried: Collection[int]) -> list[SeedPair]:
    """The pairs of which a cell has ended without a result."""
    ended = {Status.FAILED, Status.DIVERGED, Status.BLOCKED}
    return [
        pair
        for pair in dispute.pairs
        if not pair.is_done(statuses)
        and (pair.seed in tried or ended & {statuses.get(cell.cell_id) for cell in pair.cells})
    ]


def _on_losses(dispute: Dispute, statuses: Mapping[str, str], tried: Collection[int]) -> list[str]:
    lost = _lost(dispute, statuses, tried)
    if not lost:
        return []
    seeds = name_seeds({pair.seed for pair in lost})
    return [f"{seeds}: no result on both sides; the verdict is of the survivors alone, which may flatter"]


def _has_failures(dispute: Dispute, statuses: Mapping[str, str], tried: Collection[int]) -> bool:
    lost = [cell.cell_id for pair in _lost(dispute, statuses, tried) for cell in pair.cells]
    return any(statuses.get(cell_id) in {Status.FAILED, Status.BLOCKED} for cell_id in lost)
