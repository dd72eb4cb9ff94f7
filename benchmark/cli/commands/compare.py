"""`bench compare A B`: two selections of results, paired."""

from __future__ import annotations

from dataclasses import replace

import click

from benchmark.cli.completions import complete_selection
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.reports.collector_pause import paused_collection
from benchmark.cli.reports.judging_options import NOT_PASSED, allow_metrics_option, judging_options, strict_code
from benchmark.cli.terminal import streams
from benchmark.cli.terminal.output import print_report
from benchmark.reporting.writers.formats import FORMATS
from benchmark.text import one_line


@verb(
    "compare",
    "bench compare strategy=scratch strategy=regularized",
    "bench compare model=simple_cnn model=resnet18 --margin 0.5pp",
    "bench compare run=1 run=2 --fail-if worse:0.5pp",
)
@click.argument("a", shell_complete=complete_selection)
@click.argument("b", shell_complete=complete_selection)
@database_option
@machine_option("that of A's newest result")
@judging_options
@allow_metrics_option
@click.option(
    "--fail-if",
    metavar="CONDITION",
    help="Exit with 3 if B is `worse`, may be worse by M (`worse:M`), or is `not-better`, `not-equivalent` or `better`.",
)
@format_option(*FORMATS, what="the table")
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
    by seed. `run=N` and `run=NAME` select the results that ended in that run, even if newer ones exist, so that two
    runs can be compared cell by cell.

    A gate (--fail-if) needs evidence to pass: it fails if B has no result or nothing can be compared.
    """
    from benchmark.cli.reports.recorded_comparison import recorded_comparison
    from benchmark.reporting.comparing.gate import decide, parse_gate
    from benchmark.results.write.recorder import utc_now

    gate = parse_gate(fail_if) if fail_if is not None else None
    asks_margin = gate is not None and gate.word == "not-equivalent"
    comparison = recorded_comparison(
        database, a, b, machine, metrics=metrics, margin=margin, allow_plugins=allow_plugins, needs_margin=asks_margin
    )
    print_report(replace(comparison.report, created_utc=utc_now()), output_format)
    code = strict_code(comparison.report.suspects) if strict else 0
    if gate is None:
        return code
    outcome = decide(comparison, gate)
    for reason in outcome.reasons:
        streams.say(one_line(f"--fail-if {fail_if}: {reason}"))
    return code if outcome.passes else NOT_PASSED
