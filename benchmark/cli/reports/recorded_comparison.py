"""The comparison of two selections of a database, as `bench compare` and Python's `benchmark.compare` show it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from benchmark.cli.cell_lookup import selected_results, stored_predictions
from benchmark.cli.own_metrics import with_own_metrics
from benchmark.cli.reports.report_page import page_head
from benchmark.cli.reports.report_section import report_section
from benchmark.cli.runs.noise_floor import note_on_noise
from benchmark.errors import UserError
from benchmark.matrix.selection import parse_selection
from benchmark.reporting.comparing.compare import Comparison, compare_selections
from benchmark.reporting.report import judging
from benchmark.reporting.rows.latest import with_environment
from benchmark.results.looks import looks
from benchmark.results.read import queries
from benchmark.results.read.runs import all_runs
from benchmark.results.store.database import open_database


def recorded_comparison(
    database: str,
    a: str,
    b: str,
    machine: str | None,
    *,
    metrics: Sequence[str] = (),
    margin: float | None = None,
    allow_plugins: bool = False,
    needs_margin: bool = False,
) -> Comparison:
    """Compare selection `b` with selection `a`; the arguments are those of `bench compare`.

    Args:
        database: A path or URL.
        a: A selection, such as `strategy=scratch`.
        b: Another one.
        machine: Whose results; None takes that of A's newest result.
        metrics: Columns that get verdicts; none takes those of `[report]`.
        margin: What counts as equivalent, in the unit of the metric; None takes that of `[report]`.
        allow_plugins: Whether files of the user's metrics may run.
        needs_margin: Whether a margin must be known.

    Raises:
        UserError: There is no database, a selection matches nothing, or there is no margin where one is needed.
        StorageError: It cannot be read.
    """
    with open_database(database, mode="read") as opened:
        runs = list(all_runs(opened).values())
        first, second = (with_environment(selected_results(opened, [side]), runs) for side in (a, b))
        spec, load = report_section(opened, machine=machine), stored_predictions(opened)
        sides = [
            with_own_metrics(side, metrics, spec, load, f"bench compare {a} {b}", allowed=allow_plugins)
            for side in (first, second)
        ]
        (first, second), notes = (side.rows for side in sides), sides[0].notes
        judged = judging(spec, metrics, margin, own=sides[0].metrics)
        if needs_margin and judged.margin is None:
            raise UserError("--fail-if not-equivalent: expected --margin, which says what counts as equivalent")
        comparison = compare_selections(
            first,
            second,
            machine=machine,
            judging=judged,
            predictions=load,
            parents=queries.parents(opened),
            looks=looks(opened, "resolve"),
            named=parse_selection([a, b]).keys,
            selections=(a, b),
        )
    timed = note_on_noise(comparison.report.machine) if judged.main.is_timing else ()
    compared = [run for run in runs if run["run_id"] in comparison.report.runs]
    executions = set(itertools.chain(*comparison.executions))
    head = page_head([row for row in (*first, *second) if row.get("execution_id") in executions], compared)
    report = replace(comparison.report, notes=(*comparison.report.notes, *notes, *timed), page=head)
    return replace(comparison, report=report)
