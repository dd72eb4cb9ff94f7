"""What `--resolve` is to decide, B against A, and the looks at the pairs of seeds that are done; each is recorded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from benchmark.cli.cell_lookup import stored_predictions
from benchmark.cli.options import MatrixRequest
from benchmark.cli.own_metrics import main_metric, with_own_metrics
from benchmark.cli.runs.run_forecast import History
from benchmark.cli.runs.seed_pairs import SeedPair, candidate_seeds, pair_at, parse_sides
from benchmark.files import sha256_of
from benchmark.matrix.plan import Plan
from benchmark.reporting.comparing.compare import Comparison, compare_selections
from benchmark.reporting.comparing.differences import Judging
from benchmark.reporting.report import judging
from benchmark.reporting.rows.latest import with_environment
from benchmark.reporting.statistics import sequential
from benchmark.reporting.statistics.mean_difference import NOT_COMPARABLE, NOT_RESOLVED
from benchmark.results.looks import looks, record_look
from benchmark.results.read.queries import results
from benchmark.results.read.runs import all_runs
from benchmark.results.records import LookRow
from benchmark.results.store.database import Database, open_database
from benchmark.scheduling.decisions.reuse import decide
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import Status


@dataclass(frozen=True, slots=True)
class Dispute:
    """A comparison that `--resolve` is to decide.

    Attributes:
        sides: A and B as they were named.
        identity: The same for the same cells of both sides, whatever their seeds.
        plan: The whole matrix as planned.
        pairs: At most as many as may be added, the cheapest first; those that are done already cost nothing.
        most: How many pairs there may be.
        judging: The metric and the margin.
        allow_plugins: Whether that metric may run where it is one of the user's own.
    """

    sides: tuple[str, str]
    identity: str
    plan: Plan
    pairs: tuple[SeedPair, ...]
    most: int
    judging: Judging
    allow_plugins: bool = False

    def plan_of(self, pairs: Sequence[SeedPair]) -> Plan:
        """A plan of these pairs alone."""
        cells = {cell.cell_id: cell for pair in pairs for cell in pair.cells}
        return replace(self.plan, cells=tuple(cells.values()), left_out=(), notes=(), axes=("seed",))


def dispute_of(
    matrix: MatrixRequest,
    plan: Plan,
    resolve: Sequence[str],
    known: History,
    options: RunOptions,
    *,
    most: int,
    margin: float | None,
    database: str,
    only_plans: bool = False,
) -> Dispute:
    """What `--resolve` asks, with its pairs of seeds in the order in which they are added.

    A plan runs no metric of the user's own: where `only_plans`, another one is planned for.

    Raises:
        UserError: A side means no cell, or both mean the same; or a metric of the user's own decides and may not run.
    """
    sides = parse_sides(resolve)
    spec, allowed = None if only_plans else plan.report, options.allow_plugins
    own = with_own_metrics((), main_metric(spec), spec, lambda _: {}, options.command, allowed=allowed).metrics
    judged = judging(plan.report, (), margin, own=own)
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
    return Dispute(sides, identity, plan, tuple(pairs[:most]), most, judged, options.allow_plugins)


def _recorded_seeds(database: str, known: History, machine: str, names: Collection[tuple[str, str, str]]) -> list[int]:
    """Seeds at which cells of these names have completed, whatever their settings."""
    if not known.statuses:
        return []
    strategies = sorted({name[2] for name in names})
    with open_database(database, mode="read") as opened:
        rows = results(opened, status=str(Status.COMPLETED), strategy=strategies, machine=machine)
    return sorted({row["seed"] for row in rows if (row["dataset"], row["model"], row["strategy"]) in names})


def compared(opened: Database, dispute: Dispute, pairs: Sequence[SeedPair], machine: str) -> Comparison:
    """B against A over these pairs."""
    runs = list(all_runs(opened).values())
    sides = (
        # a run takes no notice of `bench forget`: a pair that is done is not done again
        [
            {**row, "forgotten": 0}
            for row in with_environment(results(opened, spec=True, machine=machine, cell_id=sorted(ids)), runs)
        ]
        for ids in (
            frozenset().union(*(pair.a for pair in pairs)),
            frozenset().union(*(pair.b for pair in pairs)),
        )
    )
    load, spec, main = stored_predictions(opened), dispute.plan.report, dispute.judging.main.key
    a, b = (
        with_own_metrics(side, (main,), spec, load, "bench run", allowed=dispute.allow_plugins).rows for side in sides
    )
    return compare_selections(a, b, machine=machine, judging=dispute.judging, predictions=load)


def earlier_looks(opened: Database, dispute: Dispute, machine: str) -> list[LookRow]:
    """The looks at these sides so far, oldest first."""
    return [
        look
        for look in looks(opened, "resolve")
        if look.machine == machine and look.details.get("identity") == dispute.identity
    ]


def _look_at(
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
        # smaller skewness is left aside: to allow for it would cost what looking early saves
        skew = difference.skew if difference.looks_skewed else 0.0
        look = sequential.look_again(difference.mean, difference.error, difference.n, spent, dispute.most, skew)
        word = sequential.verdict(
            look.low, look.high, higher_is_better=bool(metric.higher_is_better), margin=dispute.judging.margin
        )
        details = {**row.details, "skewed": difference.looks_skewed}
        row = replace(row, low=look.low, high=look.high, alpha=look.alpha, verdict=word, details=details)
    return record_look(opened, row)


def verdict_of(dispute: Dispute, made: Sequence[LookRow]) -> str:
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


def updated_looks(
    dispute: Dispute, database: str, options: RunOptions, done: Sequence[SeedPair], run_id: int | None
) -> list[LookRow]:
    """All looks, a new one included where there are pairs that were never looked at."""
    if not done:
        return []
    with open_database(database, mode="write") as opened:
        made = earlier_looks(opened, dispute, options.machine)
        if len(done) >= sequential.FIRST_LOOK and len(done) > max((look.n for look in made), default=0):
            made.append(_look_at(opened, dispute, done, options, run_id))
    return made
