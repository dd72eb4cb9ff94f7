"""`bench report`: the comparison tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.garbage_collection import paused_collection
from benchmark.cli.judging_options import allow_metrics_option, judging_options, strict_code
from benchmark.cli.options import Duration, database_option, machine_option, selection_options, verb
from benchmark.cli.terminal import verbosity
from benchmark.cli.terminal.output import FILE_COLUMNS, print_report
from benchmark.errors import UserError
from benchmark.reporting.tables.registry import TABLES
from benchmark.reporting.writers.formats import DEFAULT, FORMATS, format_of_file, render

if TYPE_CHECKING:
    from benchmark.reporting.table import Report


@verb(
    "report",
    "bench report",
    "bench report --format markdown --output report.md",
    "bench report --select model=resnet* --table summary",
    "bench report --at 60s",
    "bench report --figures pictures",
)
@database_option
@click.option("--matrix", metavar="PATH", help="Take [report] from this file.  [default: as it was in the last run]")
@machine_option("that of the last run")
@selection_options
@click.option(
    "--table",
    "tables",
    type=click.Choice(tuple(TABLES)),
    multiple=True,
    help=f"Only this table; repeatable. These come only so: {', '.join(n for n, kind in TABLES.items() if kind.on_request)}.",
)
@judging_options
@allow_metrics_option
@click.option(
    "--at",
    "seconds",
    type=Duration(),
    metavar="TIME",
    help="What each cell had come to after so much training: 60s, 5m; of the recorded epochs.",
)
@click.option("--at-epoch", "epoch", type=click.IntRange(1), metavar="N", help="Likewise after so many epochs.")
@click.option(
    "--target",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Validation accuracy for `--table time`.  [default: one that all rows reach on average]",
)
@click.option("--baseline", metavar="STRATEGY", help="Compare every row of the summary with this strategy's.")
@click.option("--ensembles", is_flag=True, help="Add rows for the averaged predictions of each row's seeds.")
@click.option(
    "--reference",
    is_flag=True,
    help="The reference results of the default matrix, which come with bench, instead of the database.",
)
@click.option("--last-run", is_flag=True, help="Only the cells of the last run.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(tuple(FORMATS)),
    help="[default: by the ending of --output, else table]",
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to a file, whole or not at all.")
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also draw pictures, as PNG and SVG files in this folder.",
)
@click.option(
    "--check",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only say whether FILE, an earlier --output, still shows what the database holds.",
)
@paused_collection()
def command(
    database: str,
    machine: str | None,
    reference: bool,
    output_format: str | None,
    output: Path | None,
    figures: Path | None,
    check: Path | None,
    strict: bool,
    **shown: Any,
) -> int:
    """Print comparison tables of the recorded results: summary, transfer and progression.

    Per-class figures and confusion matrices are printed for `--table classes` and `--table confusion`, one table for
    each row of the summary.

    Several seeds are shown as mean ± 95 % interval with their number; failed and left-out cells stay, with their
    reason. Without --machine the machine of the last run is shown. With --check the exit code is 2 when FILE is out of
    date.
    """
    for written, option in ((output, "--output writes a file"), (figures, "--figures writes files")):
        if written is not None and check is not None:
            raise UserError(f"{option} and --check only compares one; give one of them")
    if shown["seconds"] and shown["epoch"]:
        raise UserError("--at and --at-epoch are two budgets; give one of them")
    if reference:
        from benchmark.results.store.reference import RESULTS

        database, machine = str(RESULTS), None
    from benchmark.cli.recorded_report import recorded_report, with_local_notes
    from benchmark.results.write.recorder import utc_now

    report = replace(recorded_report(database, machine, figures, **shown), created_utc=utc_now())
    quoted = with_local_notes(report)
    file = output or check
    chosen = output_format or (format_of_file(file) if file else DEFAULT)
    if check is not None:
        return _compare_with(check, (quoted, report), chosen)
    report = quoted
    if output is not None:
        from benchmark.reporting.writers.formats import save
        from benchmark.results.store.location import locate

        path = locate(database).path
        save(render(report, chosen, width=FILE_COLUMNS), output, protected=[path] if path else [])
        verbosity.inform(f"wrote {output}")
    else:
        print_report(report, chosen)
    return strict_code(report.suspects) if strict else 0


def _compare_with(file: Path, reports: Sequence[Report], output_format: str) -> int:
    """Whether a file is one of these reports: with what this computer knows of itself, or without."""
    try:
        shown = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--check {file}: cannot be read: {error}; write it with: bench report --output {file}"
        ) from error
    if any(_undated(shown) == _undated(render(report, output_format, width=FILE_COLUMNS)) for report in reports):
        verbosity.inform(f"{file} is up to date")
        return 0
    raise UserError(f"{file} is out of date; write it anew with: bench report --output {file}")


def _undated(text: str) -> str:
    """The text of a report without the lines of a JSON document that say when and by which version it was made."""
    return re.sub(r'^  "(created_utc|package_version|schema_version)": .*\n', "", text, flags=re.MULTILINE)
