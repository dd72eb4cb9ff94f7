"""How many pairs of seeds `--resolve` will about need, and how long they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from benchmark import units
from benchmark.cli.runs.dispute import Dispute, compared, earlier_looks, verdict_of
from benchmark.cli.runs.run_forecast import History, expect
from benchmark.forecast.simulation import Room
from benchmark.matrix.plan import Plan
from benchmark.reporting.statistics import sequential
from benchmark.reporting.statistics.mean_difference import NOT_RESOLVED
from benchmark.results.store.database import open_database
from benchmark.scheduling.decisions.reuse import decide
from benchmark.scheduling.run_options import RunOptions


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


def prospect_of(
    dispute: Dispute,
    known: History,
    database: str,
    options: RunOptions,
    budget: float | None,
    room: Room | None,
) -> Prospect:
    """What `dispute` will about need; `room` as for `expect`. Writes nothing."""
    done = [pair for pair in dispute.pairs if pair.is_done(known.statuses)]
    effect, margin, pilot, verdict = 1.0, None, 0, NOT_RESOLVED
    if done:
        with open_database(database, mode="read") as opened:
            difference = compared(opened, dispute, done, options.machine).overall
            verdict = verdict_of(dispute, earlier_looks(opened, dispute, options.machine))
        if difference is not None and difference.error:
            deviation = difference.error * math.sqrt(difference.n)
            effect = abs(sequential.unbiased_effect(difference.mean, deviation, difference.n))
            pilot = difference.n
            margin = dispute.judging.margin and dispute.judging.margin / deviation
    need = sequential.needed_pairs(effect, dispute.most, margin=margin, already=len(done))
    pairs = len(done) if verdict != NOT_RESOLVED else max(round(need.pairs), len(done))
    plan = dispute.plan_of(dispute.pairs[:pairs])
    seconds = 0.0 if verdict != NOT_RESOLVED else seconds_to_do(plan, known, options, room)
    return Prospect(dispute, verdict, pairs, need.decided, need.fixed, pilot, effect, plan, seconds, budget)


def seconds_to_do(plan: Plan, known: History, options: RunOptions, room: Room | None) -> float:
    """Wall-clock seconds until all cells of a plan are done; `room` as for `expect`."""
    decisions = decide(plan.cells, known.recorded, options)
    to_do = [cell for cell in plan.cells if decisions[cell.cell_id].will_run]
    return expect(to_do, known, options, room=room).wall_seconds
