"""Which figures exist of which cell: a small file beside the artifacts, `results.artifacts/figures.json`.

Figures can be drawn from the database at any time, so they are no part of it; the register only says where those lie
that were drawn. Files that are gone are not listed, and forgotten when the register is next written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.reporting.writers.formats import write_whole

REGISTER_NAME = "figures.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """A figure that was written.

    Attributes:
        kind, title: As those of the picture.
        cells: Ids of the cells that it is about.
        path: The file.
    """

    kind: str
    title: str
    cells: tuple[str, ...]
    path: Path


def figures_of(artifacts_root: Path, cell_id: str) -> list[Entry]:
    """The figures of a cell that exist, those of one kind together."""
    found = [entry for entry in _read(artifacts_root) if cell_id in entry.cells and entry.path.is_file()]
    return sorted(found, key=lambda entry: (entry.kind, str(entry.path)))


def register(artifacts_root: Path, entries: Iterable[Entry]) -> None:
    """Enters figures, in the place of what was entered for the same files.

    Raises:
        OSError: The register cannot be written.
    """
    entries = [_absolute(entry) for entry in entries]
    new = {entry.path for entry in entries}
    kept = [entry for entry in _read(artifacts_root) if entry.path not in new and entry.path.is_file()]
    records = [_record(entry, artifacts_root) for entry in sorted([*kept, *entries], key=lambda each: str(each.path))]
    artifacts_root.mkdir(parents=True, exist_ok=True)
    document = json.dumps({"format": 1, "figures": records}, indent=1)
    write_whole(document.encode(), artifacts_root / REGISTER_NAME)


def _absolute(entry: Entry) -> Entry:
    return Entry(entry.kind, entry.title, entry.cells, Path(os.path.abspath(entry.path)))  # noqa: PTH100  keeps links


def _record(entry: Entry, root: Path) -> dict[str, object]:
    # relative where that survives moving the folder of the database
    folder = Path(os.path.abspath(root)).parent  # noqa: PTH100
    inside = entry.path.is_relative_to(folder)
    return {**asdict(entry), "path": str(entry.path.relative_to(folder) if inside else entry.path)}


def _read(root: Path) -> Sequence[Entry]:
    """What the register says; a missing or broken one says nothing."""
    folder = Path(os.path.abspath(root)).parent  # noqa: PTH100
    try:
        records = json.loads((root / REGISTER_NAME).read_text(encoding="utf-8"))["figures"]
        return [
            Entry(str(one["kind"]), str(one["title"]), tuple(map(str, one["cells"])), folder / str(one["path"]))
            for one in records
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
