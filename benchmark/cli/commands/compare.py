"""`bench compare A B`: two selections of results, paired."""

from __future__ import annotations

import click

from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.output import print_report
from benchmark.reporting.writers.formats import FORMATS

WORSE_EXIT_CODE = 3
"""`--fail-if` found what it looks for: nothing is wrong with the usage, but a script must notice."""


@verb(
    "compare",
    "bench compare strategy=scratch strategy=regularized",
    "bench compare model=simple_cnn model=resnet18 --fail-if worse",
)
@click.argument("a")
@click.argument("b")
@database_option
@machine_option("that of A's newest result")
@click.option(
    "--fail-if", type=click.Choice(["worse", "better"]), help="End with 3 when B is that in test accuracy, for CI."
)
@format_option(*FORMATS, what="the table is")
def command(a: str, b: str, database: str, machine: str | None, fail_if: str | None, output_format: str) -> int:
    """Compare selection B with selection A: effect, interval, verdict; differences are B minus A.

    What both selections share (dataset, model, strategy) is held equal; cells are matched by their settings and paired
    by seed.
    """
    from benchmark.cli.cell_lookup import selected_results
    from benchmark.reporting.compare import compare_selections
    from benchmark.reporting.rows.latest import with_environment
    from benchmark.results.read.runs import all_runs
    from benchmark.results.store.database import open_database

    with open_database(database, mode="read") as opened:
        runs = list(all_runs(opened).values())
        first, second = (with_environment(selected_results(opened, [side]), runs) for side in (a, b))
    comparison = compare_selections(first, second, machine=machine)
    print_report(comparison.report, output_format)
    return WORSE_EXIT_CODE if fail_if is not None and comparison.verdict == fail_if else 0
