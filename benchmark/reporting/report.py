"""Builds a report, tables and notes, from database rows: `build_report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UserError
from benchmark.matrix.report_spec import ReportSpec
from benchmark.reporting.rows.differences import note_on_few_seeds, note_on_mixtures
from benchmark.reporting.rows.ensembles import requested_ensembles, seed_ensembles
from benchmark.reporting.rows.groups import Group, group_cells
from benchmark.reporting.rows.latest import (
    ResultRow,
    choose_machine,
    latest_executions,
    note_on_other_machines,
    with_environment,
)
from benchmark.reporting.rows.predictions import LoadPredictions
from benchmark.reporting.table import Report, Table, differences_in, holds_numbers
from benchmark.reporting.tables.beside_published import published_tables
from benchmark.reporting.tables.per_class import class_tables, confusion_tables, note_on_unrecorded, note_on_untested
from benchmark.reporting.tables.progression import progression_tables
from benchmark.reporting.tables.summary import summary_table
from benchmark.reporting.tables.transfer import Pair, default_transfers, transfer_pairs, transfer_tables

TABLES = ("summary", "transfer", "progression", "published")
ON_REQUEST = ("classes", "confusion")
"""Tables that are shown only on request, by name."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report is to show.

    Attributes:
        machine: Whose results; None takes those of the last run.
        last_machine: The machine of the last run, whose cells `run_cells` are; None when it is unknown.
        tables: Which of `TABLES` and `ON_REQUEST`; all of `TABLES` when empty.
        only_run: Leave out cells that are not among `run_cells`.
        ensembles: Add the average of its seeds to the summary, for each group.
    """

    machine: str | None = None
    last_machine: str | None = None
    tables: tuple[str, ...] = ()
    only_run: bool = False
    ensembles: bool = False


def build_report(
    rows: Sequence[ResultRow],
    run_cells: Sequence[Mapping[str, Any]],
    report_spec: ReportSpec | None,
    options: ReportOptions | None = None,
    *,
    runs: Sequence[Mapping[str, Any]] = (),
    predictions: LoadPredictions = lambda _: {},
) -> Report:
    """Build the tables and notes that `options` asks for.

    Args:
        rows: Executions: the columns of the view `results`, and where known `execution_id`, `detail`,
            `resumed`, `strategy_label`, `spec` (the cell as a dictionary or JSON), the numbers of examples, and the
            environment (`latest.PROVENANCE`). Any machines, any order.
        run_cells: The cells of the last run: `cell_id` (None for left out), `dataset`, `model`, `strategy`, `seed`,
            `outcome`, `reason`, and where known `spec`; in the order of the matrix.
        report_spec: `[report]` of the matrix; where it names no comparison, `default_transfers` are compared.
        options: What to show.
        runs: The runs that the rows name in `run_id`; their versions and hardware count for their rows.
        predictions: Reads stored predictions; called only for ensembles, tables of `ON_REQUEST`, and one execution of
            each dataset of a user.

    Raises:
        UserError: There is no table of a name in `options.tables`.
    """
    options = options or ReportOptions()
    for name in options.tables:
        if name not in (*TABLES, *ON_REQUEST):
            raise UserError(f"--table: expected one of {', '.join((*TABLES, *ON_REQUEST))}, got {name!r}")
    wanted = options.tables or TABLES
    rows = with_environment(rows, runs)
    machine, groups = shown_groups(rows, run_cells, options)
    spec = report_spec if report_spec is not None and (report_spec.transfer or report_spec.progression) else None
    tables: list[Table] = []
    notes: list[str] = []
    if "summary" in wanted:
        ensembles, notes = requested_ensembles(groups, report_spec.ensemble if report_spec else (), predictions)
        ensembles += seed_ensembles(groups, predictions) if options.ensembles else []
        tables = [summary_table(groups, ensembles)]
    if "transfer" in wanted:
        more, remarks = _transfers(groups, spec)
        tables, notes = tables + more, notes + remarks
    if "progression" in wanted:
        more, remarks = _progressions(groups, spec)
        tables, notes = tables + more, notes + remarks
    # a comparison without any number becomes a note; the summary has its cells and the reasons
    empty = [table for table in tables if table.name != "summary" and not holds_numbers(table)]
    notes += [f"{table.title}: no results yet." for table in empty]
    tables = [table for table in tables if table not in empty]
    if "published" in wanted and report_spec is not None:
        more, remarks = published_tables(groups, report_spec.published)
        tables, notes = tables + more, notes + remarks
    if "classes" in wanted:
        tables += class_tables(groups, predictions)
    if "confusion" in wanted:
        tables += confusion_tables(groups, predictions)
    if set(ON_REQUEST) & set(wanted):
        notes += note_on_unrecorded(groups, predictions)
    notes += [*note_on_other_machines(rows, machine), *note_on_mixtures(groups), *note_on_untested(groups, predictions)]
    if any(len(group.completed) > 1 for group in groups):
        notes.append(
            "± is half of a 95 % t interval of the mean over n seeds. It covers what changes with the seed "
            "(validation split, weights, order, augmentation), not which images happen to be in the test set."
        )
    notes += note_on_few_seeds(differences_in(tables))
    return Report(tuple(tables), tuple(notes), machine)


def shown_groups(
    rows: Sequence[ResultRow], run_cells: Sequence[Mapping[str, Any]], options: ReportOptions
) -> tuple[str | None, list[Group]]:
    """The machine of a report, and the groups of its latest executions there; arguments as of `build_report`."""
    machine = choose_machine(rows, options.machine, options.last_machine)
    planned = run_cells if options.last_machine in {None, machine} else ()
    latest = latest_executions([row for row in rows if row.get("machine") == machine])
    if options.only_run:
        ids = {cell.get("cell_id") for cell in planned}
        latest = [row for row in latest if row["cell_id"] in ids]
    return machine, group_cells(latest, planned)


def shown_transfers(groups: Sequence[Group], report_spec: ReportSpec | None) -> list[Pair]:
    """The comparisons of a report: those of `[report]` where it names any, else `default_transfers`."""
    if report_spec is not None and (report_spec.transfer or report_spec.progression):
        return transfer_pairs(groups, report_spec.transfer)
    return transfer_pairs(groups, default_transfers(groups))


def _transfers(groups: Sequence[Group], spec: ReportSpec | None) -> tuple[list[Table], list[str]]:
    if spec is None:
        return transfer_tables(groups, default_transfers(groups)), []
    notes = [
        f"Transfer of {each.fine_tuned} against {each.scratch}: no cell of {each.fine_tuned} in what is shown here."
        for each in spec.transfer
        if not transfer_tables(groups, [each])
    ]
    return transfer_tables(groups, spec.transfer), notes


def _progressions(groups: Sequence[Group], spec: ReportSpec | None) -> tuple[list[Table], list[str]]:
    tables: list[Table] = []
    notes: list[str] = []
    for versions in spec.progression if spec else ():
        more = progression_tables(groups, versions)
        tables += more
        if not more:
            notes.append(f"Progression {', '.join(versions)}: fewer than two of them in what is shown here.")
    return tables, notes
