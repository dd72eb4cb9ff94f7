"""`bench report`: the comparison tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark import units
from benchmark.cli.options import Duration, damage_named, database_option, machine_option, selection_options, verb
from benchmark.cli.reports.collector_pause import paused_collection
from benchmark.cli.reports.judging_options import allow_metrics_option, judging_options, strict_code
from benchmark.cli.terminal import verbosity
from benchmark.cli.terminal.output import FILE_COLUMNS, print_report
from benchmark.cli.terminal.usage_text import usage_text
from benchmark.errors import BenchError, UserError
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
    "bench report --output report.html",
    "bench report --figures pictures",
)
@database_option
@click.option("--matrix", metavar="PATH", help="Read [report] from this file.  [default: as it was in the last run]")
@machine_option("that of the last run")
@selection_options
@click.option(
    "--table",
    "tables",
    type=click.Choice(tuple(TABLES)),
    multiple=True,
    help=f"Print only this table; repeatable. Printed only on request: {', '.join(n for n, kind in TABLES.items() if kind.on_request)}.",
)
@judging_options
@allow_metrics_option
@click.option(
    "--at",
    "seconds",
    type=Duration(),
    metavar="TIME",
    help="Show the result of each cell after this much training time, such as 60s or 5m.",
)
@click.option(
    "--at-epoch",
    "epoch",
    type=click.IntRange(1),
    metavar="N",
    help="Show the result of each cell after this many epochs.",
)
@click.option(
    "--target",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Validation accuracy to reach in `--table time`.  [default: one that all rows reach on average]",
)
@click.option("--baseline", metavar="STRATEGY", help="Compare every row of the summary with this strategy.")
@click.option("--ensembles", is_flag=True, help="Add rows for the averaged predictions of each row's seeds.")
@click.option(
    "--reference",
    is_flag=True,
    help="Show the reference results of the default matrix, which come with bench, instead of the database.",
)
@click.option("--last-run", is_flag=True, help="Show only the cells of the last run.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(tuple(FORMATS)),
    help="Format of the report.  [default: by the ending of --output, else table]",
)
@click.option(
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="Write to a file; with --format csv and a slash at the end to a folder, one file for each table.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also draw the figures, as PNG and SVG files in this folder.",
)
@click.option("--no-pictures", is_flag=True, help="Leave the figures out of an HTML page, which makes it faster.")
@click.option(
    "--check",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only check whether FILE, an earlier --output or a page with markers, still agrees with the database.",
)
@click.option(
    "--update",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rewrite the tables between the markers of a Markdown file, and leave the rest of it unchanged.",
)
@paused_collection()
def command(
    database: str,
    machine: str | None,
    reference: bool,
    output_format: str | None,
    output: str | None,
    figures: Path | None,
    check: Path | None,
    update: Path | None,
    strict: bool,
    **shown: Any,
) -> int:
    """Print comparison tables of the recorded results: summary, transfer and progression.

    Per-class figures and confusion matrices are printed with `--table classes` and `--table confusion`, one table for
    each row of the summary.

    Results of several seeds are shown as mean ± 95 % interval with the number of seeds; failed and left-out cells are
    listed with the reason. Without --machine the machine of the last run is shown. With --check the exit code is 2 if
    FILE is out of date, and stderr shows where.

    A Markdown file may hold tables between a line `<!-- bench: report ARGUMENTS -->` and a line `<!-- end bench -->`:
    --check compares them, and --update rewrites them. ARGUMENTS are options of this command; paths in them are relative
    to the file.
    """
    _check_files(output, figures, check, update)
    if check is not None or update is not None:
        done = _marked(check, update, (database, machine), strict=strict, allow_plugins=shown["allow_plugins"])
        if done is not None:
            return done
    file = Path(output) if output else check
    chosen = output_format or (format_of_file(file) if file else DEFAULT)
    quoted, report = _reports(database, machine, figures, reference=reference, page=chosen == "html", **shown)
    if check is not None:
        return _compare_with(check, (quoted, report), chosen)
    report = quoted
    if output is not None:
        _write(report, chosen, output, database)
    else:
        print_report(report, chosen)
    return strict_code(report.suspects) if strict else 0


def _write(report: Report, output_format: str, output: str, database: str) -> None:
    """Write the report to a file, or its tables to a folder, which is there or whose name ends in a slash."""
    from benchmark.reporting.writers.formats import save, save_tables
    from benchmark.results.store.location import locate

    path, database_path = Path(output), locate(database).path
    protected = [database_path] if database_path else []
    if output.endswith(("/", os.sep)) or (output_format == "csv" and path.is_dir()):
        written = save_tables(report, output_format, path, protected=protected)
        verbosity.inform(f"wrote {', '.join(map(str, written)) or 'nothing: the report has no table'}")
    else:
        save(render(report, output_format, width=FILE_COLUMNS), path, protected=protected)
        verbosity.inform(f"wrote {output}")


def _check_files(output: str | None, figures: Path | None, check: Path | None, update: Path | None) -> None:
    if check is not None and update is not None:
        raise UserError("--update writes a file and --check only compares one; give one of them")
    looked_at = "--check only compares one" if check is not None else "--update writes tables of one"
    for written, option in ((output, "--output writes a file"), (figures, "--figures writes files")):
        if written is not None and (check is not None or update is not None):
            raise UserError(f"{option} and {looked_at}; give one of them")


def _reports(
    database: str,
    machine: str | None,
    figures: Path | None = None,
    *,
    reference: bool,
    no_pictures: bool = False,
    **shown: Any,
) -> tuple[Report, Report]:
    """The report with what this computer alone knows, and without."""
    from benchmark.cli.reports.recorded_report import recorded_report, with_local_notes
    from benchmark.results.write.recorder import utc_now

    if shown["seconds"] and shown["epoch"]:
        raise UserError("--at and --at-epoch are two budgets; give one of them")
    if reference:
        from benchmark.results.store.reference import RESULTS

        database, machine = str(RESULTS), None
    report = replace(
        recorded_report(database, machine, figures, pictures=not no_pictures, **shown), created_utc=utc_now()
    )
    return with_local_notes(report), report


def _marked(
    check: Path | None, update: Path | None, default: tuple[str, str | None], *, strict: bool, allow_plugins: bool
) -> int | None:
    """Check or update the tables between the markers of a file; None where one to be checked has none."""
    from benchmark.cli.reports import marked_tables

    file, option = (check, "--check") if check is not None else (update, "--update")
    assert file is not None
    cure = f"write it with: bench report --output {file}"
    text = marked_tables.read_text(file, option, cure)
    regions = marked_tables.regions(file, text)
    if not regions:
        if check is not None:
            return None
        raise UserError(
            f"--update {file}: expected markers, found none: write a line {marked_tables.BEGIN} and below it a line "
            f"{marked_tables.END} where tables are to stand, or the whole file with: bench report --output {file}"
        )
    _refuse_beside_markers(file)
    asked = [_arguments(f"{file}:{region.line}", region.words, file.parent, default) for region in regions]
    changes, suspects = [], list[str]()
    for region, (output_format, is_strict, options) in zip(regions, asked, strict=True):
        try:
            with damage_named(options["database"]):
                reports = _reports(**options, allow_plugins=allow_plugins)
        except BenchError as error:
            error.args = (f"{file}:{region.line}: {error}",)
            raise
        changes.append((region, marked_tables.region_texts(region, reports, output_format)))
        suspects += reports[0].suspects if strict or is_strict else ()
    new, changed = marked_tables.with_regions(text, changes)
    numbers = ", ".join(str(region.line) for region in changed)
    where = f"{len(changed)} of {units.plural(len(regions), 'marker')} (line{'s' * (len(changed) > 1)} {numbers})"
    if not changed:
        verbosity.inform(f"{file} is up to date")
    elif update is not None:
        marked_tables.replace_text(file, text, new)
        verbosity.inform(f"updated {file}: {where}")
    else:
        marked_tables.say_difference(file, text, new)
        raise UserError(f"{file} is out of date: {where}; write it anew with: bench report --update {file}")
    return strict_code(suspects)


BESIDE_MARKERS = {"database", "machine", "check", "update", "strict", "allow_plugins", "quiet", "verbose", "debug"}
"""Options that mean something beside a file whose markers say what is shown."""
NOT_IN_MARKERS = {
    "output",
    "check",
    "update",
    "figures",
    "no_pictures",
    "allow_plugins",
    "quiet",
    "verbose",
    "debug",
    "help",
}


def _refuse_beside_markers(file: Path) -> None:
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is click.core.ParameterSource.COMMANDLINE and parameter.name not in BESIDE_MARKERS:
            raise UserError(
                f"{file} has markers, which say what its tables show: expected no {parameter.opts[0]} beside it; write "
                "it into a marker"
            )


def _arguments(
    place: str, words: Sequence[str], folder: Path, default: tuple[str, str | None]
) -> tuple[str | None, bool, dict[str, Any]]:
    """The format, `--strict` and other options that a marker asks for; `default` has database and machine for those without.

    Raises:
        UserError: They are none of `bench report`, or have no place in a marker.
    """
    allowed = [parameter for parameter in command.params if parameter.name not in NOT_IN_MARKERS]
    try:
        context = click.Command("report", params=allowed, add_help_option=False).make_context("report", list(words))
    except click.UsageError as error:
        refused = {name for each in command.params if each.name in NOT_IN_MARKERS for name in each.opts}
        named = getattr(error, "option_name", None)
        has_no_place = f"{named} has no place in a marker, which says what its tables show"
        raise UserError(f"{place}: {has_no_place if named in refused else usage_text(error)}") from error
    options = dict(context.params)
    for name, value in zip(("database", "machine"), default, strict=True):
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            options[name] = value
        elif name == "database" and "://" not in options[name]:
            options[name] = str(folder / options[name])
    if options["matrix"] is not None:
        options["matrix"] = str(folder / options["matrix"])
    return options.pop("output_format"), options.pop("strict"), options


def _compare_with(file: Path, reports: Sequence[Report], output_format: str) -> int:
    """Whether a file is one of these reports: with what this computer knows of itself, or without."""
    from benchmark.cli.reports.marked_tables import read_text, say_difference, undated

    shown = read_text(file, "--check", f"write it with: bench report --output {file}").replace("\r\n", "\n")
    right = [render(report, output_format, width=FILE_COLUMNS) for report in reports]
    if any(undated(shown) == undated(each) for each in right):
        verbosity.inform(f"{file} is up to date")
        return 0
    say_difference(file, shown, right[0])
    raise UserError(f"{file} is out of date; write it anew with: bench report --output {file}")
