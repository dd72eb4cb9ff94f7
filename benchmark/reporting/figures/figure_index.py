"""The index of figures that were drawn of each cell: a file beside the artifacts, `results.artifacts/figures.json`.

Figures can be drawn from the database at any time, so they are no part of it; the index only says where the drawn ones
are. Files that were deleted are not listed, and dropped from the index when it is next written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmark import layout
from benchmark.files import make_own_folder, write_whole
from benchmark.reporting.table import FigureFile


def figures_of(artifacts_root: Path, cell_id: str) -> list[FigureFile]:
    """The existing figures of a cell, sorted by kind and path."""
    figures = [figure for figure in _read(artifacts_root) if cell_id in figure.cells and figure.path.is_file()]
    return sorted(figures, key=lambda figure: (figure.kind, str(figure.path)))


def figures_in(artifacts_root: Path, folder: Path) -> list[FigureFile]:
    """The existing figures that lie in a folder, of whatever report."""
    place = Path(os.path.abspath(folder))  # noqa: PTH100
    return [figure for figure in _read(artifacts_root) if figure.path.parent == place and figure.path.is_file()]


def add_figures(artifacts_root: Path, figures: Iterable[FigureFile]) -> None:
    """Add figures to the index, replacing what it says of the same files.

    Raises:
        OSError: The index cannot be written.
    """
    added = [replace(figure, path=Path(os.path.abspath(figure.path))) for figure in figures]  # noqa: PTH100  keeps links
    paths = {figure.path for figure in added}
    kept = [figure for figure in _read(artifacts_root) if figure.path not in paths and figure.path.is_file()]
    everything = sorted([*kept, *added], key=lambda figure: str(figure.path))
    records = [_record(figure, artifacts_root) for figure in everything]
    make_own_folder(artifacts_root, adopt=True)
    document = json.dumps({"format": 1, "figures": records}, indent=1)
    write_whole(artifacts_root / layout.FIGURES, document.encode())


def _record(figure: FigureFile, root: Path) -> dict[str, object]:
    # relative where that survives moving the folder of the database
    folder = Path(os.path.abspath(root)).parent  # noqa: PTH100
    inside = figure.path.is_relative_to(folder)
    return {**asdict(figure), "path": str(figure.path.relative_to(folder) if inside else figure.path)}


def _read(root: Path) -> Sequence[FigureFile]:
    """What the index holds; nothing where it is missing or broken."""
    folder = Path(os.path.abspath(root)).parent  # noqa: PTH100
    try:
        records = json.loads((root / layout.FIGURES).read_text(encoding="utf-8"))["figures"]
        return [
            FigureFile(
                each["kind"], each["title"], tuple(each["cells"]), folder / each["path"], each.get("alternative", "")
            )
            for each in records
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
