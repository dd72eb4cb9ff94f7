"""Test images that stand in the training set as well: what was counted when a dataset was prepared, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from benchmark import layout, units
from benchmark.files import read_record

REPEATED = "repeated_test_images"
"""The key of `meta.json` under which they are counted; absent where they were not."""


def repeated_note(directory: Path) -> list[str]:
    """A note on a prepared dataset; none where no image is repeated, or none were counted."""
    return _note(read_record(directory / layout.META) or {})


def _note(meta: Mapping[str, Any]) -> list[str]:
    count = meta.get(REPEATED)
    if not isinstance(count, int) or count < 1:
        return []
    total = int(meta["shapes"]["test_images"][0])
    stand = "stands" if count == 1 else "stand"
    images = f"{count:,} of {units.plural(total, 'test image')} {stand} in the training set as well, pixel for pixel"
    return [f"{meta['source']}: {images}: test accuracy counts what was seen in training"]


def repeated_notes(cache_root: Path, fingerprints: Collection[str]) -> list[str]:
    """The notes on those prepared datasets in a cache that have one of these fingerprints."""
    notes: dict[str, None] = {}
    for file in sorted(layout.prepared_folder(cache_root).glob(f"*/{layout.META}")) if fingerprints else ():
        meta = read_record(file) or {}
        if meta.get("fingerprint") in fingerprints:
            notes.update(dict.fromkeys(_note(meta)))
    return list(notes)
