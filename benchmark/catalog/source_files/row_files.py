"""Finds the files of each split of a source that is kept in shards: Parquet files, tar files; none is opened.

data.parquet                     all for training
data/train-00000-of-00002.parquet, data/test.parquet      by the first word of the name
data/train/…, data/test/…        by the folder
data/train-{000..011}.tar        of a pattern: all that it matches (also `*` and `?`)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.catalog.source_files.split_names import TEST, TRAIN, VALIDATION_ROWS

SPLIT_NAMES = (TRAIN, TEST, *VALIDATION_ROWS)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def split_files(place: Path, ending: str) -> Mapping[str, Sequence[Path]]:
    """The files below a folder, of a pattern, or the one file, by the name of their split.

    Raises:
        FileNotFoundError: There is none.
        ValueError: Some name no split while others do.
    """
    files = _listed(place, ending)
    if not files:
        raise FileNotFoundError(
            f"expected files *{ending} at {place}, found none; correct the path (relative ones start at the matrix file)"
        )
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file, place) or "", []).append(file)
    unnamed = splits.pop("", [])
    if not splits:
        return {TRAIN: unnamed}
    if unnamed:
        raise ValueError(f"expected names that begin with a split ({', '.join(SPLIT_NAMES)}), found {unnamed[0]}")
    return splits


def _listed(place: Path, ending: str) -> list[Path]:
    if place.is_dir():
        return sorted(path for path in place.rglob(f"*{ending}") if path.is_file())
    if place.is_file():
        return [place]
    spread = _spread(str(place))
    if any(Path(name).is_file() for name in spread):
        missing = [name for name in spread if not Path(name).is_file()]
        if missing:
            raise FileNotFoundError(f"expected the file {missing[0]}, found none")
        return [Path(name) for name in spread]
    return sorted(path for path in place.parent.glob(place.name) if path.is_file()) if place.parent.is_dir() else []


def _spread(text: str) -> list[str]:
    """What a pattern such as `train-{000..011}.tar` stands for."""
    parts = _RANGE.split(text)
    ranges = [
        [f"{number:0{len(low)}}" for number in range(int(low), min(int(high), int(low) + 100_000) + 1)]
        for low, high in zip(parts[1::3], parts[2::3], strict=True)
    ]
    fixed = parts[0::3]
    return [
        "".join(itertools.chain(*itertools.zip_longest(fixed, each, fillvalue="")))
        for each in itertools.product(*ranges)
    ]


def _split_of(file: Path, place: Path) -> str | None:
    """The split that a folder or the first word of a name says."""
    below = file.relative_to(place).parts if place.is_dir() else (file.name,)
    words = [*below[:-1], re.split(r"[-_.]", below[-1])[0]]
    return next((word.lower() for word in words if word.lower() in SPLIT_NAMES), None)
