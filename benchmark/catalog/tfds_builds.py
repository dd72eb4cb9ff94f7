"""Says which splits a dataset of TensorFlow Datasets has, from the record that its build left; TFDS is not imported."""

from __future__ import annotations

import json

from benchmark.catalog.cache import tfds_root
from benchmark.catalog.source_files.split_names import TEST, sets_of

_RECORD = "dataset_info.json"


def built_splits(name: str) -> frozenset[str] | None:
    """Which of `train`, `val` and `test` a dataset has; None where it is not built, or its record tells nothing.

    The test set is the split `test`, or `validation` where there is none.
    """
    bare, _, version = name.partition(":")
    folder = tfds_root() / bare
    records = sorted(folder.glob(f"{version or '*'}/{_RECORD}")) or sorted(folder.glob(f"*/*/{_RECORD}"))
    try:
        splits = json.loads(records[-1].read_text(encoding="utf-8"))["splits"]
        named = {split["name"] for split in splits if any(int(length) for length in split.get("shardLengths", ["1"]))}
    except (IndexError, OSError, ValueError, KeyError, TypeError):
        return None
    return sets_of(has_test=TEST in named, has_validation="validation" in named)
