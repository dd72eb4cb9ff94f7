"""`--figures`: the figures of a report, drawn into a folder and entered in the index that `bench show` reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmark.catalog.cache import default_cache_root
from benchmark.catalog.cache_lock import CacheUse
from benchmark.cli.cell_lookup import recorded_epochs, stored_predictions
from benchmark.cli.reports.past_forecasts import forecasts_of
from benchmark.cli.terminal import verbosity
from benchmark.reporting.figures.drawing.figure_files import make_folder
from benchmark.reporting.figures.figure_index import add_figures, figures_in
from benchmark.reporting.figures.figure_sources import FigureSources
from benchmark.reporting.figures.folder_page import write_page
from benchmark.reporting.figures.report_figures import draw_figures, plan_figures
from benchmark.reporting.rows.latest import cell_of
from benchmark.reporting.table import FigureFile, MissingFigure, Report
from benchmark.reporting.tables.shown import Shown
from benchmark.reporting.tables.transfer import shown_transfers
from benchmark.results.artifacts.artifact_place import place_of
from benchmark.results.store.database import Database
from benchmark.results.store.reference import RESULTS

NAMED_IN_NOTE = 4


def with_figures(report: Report, shown: Shown, folder: Path, database: Database, target: str) -> Report:
    """Draw the figures of a report into a folder; returns the report with them.

    The folder is made where it is missing; `target` is the database as it was named.

    Raises:
        UserError: The folder is a file.
        StorageError: The disk is full, or writing is not allowed.

    Side effects: writes PNG and SVG files, a page of all in the folder, and the index beside the artifacts; names each file on stderr.
    """
    rows = [row for group in shown.groups for row in group.cells[:1] if row.get("spec")]
    make_folder(folder, "--figures", {cell_of(row).data.location for row in rows})
    sources = sources_of(shown, database, target)
    with closing(CacheUse(sources.cache_root, make=False)):
        written, missing = draw_figures(plan_figures(sources), folder, lambda path: verbosity.inform(f"wrote {path}"))
    reasons: dict[str, list[str]] = {}
    for figure in missing:
        reasons.setdefault(figure.reason, []).append(figure.title)
    for reason, titles in reasons.items():
        more = f" and {len(titles) - NAMED_IN_NOTE} more" if len(titles) > NAMED_IN_NOTE else ""
        verbosity.inform(f"note: not drawn: {'; '.join(titles[:NAMED_IN_NOTE])}{more}: {reason}")
    # nothing is written beside the reference results, which lie within the package
    root = None if target == str(RESULTS) else sources.artifacts_root
    finish_folder(folder, written, missing, root)
    return replace(report, figures=tuple(written), missing_figures=tuple(missing))


def finish_folder(
    folder: Path, written: Sequence[FigureFile], missing: Sequence[MissingFigure], root: Path | None
) -> None:
    """Enter the figures of a folder in the index beside the artifacts, and write the folder's page.

    Args:
        folder: Where they were drawn.
        written: Its new files.
        missing: What could not be drawn.
        root: The folder of the database's artifacts; None where there is none to be written in.
    """
    earlier: list[FigureFile] = []
    if root is not None:
        record_figures(written, root)
        earlier = figures_in(root, folder)
    here = {figure.path.name: figure for figure in (*earlier, *written)}
    verbosity.inform(f"wrote {write_page(folder, here.values(), missing)}")


def sources_of(shown: Shown, database: Database, target: str) -> FigureSources:
    """What the figures of a report are drawn from; they need the database open, which was named as `target`."""
    return FigureSources(
        groups=shown.groups,
        transfers=shown_transfers(shown.groups, shown.spec),
        epochs=recorded_epochs(database),
        predictions=stored_predictions(database),
        cache_root=default_cache_root(),
        artifacts_root=place_of(target).root,
        comparisons=shown.comparisons,
        forecasts=partial(forecasts_of, shown, database),
    )


def record_figures(written: Sequence[FigureFile], root: Path) -> None:
    """Enter figures in the index that `bench show` reads; where that is not possible, a note says so."""
    try:
        add_figures(root, written)
    except OSError as error:
        verbosity.inform(f"note: `bench show` will not list these pictures: {error}")
