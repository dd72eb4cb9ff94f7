"""Builds a report, tables and notes, from database rows: `build_report`.

What the tables come to in at most three sentences is made by `answer.answer`, and stands in `Report.answer`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmark.errors import UserError
from benchmark.matrix.report_spec import ReportSpec
from benchmark.reporting.answer import answer
from benchmark.reporting.comparing.audit import note_on_mixtures
from benchmark.reporting.comparing.differences import Comparisons, Judging, judge_pairs, note_on_families, suspects
from benchmark.reporting.comparing.look_remarks import LOOKED, note_on_looks
from benchmark.reporting.predictions.further_metrics import with_further_metrics
from benchmark.reporting.predictions.stored_predictions import LoadPredictions
from benchmark.reporting.predictions.tested_datasets import note_on_untested, stored_test_sets
from benchmark.reporting.rows.code_versions import notes_on_versions
from benchmark.reporting.rows.forgotten import Remembered, note_on_forgotten, remember, without_forgotten
from benchmark.reporting.rows.grouping import group_cells
from benchmark.reporting.rows.groups import Group, run_ids, varying_settings
from benchmark.reporting.rows.latest import (
    ResultRow,
    choose_machine,
    latest_executions,
    note_on_other_machines,
    with_environment,
)
from benchmark.reporting.rows.metrics import COSTS, METRICS, TEST_ACCURACY, Metric, metric_named
from benchmark.reporting.rows.training_budget import LoadEpochs, within
from benchmark.reporting.shared_notes import collected, common_remarks, notes_on_verdicts, without_footnotes
from benchmark.reporting.table import Report, Table
from benchmark.reporting.tables.registry import TABLES
from benchmark.reporting.tables.shown import ReportOptions, Shown
from benchmark.results.records import LookRow

_TEST = ("test_", "tta_")


def build_report(*rows_and_cells: Any, **known: Any) -> Report:
    """Build the tables and notes that `options` asks for; arguments and errors as of `build_shown`."""
    return build_shown(*rows_and_cells, **known)[0]


def build_shown(
    rows: Sequence[ResultRow],
    run_cells: Sequence[Mapping[str, Any]],
    report_spec: ReportSpec | None,
    options: ReportOptions | None = None,
    *,
    runs: Sequence[Mapping[str, Any]] = (),
    predictions: LoadPredictions = lambda _: {},
    parents: Sequence[ResultRow] = (),
    looks: Sequence[LookRow] = (),
    epochs: LoadEpochs = lambda _: {},
    commits: Callable[[str, str], Sequence[str]] = lambda *_: (),
) -> tuple[Report, Shown]:
    """Build the tables and notes that `options` asks for, and what they were made from, which figures show too.

    Args:
        rows: Executions: the columns of the view `results`, and where known `execution_id`, `detail`,
            `resumed`, `strategy_label`, `spec` (the cell as a dictionary or JSON), the numbers of examples, and what is
            audited (`audit.AUDITED`). Any machines, any order.
        run_cells: The cells of the last run: `cell_id` (None for left out), `dataset`, `model`, `strategy`, `seed`,
            `outcome`, `reason`, and where known `spec`; in the order of the matrix.
        report_spec: `[report]` of the matrix; where it names no comparison, `default_transfers` are compared.
        options: What to show.
        runs: The runs that the rows name in `run_id`; their versions and hardware count for their rows.
        predictions: Reads stored predictions; called for what is compared, for ensembles and tables on request, and for
            one execution of each dataset of a user.
        parents: Executions that are not to be shown, for what the weights of shown cells cost.
        looks: Those of `bench run --resolve`, oldest first.
        epochs: Reads recorded epochs; called where a budget or a table asks for them.
        commits: Gives the first lines of the commits after the first of two and up to the second.

    Raises:
        UserError: There is no table, metric or baseline of a name in `options`, or none at its budget.
    """
    options = options or ReportOptions()
    _check(options)
    if options.budget is not None:
        predictions = lambda _: {}  # noqa: E731
    wanted = [
        name for name, kind in TABLES.items() if name in options.tables or (not options.tables and not kind.on_request)
    ]
    spec = report_spec or ReportSpec()
    judged = _judging(spec, options)
    rows = with_further_metrics(with_environment(rows, runs), judged.metrics, predictions)
    machine, remembered = _latest(rows, run_cells, options)
    groups = _groups(machine, remembered, run_cells, options, epochs)
    here = [row for row in (*parents, *rows) if row.get("machine") == machine]
    known = latest_executions(here) if parents or options.only_run else ()
    executions = {row["cell_id"]: row for row in (*known, *remembered.left_out, *remembered.latest)}
    rows = without_forgotten(rows)
    shown = Shown(
        groups, executions, spec, options, predictions,
        varying=varying_settings(groups), recorded=rows, epochs=epochs, commits=commits,
        tested=stored_test_sets(groups, predictions),
    )  # fmt: skip
    pairs = {name: list(TABLES[name].judged(shown)) for name in wanted}
    comparisons = judge_pairs(itertools.chain(*pairs.values()), judged, predictions)
    shown = replace(shown, comparisons=comparisons)
    tables: list[Table] = []
    notes = _note_on_budget(options)
    for name in wanted:
        more, remarks = TABLES[name].build(shown)
        if name in options.tables and not more and not remarks:
            remarks = [
                f"{name.capitalize()}: nothing to show here; `{name}` in [report] of the matrix says what is wanted."
            ]
        tables, notes = tables + more, notes + remarks
    common = common_remarks(comparisons.judged.values())
    tables, shared = collected([without_footnotes(each, common) for each in tables])
    notes += [*shared, *notes_on_verdicts(common)]
    notes += note_on_forgotten(len(remembered.left_out), remembered.older)
    machines, about = [machine] if machine else [], groups
    if options.machine is None and all(TABLES[name].of_all_machines for name in wanted):
        machines, about = _of_all_machines(rows, run_cells, options, epochs)
    else:
        notes += note_on_other_machines(rows, machine)
    notes += [*notes_on_versions(groups), *note_on_mixtures(groups), *note_on_untested(shown.tested)]
    notes += [*_note_on_intervals(groups, comparisons), *note_on_families(comparisons)]
    looked = note_on_looks([number for group in groups for number in group.execution_ids], looks)
    notes += looked
    images = {row["data_fingerprint"] for group in groups for row in group.cells if row.get("data_fingerprint")}
    report = Report(
        tuple(tables), tuple(dict.fromkeys(notes)), machine if len(machines) < 2 else None,
        answer=answer(replace(shown, groups=about), pairs, tables, machines, [LOOKED] if looked else ()), runs=run_ids(groups), suspects=suspects(comparisons),
        fingerprints=tuple(sorted(images)),
    )  # fmt: skip
    return report, shown


def _check(options: ReportOptions) -> None:
    for name in options.tables:
        if name not in TABLES:
            raise UserError(f"--table: expected one of {', '.join(TABLES)}, got {name!r}")
    if options.budget is None:
        return
    at_the_end = [f"--table {name}" for name in options.tables if TABLES[name].of_the_end]
    at_the_end += [f"--metric {name}" for name in options.metrics if name.startswith(_TEST)]
    at_the_end += ["--ensembles"] if options.ensembles else []
    if at_the_end:
        raise UserError(
            f"{at_the_end[0]}: expected something that is recorded in every epoch, for --at and --at-epoch; test data are "
            "evaluated once, at the end of a cell"
        )


def _judging(spec: ReportSpec, options: ReportOptions) -> Judging:
    asked = [name for name in options.metrics if "pareto" not in options.tables or METRICS.get(name) not in COSTS]
    if options.budget is not None:
        spec = replace(spec, metrics=tuple(name for name in spec.metrics if not name.startswith(_TEST)))
    return judging(spec, asked, options.margin, options.main_metric, options.own_metrics)


def _note_on_budget(options: ReportOptions) -> list[str]:
    if options.budget is None:
        return []
    what = f"What each cell had reached by {options.budget}: the figures of its best recorded epoch until then."
    return [f"{what} Nothing was trained or tested for this."]


def judging(
    spec: ReportSpec | None,
    metrics: Sequence[str],
    margin: float | None,
    default: Metric = TEST_ACCURACY,
    own: Sequence[Metric] = (),
) -> Judging:
    """What is judged: as asked for on the command line, else in `[report]`, else `default`."""
    spec = spec or ReportSpec()
    known = {*METRICS, *(metric.key for metric in own)}
    # a metric of the user's own is left out where it was not computed: it is a program that was not asked for
    names = metrics or tuple(name for name in spec.metrics if name in known or not spec.metric_files)
    chosen = tuple(metric_named(name, own) for name in names) or (default,)
    return Judging(chosen, spec.margin if margin is None else margin)


def shown_groups(
    rows: Sequence[ResultRow],
    run_cells: Sequence[Mapping[str, Any]],
    options: ReportOptions,
    epochs: LoadEpochs = lambda _: {},
) -> tuple[str | None, list[Group]]:
    """The machine of a report, and the groups of its latest executions there; arguments as of `build_report`."""
    machine, remembered = _latest(rows, run_cells, options)
    return machine, _groups(machine, remembered, run_cells, options, epochs)


def _latest(
    rows: Sequence[ResultRow], run_cells: Sequence[Mapping[str, Any]], options: ReportOptions
) -> tuple[str | None, Remembered]:
    machine = choose_machine(rows, options.machine, options.last_machine)
    here = [row for row in rows if row.get("machine") == machine]
    if options.only_run:
        ids = {cell.get("cell_id") for cell in _planned(machine, run_cells, options)}
        here = [row for row in here if row["cell_id"] in ids]
    return machine, remember(here)


def _planned(
    machine: str | None, run_cells: Sequence[Mapping[str, Any]], options: ReportOptions
) -> Sequence[Mapping[str, Any]]:
    return run_cells if options.last_machine in {None, machine} else ()


def _groups(
    machine: str | None,
    remembered: Remembered,
    run_cells: Sequence[Mapping[str, Any]],
    options: ReportOptions,
    epochs: LoadEpochs,
) -> list[Group]:
    latest = remembered.latest
    if options.budget is not None:
        latest = within(options.budget, latest, epochs)
    return group_cells(latest, _planned(machine, run_cells, options), remembered.left_out)


def _of_all_machines(
    rows: Sequence[ResultRow], run_cells: Sequence[Mapping[str, Any]], options: ReportOptions, epochs: LoadEpochs
) -> tuple[list[str], list[Group]]:
    """The machines that have results, and the groups of each of them."""
    machines = sorted({row["machine"] for row in rows if row.get("machine")})
    asked = [replace(options, machine=each) for each in machines]
    return machines, [group for each in asked for group in shown_groups(rows, run_cells, each, epochs)[1]]


def _note_on_intervals(groups: Sequence[Group], comparisons: Comparisons) -> list[str]:
    if not any(len(group.completed) > 1 for group in groups):
        return []
    over_images = any(each.over_images for each in comparisons.judged.values())
    return [
        "± is half of a 95 % t interval of the mean over n seeds. It covers what changes with the seed "
        "(validation split, weights, order, augmentation), not which images happen to be in the test set"
        + (", which the footnotes of differences add." if over_images else ".")
    ]
