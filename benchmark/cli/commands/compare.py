"""`bench compare A B`: two selections of results, paired."""

from __future__ import annotations

from dataclasses import replace

import click

from benchmark.cli.garbage_collection import paused_collection
from benchmark.cli.judging_options import NOT_PASSED, allow_metrics_option, judging_options, strict_code
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.terminal import streams
from benchmark.cli.terminal.output import print_report
from benchmark.errors import UserError
from benchmark.reporting.writers.formats import FORMATS
from benchmark.text import one_line


@verb(
    "compare",
    "bench compare strategy=scratch strategy=regularized",
    "bench compare model=simple_cnn model=resnet18 --margin 0.5pp",
    "bench compare run=1 run=2 --fail-if worse:0.5pp",
)
@click.argument("a")
@click.argument("b")
@database_option
@machine_option("that of A's newest result")
@judging_options
@allow_metrics_option
@click.option(
    "--fail-if",
    metavar="CONDITION",
    help="End with 3 when B is `worse`, or may be worse by M (`worse:M`), is `not-better`, `not-equivalent` or `better`.",
)
@format_option(*FORMATS, what="the table is")
@paused_collection()
def command(
    a: str,
    b: str,
    database: str,
    machine: str | None,
    metrics: tuple[str, ...],
    margin: float | None,
    strict: bool,
    fail_if: str | None,
    output_format: str,
    allow_plugins: bool,
) -> int:
    """Compare selection B with selection A: effect, interval, verdict; differences are B minus A.

    What both selections share (dataset, model, strategy) is held equal; cells are matched by their settings and paired
    by seed. `run=N` and `run=NAME` select the results that ended in that run, also when newer ones exist: that compares
    two runs cell by cell.

    A gate (--fail-if) passes on evidence alone: it fails where B has no result, and where nothing can be compared.
    """
    from benchmark.cli.cell_lookup import selected_results, stored_predictions
    from benchmark.cli.own_metrics import with_own_metrics
    from benchmark.cli.report_section import report_section
    from benchmark.cli.runs.noise_floor import note_on_noise
    from benchmark.matrix.selection import parse_selection
    from benchmark.reporting.comparing.compare import compare_selections
    from benchmark.reporting.comparing.gate import decide, parse_gate
    from benchmark.reporting.report import judging
    from benchmark.reporting.rows.latest import with_environment
    from benchmark.results.read import queries
    from benchmark.results.read.looks import looks
    from benchmark.results.read.runs import all_runs
    from benchmark.results.store.database import open_database
    from benchmark.results.write.recorder import utc_now

    gate = parse_gate(fail_if) if fail_if is not None else None
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
        if gate is not None and gate.word == "not-equivalent" and judged.margin is None:
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
        )
    timed = note_on_noise(comparison.report.machine) if judged.main.is_timing else ()
    notes = (*comparison.report.notes, *notes, *timed)
    print_report(replace(comparison.report, notes=notes, created_utc=utc_now()), output_format)
    code = strict_code(comparison.report.suspects) if strict else 0
    if gate is None:
        return code
    outcome = decide(comparison, gate)
    for reason in outcome.reasons:
        streams.say(one_line(f"--fail-if {fail_if}: {reason}"))
    return code if outcome.passes else NOT_PASSED
