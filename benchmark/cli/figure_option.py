"""`--figures`: the pictures of a report, drawn into a folder and entered in the register that `bench show` reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.cli import verbosity

if TYPE_CHECKING:
    from benchmark.reporting.figures.drawing.picture import LeftOut
    from benchmark.reporting.figures.figure_index import Entry
    from benchmark.reporting.rows.groups import Group
    from benchmark.reporting.table import Report
    from benchmark.reporting.tables.transfer import Pair
    from benchmark.results.store.database import Database

NAMED_IN_NOTE = 4


def with_figures(
    report: Report, groups: Sequence[Group], transfers: Sequence[Pair], folder: Path, database: Database, target: str
) -> Report:
    """The report with its pictures, which are drawn now.

    Args:
        report: Its tables.
        groups: What it shows.
        transfers: The comparisons it makes.
        folder: Where pictures go; made where it is missing.
        database: Open for reading.
        target: The database as it was named.

    Raises:
        UserError: The folder is a file.
        StorageError: The disk does not let us.

    Side effects: writes PNG and SVG files, and the register beside the artifacts; names each file on stderr.
    """
    from benchmark.catalog.cache import default_cache_root
    from benchmark.cli.cell_lookup import stored_predictions
    from benchmark.reporting.figures.drawing.figure_files import make_folder
    from benchmark.reporting.figures.gallery import Material, draw_all, find_pictures
    from benchmark.reporting.table import FigureFile, MissingFigure
    from benchmark.results.store.location import artifacts_root

    make_folder(folder, "--figures")
    material = Material(
        groups=groups,
        transfers=transfers,
        epochs=lambda ids: _epochs(database, ids),
        predictions=stored_predictions(database),
        cache_root=default_cache_root(),
        artifacts_root=artifacts_root(target),
    )
    written, left_out = draw_all(find_pictures(material), folder, lambda path: verbosity.inform(f"wrote {path}"))
    _say_missing(left_out)
    _enter(written, artifacts_root(target))
    return replace(
        report,
        figures=tuple(FigureFile(each.kind, each.title, each.cells, str(each.path)) for each in written),
        missing_figures=tuple(MissingFigure(each.kind, each.title, each.reason) for each in left_out),
    )


def _epochs(database: Database, ids: Iterable[int]) -> Mapping[int, Sequence[Mapping[str, Any]]]:
    from benchmark.results.read import queries

    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in queries.history(database, ids):
        found.setdefault(row["execution_id"], []).append(row)
    return found


def _say_missing(left_out: Sequence[LeftOut]) -> None:
    reasons: dict[str, list[str]] = {}
    for each in left_out:
        reasons.setdefault(each.reason, []).append(each.title)
    for reason, titles in reasons.items():
        more = f" and {len(titles) - NAMED_IN_NOTE} more" if len(titles) > NAMED_IN_NOTE else ""
        verbosity.inform(f"note: not drawn: {'; '.join(titles[:NAMED_IN_NOTE])}{more}: {reason}")


def _enter(written: Sequence[Entry], root: Path) -> None:
    from benchmark.reporting.figures.figure_index import register

    try:
        register(root, written)
    except OSError as error:
        verbosity.inform(f"note: `bench show` will not list these pictures: {error}")
