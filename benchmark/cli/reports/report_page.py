"""What the HTML page of a report shows beside its tables, gathered from the database and the files beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import layout, units
from benchmark.cli.terminal import verbosity
from benchmark.errors import DataError
from benchmark.reporting.html_page.cell_parts import (
    CellSources,
    cell_metrics,
    cell_parts,
    in_order,
    measures,
    rows_of,
)
from benchmark.reporting.page_content import Mistakes, PageContent, Pairs
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.table import Report
from benchmark.reporting.tables.shown import Shown
from benchmark.results.read import queries
from benchmark.results.read.runs import all_runs
from benchmark.results.store.database import Database
from benchmark.status import Status

if TYPE_CHECKING:
    from benchmark.reporting.figures.figure_sources import FigureSources

_LOG_BYTES = 16_384
MOST_ILLUSTRATED = 100
"""Where there are more cells, their mistakes are listed without pictures."""

FEW_FIGURES = 20
"""More take seconds, of which a person is told."""

_VERSIONS = {
    "bench": "package_version", "Python": "python_version", "Keras": "keras_version", "NumPy": "numpy_version",
    "processor": "cpu_model", "cores": "cpu_cores", "GPU": "gpu_names", "system": "os",
}  # fmt: skip
"""What the head of a page tells of the rows, by what it is called there."""


def with_page(report: Report, shown: Shown, database: Database, target: str, *, draw: bool) -> Report:
    """The report with what its page shows beside tables; where tables were asked for by name, with its head alone.

    Args:
        report: What `build_shown` made.
        shown: What it was made from.
        database: Open for reading.
        target: The database as it was named.
        draw: Draw the figures.
    """
    runs = all_runs(database)
    groups = in_order(shown.groups)
    rows = [row for group in groups for row in rows_of(group)]
    begun_in = {*report.runs, *(row.get("run_id") for row in rows)}
    # a run in which no cell has begun is the newest
    of_report = [run for number, run in runs.items() if number in begun_in] or list(runs.values())[-1:]
    counts = Counter({str(Status.COMPLETED): sum(len(group.cells) for group in groups)})
    counts.update(each.what for group in groups for each in group.missing)
    content = page_head(rows, of_report, counts)
    if shown.options.tables:
        return replace(report, page=content)
    from benchmark.catalog.cache_lock import CacheUse
    from benchmark.cli.reports.figure_option import sources_of
    from benchmark.reporting.figures.report_figures import plan_figures
    from benchmark.reporting.html_page.page_pictures import MOST_PICTURES, draw_pictures

    figures = sources_of(shown, database, target)
    metrics = cell_metrics(rows, shown.comparisons.judging.metrics)
    columns = measures(metrics, shown.varying)
    sources = CellSources(
        runs=runs,
        attempts=queries.newest_attempts(database, [row["execution_id"] for row in rows]),
        epochs=figures.epochs,
        log=partial(_log, figures.artifacts_root),
        mistakes=partial(_mistakes, figures, illustrated=len(rows) <= MOST_ILLUSTRATED),
    )
    with closing(CacheUse(figures.cache_root, make=False)):
        cells = tuple(cell_parts(groups, shown.varying, metrics, sources))
        planned = list(plan_figures(figures)) if draw else []
        if len(planned) > FEW_FIGURES:
            verbosity.inform(
                f"drawing {units.plural(min(len(planned), MOST_PICTURES), 'figure')}; --no-pictures leaves them out"
            )
        pictures, undrawn = draw_pictures(planned)
    return replace(report, page=replace(content, columns=columns, cells=cells, pictures=pictures, undrawn=undrawn))


def page_head(
    rows: Sequence[ResultRow], runs: Sequence[Mapping[str, Any]], counts: Mapping[str, int] | None = None
) -> PageContent:
    """The head of a page: the name of the matrix, where and when results were measured, and with which versions.

    Args:
        rows: The executions that are shown.
        runs: Their runs, oldest first.
        counts: How many cells came to what.
    """
    names = [run["matrix_name"] for run in runs if run["matrix_name"]]
    return PageContent(names[-1] if names else "", _facts(rows, runs, counts or {}))


def _facts(rows: Sequence[ResultRow], runs: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> Pairs:
    times = sorted(row[key] for row in rows for key in ("started_utc", "finished_utc") if row.get(key))
    backends = _listed(
        f"{row['backend']} {row['backend_version']}"
        for row in rows
        if row.get("backend") and row.get("backend_version")
    )
    facts = {
        "machine": _listed(row.get("machine") for row in rows),
        "measured": " to ".join(dict.fromkeys(units.minute(each) for each in (times[0], times[-1]))) if times else "",
        "runs": ", ".join(f"{run['run_id']}" + (f" ({run['name']})" if run["name"] else "") for run in runs),
        "cells": ", ".join(f"{count:,} {what}" for what, count in counts.items() if count),
        "backend": backends,
        **{title: _listed(_values(column, rows, runs)) for title, column in _VERSIONS.items()},
        "commit": _listed(row["git_commit"][:12] for row in rows if row.get("git_commit")),
    }
    return tuple((title, text) for title, text in facts.items() if text)


def _values(column: str, rows: Sequence[ResultRow], runs: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    """What rows and their runs say; not the hardware of runs of which every cell ran on nodes of a cluster."""
    if column in queries.HARDWARE_OF_NODES:
        at_home = {row.get("run_id") for row in rows if row.get("node") is None}
        on_nodes = {row.get("run_id") for row in rows} - at_home
        runs = [run for run in runs if run["run_id"] not in on_nodes]
    return (row.get(column) or None for row in (*rows, *runs))


def _listed(values: Iterable[Any]) -> str:
    known = list(dict.fromkeys(str(value) for value in values if value is not None))
    return ", ".join(known[:4]) + (f" and {len(known) - 4} more" if len(known) > 4 else "")


def _log(root: Path, row: ResultRow, attempt: Mapping[str, Any]) -> str:
    """The end of a log: as recorded of what did not complete, else of its file, where that is still there."""
    if attempt.get("log_tail"):
        return str(attempt["log_tail"])
    path = root / row["cell_id"] / str(attempt.get("attempt_id")) / layout.LOG
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _LOG_BYTES, 0))
            end: bytes = file.read()
            return end.decode(errors="replace")
    except OSError:
        return ""


def _mistakes(figures: FigureSources, row: ResultRow, *, illustrated: bool) -> Mistakes | None:
    from benchmark.reporting.figures.drawing.figure_files import UndrawableError
    from benchmark.reporting.figures.figure_sources import images_of
    from benchmark.reporting.figures.images.mistakes import percent
    from benchmark.reporting.html_page.cell_mistakes import mistakes_of

    known = figures.predictions([row["execution_id"]]).get(row["execution_id"])
    if known is None:
        return None
    images = None
    if illustrated:
        with suppress(UndrawableError, DataError):
            images = images_of(row, figures.images).test
    return mistakes_of(known, images, percent)
