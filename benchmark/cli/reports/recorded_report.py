"""The report of a database, as `bench report` and Python's `benchmark.report` show it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.catalog.cache import default_cache_root
from benchmark.catalog.repeated_images import repeated_notes
from benchmark.cli.cell_lookup import check_machine, recorded_epochs, selected_results, stored_predictions
from benchmark.cli.own_metrics import with_own_metrics
from benchmark.cli.reports.report_section import report_section
from benchmark.cli.runs.noise_floor import note_on_noise
from benchmark.errors import BusyError, StorageError
from benchmark.git_repository import commits_between
from benchmark.matrix.report_spec import ReportSpec
from benchmark.reporting.report import build_shown
from benchmark.reporting.rows.metrics import FURTHER_METRICS
from benchmark.reporting.rows.training_budget import TrainingBudget
from benchmark.reporting.table import Report
from benchmark.reporting.tables.shown import ReportOptions, Shown
from benchmark.results.looks import looks
from benchmark.results.read import queries
from benchmark.results.read.runs import all_runs, planned_cells
from benchmark.results.schema.reproductions import is_reproducing
from benchmark.results.store.database import Database, open_database
from benchmark.results.write.stored_metrics import fill_database, has_unfilled


def recorded_report(
    database: str,
    machine: str | None,
    figures: Path | None = None,
    *,
    page: bool = False,
    pictures: bool = True,
    **asked: Any,
) -> Report:
    """Build the report of a database, a path or URL; arguments and errors as of `opened_report`.

    With `page` it holds what an HTML page shows beside tables, with or without `pictures`.

    Side effects: those of `opened_report`; draws `figures` into this folder.
    """
    with opened_report(database, machine, **asked) as (tables, shown, opened):
        report = tables
        if figures is not None:
            from benchmark.cli.reports.figure_option import with_figures

            report = with_figures(report, shown, figures, opened, database)
        if page:
            from benchmark.cli.reports.report_page import with_page

            report = with_page(report, shown, opened, database, draw=pictures)
        return report


@contextlib.contextmanager
def opened_report(
    database: str,
    machine: str | None,
    *,
    matrix: str | None = None,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    tables: Sequence[str] = (),
    last_run: bool = False,
    ensembles: bool = False,
    metrics: Sequence[str] = (),
    margin: float | None = None,
    baseline: str | None = None,
    seconds: float | None = None,
    epoch: int | None = None,
    target: float | None = None,
    allow_plugins: bool = False,
) -> Iterator[tuple[Report, Shown, Database]]:
    """The report of a database, what it was made from, and the database, which stays open for its figures.

    The arguments are the options of `bench report`.

    Raises:
        UserError: There is no database, or nothing in it that is asked for.
        StorageError: It cannot be read.

    Side effects: stores further metrics that it had to compute, where nothing holds the database.
    """
    with contextlib.ExitStack() as afterwards, open_database(database, mode="read") as opened:
        runs = list(all_runs(opened).values())
        rows: Sequence[Mapping[str, Any]] = selected_results(opened, select, exclude)
        check_machine(rows, machine)
        last = last_run_of(runs, machine)
        planned = planned_cells(opened, last["run_id"]) if last else []
        load, spec = stored_predictions(opened), report_section(opened, matrix, machine)
        measured = with_own_metrics(rows, metrics, spec, load, "bench report", allowed=allow_plugins)
        rows = measured.rows
        options = ReportOptions(
            own_metrics=measured.metrics,
            machine=machine,
            last_machine=last["machine"] if last else None,
            tables=tuple(tables),
            only_run=last_run,
            ensembles=ensembles,
            metrics=tuple(metrics),
            margin=margin,
            baseline=baseline,
            budget=TrainingBudget(seconds or math.inf, epoch or math.inf) if seconds or epoch else None,
            target=target,
        )
        selected = {row["cell_id"] for row in rows} if last_run else set()
        planned_here = [cell for cell in planned if cell["cell_id"] in selected] if select or exclude else planned
        epochs = recorded_epochs(opened)
        # of an older file a copy is read, and it stays as it is
        if _needs_metrics(metrics, spec) and opened.contents is opened.location and has_unfilled(opened):
            afterwards.callback(_fill_metrics, database)
        parents = queries.results(opened, spec=True) if select or exclude else ()
        report, shown = build_shown(
            rows, planned_here, spec, options, runs=runs, predictions=load, parents=parents, looks=looks(opened, "resolve"),
            epochs=epochs, commits=partial(commits_between, Path.cwd()),
        )  # fmt: skip
        yield replace(report, notes=(*report.notes, *measured.notes)), shown, opened


def last_run_of(runs: Sequence[Mapping[str, Any]], machine: str | None) -> Mapping[str, Any] | None:
    """The run that a report is about, on one machine or on any: not one that only checks or times others."""
    asked = [run for run in runs if machine is None or run["machine"] == machine]
    last = ([run for run in asked if not is_reproducing(run["name"])] or asked)[-1:]
    return last[0] if last else None


def with_local_notes(report: Report) -> Report:
    """The report with what this computer alone knows: images that repeat in its cache, and its noise floor."""
    local = *repeated_notes(default_cache_root(), report.fingerprints), *note_on_noise(report.machine)
    return replace(report, notes=(*report.notes, *local))


def _needs_metrics(metrics: Sequence[str], spec: ReportSpec | None) -> bool:
    """Whether a report shows metrics that older results have no figures of."""
    shown = metrics or (spec.metrics if spec else ())
    return not {metric.key for metric in FURTHER_METRICS}.isdisjoint(shown)


def _fill_metrics(database: str) -> None:
    """Stores what this report had to compute, as `bench db upgrade` does, so that the next one need not.

    Where a run holds the database, or nobody may write it, it is computed again.
    """
    with contextlib.suppress(BusyError, StorageError):
        fill_database(database)
