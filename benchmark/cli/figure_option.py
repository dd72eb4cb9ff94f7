"""`--figures`: the figures of a report, drawn into a folder and entered in the index that `bench show` reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmark.catalog.cache import default_cache_root
from benchmark.catalog.cache_lock import CacheUse
from benchmark.cli.cell_lookup import recorded_epochs, stored_predictions
from benchmark.cli.terminal import verbosity
from benchmark.reporting.figures.drawing.figure_files import make_folder
from benchmark.reporting.figures.figure_index import add_figures
from benchmark.reporting.figures.report_figures import FigureSources, draw_figures, plan_figures
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import cell_of
from benchmark.reporting.table import FigureFile, Report
from benchmark.reporting.tables.transfer import TransferPair
from benchmark.results.store.artifact_place import place_of
from benchmark.results.store.database import Database

NAMED_IN_NOTE = 4


def with_figures(
    report: Report,
    groups: Sequence[Group],
    transfers: Sequence[TransferPair],
    folder: Path,
    database: Database,
    target: str,
) -> Report:
    """Draw the figures of a report into a folder; returns the report with them.

    The folder is made where it is missing; `target` is the database as it was named.

    Raises:
        UserError: The folder is a file.
        StorageError: The disk is full, or writing is not allowed.

    Side effects: writes PNG and SVG files, and the index beside the artifacts; names each file on stderr.
    """
    rows = [row for group in groups for row in group.cells[:1] if row.get("spec")]
    make_folder(folder, "--figures", {cell_of(row).data.location for row in rows})
    sources = FigureSources(
        groups=groups,
        transfers=transfers,
        epochs=recorded_epochs(database),
        predictions=stored_predictions(database),
        cache_root=default_cache_root(),
        artifacts_root=place_of(target).root,
    )
    with closing(CacheUse(sources.cache_root, make=False)):
        written, missing = draw_figures(plan_figures(sources), folder, lambda path: verbosity.inform(f"wrote {path}"))
    reasons: dict[str, list[str]] = {}
    for figure in missing:
        reasons.setdefault(figure.reason, []).append(figure.title)
    for reason, titles in reasons.items():
        more = f" and {len(titles) - NAMED_IN_NOTE} more" if len(titles) > NAMED_IN_NOTE else ""
        verbosity.inform(f"note: not drawn: {'; '.join(titles[:NAMED_IN_NOTE])}{more}: {reason}")
    record_figures(written, place_of(target).root)
    return replace(report, figures=tuple(written), missing_figures=tuple(missing))


def record_figures(written: Sequence[FigureFile], root: Path) -> None:
    """Enter figures in the index that `bench show` reads; where that is not possible, a note says so."""
    try:
        add_figures(root, written)
    except OSError as error:
        verbosity.inform(f"note: `bench show` will not list these pictures: {error}")
