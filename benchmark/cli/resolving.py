"""Adds pairs of seeds until a comparison is decided, and says before how many that will about take: `--resolve`."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from benchmark import units
from benchmark.cli import verbosity
from benchmark.cli.cell_lookup import stored_predictions
from benchmark.cli.options import MatrixRequest
from benchmark.cli.progress.run_summary import conclude
from benchmark.cli.run_forecast import History, expect, history
from benchmark.cli.seed_pairs import SeedPair, candidate_seeds, pair_at
from benchmark.cli.start_run import run_held
from benchmark.files import sha256_of
from benchmark.matrix.plan import Plan
from benchmark.reporting.compare import Comparison, compare_selections
from benchmark.reporting.report import judging
from benchmark.reporting.rows.differences import Judging
from benchmark.reporting.rows.latest import with_environment
from benchmark.reporting.rows.looked import on_looks
from benchmark.reporting.rows.missing_results import name_seeds
from benchmark.reporting.statistics import sequential
from benchmark.reporting.statistics.mean_difference import NOT_COMPARABLE, NOT_RESOLVED
from benchmark.results.read.looks import looks
from benchmark.results.read.queries import results
from benchmark.results.read.runs import all_runs
from benchmark.results.records import LookRow
from benchmark.results.store.database import Database, open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.write.look_entry import record_look
from benchmark.scheduling.decisions.reuse import decide
from benchmark.scheduling.processes.slots import slots_of
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import Status
from benchmark.text import one_line

FAILED_EXIT_CODE = 3
INTERRUPTED = {130, 143}


@dataclass(frozen=True, slots=True)
class Dispute:
    """What is to be resolved.

    Attributes:
        sides: A and B as they were named.
        identity: The same for the same cells of both sides, whatever their seeds.
        plan: Of the matrix.
        pairs: At most as many as may be added, the cheapest first; those that are done already cost nothing.
        most: How many pairs there may be.
        judging: The metric and the margin.
    """

    sides: tuple[str, str]
    identity: str
    plan: Plan
    pairs: tuple[SeedPair, ...]
    most: int
    judging: Judging

    def plan_of(self, pairs: Sequence[SeedPair]) -> Plan:
        """A plan of these pairs alone."""
        cells = {cell.cell_id: cell for pair in pairs for cell in pair.cells}
        return replace(self.plan, cells=tuple(cells.values()), left_out=(), notes=(), axes=("seed",))


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


def dispute_of(
    matrix: MatrixRequest,
    plan: Plan,
    sides: tuple[str, str],
    known: History,
    options: RunOptions,
    *,
    most: int,
    margin: float | None,
    database: str,
) -> Dispute:
    """What `--resolve` asks, with its pairs of seeds in the order in which they are added.

    Raises:
        UserError: A side means no cell, or both mean the same.
    """
    judged = judging(plan.report, (), margin)
    pair = cache(partial(pair_at, matrix, sides))
    first = pair(0)
    names = {(cell.dataset, cell.model, cell.strategy) for cell in first.cells if cell.cell_id in first.a | first.b}
    begun = [
        seed for seed in _recorded_seeds(database, known, options.machine, names) if pair(seed).is_begun(known.statuses)
    ]
    pairs = [pair(seed) for seed in candidate_seeds(plan, begun[:most], most)]
    cells = {cell.cell_id: cell for pair in pairs for cell in pair.cells}
    decisions = decide(list(cells.values()), known.recorded, options)
    costs = {
        pair.seed: sum(known.durations.seconds(cell) for cell in pair.cells if decisions[cell.cell_id].will_run)
        for pair in pairs
    }
    pairs.sort(key=lambda pair: (not pair.is_done(known.statuses), round(costs[pair.seed], 3)))
    text = "|".join([*sorted(first.a), "against", *sorted(first.b), judged.main.key])
    identity = sha256_of(text.encode())[:16]
    return Dispute(sides, identity, plan, tuple(pairs[:most]), most, judged)


def _recorded_seeds(database: str, known: History, machine: str, names: Collection[tuple[str, str, str]]) -> list[int]:
    """Seeds at which cells of these names have completed, whatever their settings."""
    if not known.statuses:
        return []
    strategies = sorted({name[2] for name in names})
    with open_database(database, mode="read") as opened:
        rows = results(opened, status=str(Status.COMPLETED), strategy=strategies, machine=machine)
    return sorted({row["seed"] for row in rows if (row["dataset"], row["model"], row["strategy"]) in names})


# ---- looking


def compared(opened: Database, dispute: Dispute, pairs: Sequence[SeedPair], machine: str) -> Comparison:
    """B against A over these pairs."""
    runs = list(all_runs(opened).values())
    a, b = (
        with_environment(results(opened, spec=True, machine=machine, cell_id=sorted(ids)), runs)
        for ids in (
            frozenset().union(*(pair.a for pair in pairs)),
            frozenset().union(*(pair.b for pair in pairs)),
        )
    )
    return compare_selections(a, b, machine=machine, judging=dispute.judging, predictions=stored_predictions(opened))


def earlier_looks(opened: Database, dispute: Dispute, machine: str) -> list[LookRow]:
    """The looks at these sides so far, oldest first."""
    return [
        look
        for look in looks(opened, "resolve")
        if look.machine == machine and look.details.get("identity") == dispute.identity
    ]


def _look(
    opened: Database, dispute: Dispute, pairs: Sequence[SeedPair], options: RunOptions, run_id: int | None
) -> LookRow:
    """Looks at all pairs that are done, and records it."""
    comparison = compared(opened, dispute, pairs, options.machine)
    made = earlier_looks(opened, dispute, options.machine)
    difference, metric = comparison.overall, dispute.judging.main
    row = LookRow(
        kind="resolve", a=dispute.sides[0], b=dispute.sides[1], executions=comparison.executions,
        n=difference.n if difference else 0, difference=difference.mean if difference else None, low=None, high=None,
        alpha=0.0, verdict=NOT_COMPARABLE, margin=dispute.judging.margin, run_id=run_id, machine=options.machine,
        details={"identity": dispute.identity, "most": dispute.most, "reasons": list(comparison.gaps)},
    )  # fmt: skip
    if difference is not None and difference.error is not None and comparison.verdict != NOT_COMPARABLE:
        spent = [sequential.Spent(look.n, look.alpha, look.details["most"]) for look in made if look.alpha > 0]
        look = sequential.look_again(difference.mean, difference.error, difference.n, spent, dispute.most)
        word = sequential.verdict(
            look.low, look.high, higher_is_better=bool(metric.higher_is_better), margin=dispute.judging.margin
        )
        row = replace(row, low=look.low, high=look.high, alpha=look.alpha, verdict=word)
    return record_look(opened, row)


def _verdict(dispute: Dispute, made: Sequence[LookRow]) -> str:
    """What the last look says, with the margin that is asked for now."""
    if not made:
        return NOT_RESOLVED
    last = made[-1]
    if last.verdict == NOT_COMPARABLE:
        return NOT_COMPARABLE
    return sequential.verdict(
        last.low, last.high,
        higher_is_better=bool(dispute.judging.main.higher_is_better), margin=dispute.judging.margin,
    )  # fmt: skip


# ---- running


def resolve(
    dispute: Dispute, database: str, options: RunOptions, *, budget: float | None = None, wait: bool = False
) -> Answer:
    """Runs pairs of seeds until a look decides, there are no more, or the time is over.

    Side effects: everything that a run does, and a row of the table `look` for each look.
    """
    begun, tried, run_id = time.monotonic(), set[int](), None
    exit_code, remarks = 0, []
    with lock_database(database, wait=wait):
        while True:
            known = history(database, options)
            done = [pair for pair in dispute.pairs if pair.is_done(known.statuses)]
            made = _looks_now(dispute, database, options, done, run_id)
            verdict = _verdict(dispute, made)
            if made and run_id is not None:
                verbosity.inform(one_line(_progress(made[-1], verdict, dispute)))
            if verdict != NOT_RESOLVED or exit_code in INTERRUPTED:
                break
            batch = _next_pairs(dispute, known, options, tried, len(done))
            if batch and budget is not None:
                left = budget - (time.monotonic() - begun)
                batch, remark = _within(batch, dispute, known, options, left)
                remarks += [remark] if remark else []
            if not batch:
                break
            summary, board = run_held(dispute.plan_of(batch), database, options)
            run_id, exit_code = summary.run_id, summary.exit_code
            tried |= {pair.seed for pair in batch}
            if exit_code:
                conclude(board, summary, options.command, database)
            if summary.stopped is not None:
                break
    remarks += _on_losses(dispute, known.statuses, tried)
    if verdict == NOT_RESOLVED and len(done) == dispute.most:
        remarks.append(f"--max-seeds {2 * dispute.most} goes on with the error that is left")
    if exit_code not in INTERRUPTED:
        exit_code = FAILED_EXIT_CODE if _has_failures(dispute, known.statuses, tried) else 0
    return Answer(verdict, tuple(made), tuple(remarks), exit_code)


def _looks_now(
    dispute: Dispute, database: str, options: RunOptions, done: Sequence[SeedPair], run_id: int | None
) -> list[LookRow]:
    """All looks, a new one included where there are pairs that were never looked at."""
    if not done:
        return []
    with open_database(database, mode="write") as opened:
        made = earlier_looks(opened, dispute, options.machine)
        if len(done) >= sequential.FIRST_LOOK and len(done) > max((look.n for look in made), default=0):
            made.append(_look(opened, dispute, done, options, run_id))
    return made


def _next_pairs(
    dispute: Dispute, known: History, options: RunOptions, tried: Collection[int], done: int
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
    at_once = max(slots_of(options).room.jobs // width, 1)
    return runnable[: max(at_once, sequential.FIRST_LOOK - done)]


def _within(
    batch: list[SeedPair], dispute: Dispute, known: History, options: RunOptions, left: float
) -> tuple[list[SeedPair], str]:
    """As many pairs of a batch as fit into the seconds that are left; why none does."""
    for count in range(len(batch), 0, -1):
        seconds = _forecast(dispute.plan_of(batch[:count]), known, options)
        if seconds <= left:
            return batch[:count], ""
    return [], f"the budget ends here: the next pair of seeds takes about {units.seconds(seconds)}"


def _forecast(plan: Plan, known: History, options: RunOptions) -> float:
    decisions = decide(plan.cells, known.recorded, options)
    to_do = [cell for cell in plan.cells if decisions[cell.cell_id].will_run]
    return expect(to_do, known, options.jobs_at_once, gpu_share=options.gpu_share).wall_seconds


def _progress(look: LookRow, verdict: str, dispute: Dispute) -> str:
    ends = "" if look.low is None else f" ({look.low:+.4f} to {look.high:+.4f})"
    difference = "" if look.difference is None else f", B - A = {look.difference:+.4f}{ends}"
    return f"{look.n} of at most {dispute.most} pairs of seeds{difference}: {verdict}"


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


# ---- before it runs


@dataclass(frozen=True, slots=True)
class Prospect:
    """How many pairs of seeds a dispute will about need.

    Attributes:
        dispute: Which one.
        verdict: What is known already.
        pairs: About so many are needed altogether.
        decided: The probability of a verdict within the most that are allowed.
        fixed: So many a single test would need for the same effect, at a power of 80 %; None without an effect.
        pilot: Pairs that this follows from; 0 where an effect of one standard deviation is assumed.
        effect: In standard deviations of the difference between pairs.
        plan: Of the pairs that are needed.
        seconds: Until then.
        budget: Seconds that there are; None without a limit.
    """

    dispute: Dispute
    verdict: str
    pairs: int
    decided: float
    fixed: int | None
    pilot: int
    effect: float
    plan: Plan
    seconds: float
    budget: float | None

    def record(self) -> dict[str, Any]:
        """For JSON."""
        names = ("verdict", "pairs", "decided", "pilot", "effect", "seconds")
        return {
            "a": self.dispute.sides[0],
            "b": self.dispute.sides[1],
            **{name: getattr(self, name) for name in names},
            "fixed_pairs": self.fixed,
            "max_seeds": self.dispute.most,
            "margin": self.dispute.judging.margin,
            "budget_seconds": self.budget,
            "fits": None if self.budget is None else self.seconds <= self.budget,
        }

    def lines(self) -> list[str]:
        """For people."""
        a, b = self.dispute.sides
        if self.verdict != NOT_RESOLVED:
            return [f"{b} against {a}: {self.verdict} already"]
        source = f"{self.pilot} pairs show an effect of" if self.pilot else "for an effect of"
        size = f"{self.effect:.1f} standard deviations"
        share = f"decided by {self.dispute.most} in {100 * self.decided:.0f} % of cases"
        lines = [f"{b} against {a}: about {units.plural(self.pairs, 'pair')} of seeds, {source} {size}; {share}"]
        if self.decided < 0.5:
            need = "" if self.fixed is None else f"; a single test would need about {self.fixed:,}"
            lines.append(f"  --max-seeds {self.dispute.most} will probably not do{need}")
        if self.budget is not None:
            enough = "is enough" if self.seconds <= self.budget else "will not do"
            lines.append(f"  {units.seconds(self.budget)} {enough}: about {units.seconds(self.seconds)} are needed")
        return lines


def prospect(dispute: Dispute, known: History, database: str, options: RunOptions, budget: float | None) -> Prospect:
    """What `dispute` will about need; writes nothing."""
    done = [pair for pair in dispute.pairs if pair.is_done(known.statuses)]
    effect, margin, pilot, verdict = 1.0, None, 0, NOT_RESOLVED
    if done:
        with open_database(database, mode="read") as opened:
            difference = compared(opened, dispute, done, options.machine).overall
            verdict = _verdict(dispute, earlier_looks(opened, dispute, options.machine))
        if difference is not None and difference.error:
            deviation = difference.error * math.sqrt(difference.n)
            effect = abs(sequential.unbiased_effect(difference.mean, deviation, difference.n))
            pilot = difference.n
            margin = dispute.judging.margin and dispute.judging.margin / deviation
    need = sequential.needed_pairs(effect, dispute.most, margin=margin, already=len(done))
    pairs = len(done) if verdict != NOT_RESOLVED else max(round(need.pairs), len(done))
    plan = dispute.plan_of(dispute.pairs[:pairs])
    seconds = 0.0 if verdict != NOT_RESOLVED else _forecast(plan, known, options)
    return Prospect(dispute, verdict, pairs, need.decided, need.fixed, pilot, effect, plan, seconds, budget)
