"""Says which splits a dataset of TensorFlow Datasets has, from the record that its build left; TFDS is not imported."""

from __future__ import annotations

import json

from benchmark.catalog.cache import tfds_root
from benchmark.catalog.source_files.image_folders import TRAIN
from benchmark.catalog.source_files.label_tables import TEST, VALIDATION

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
    parts = {TRAIN} | ({TEST} if named & {"test", "validation"} else set())
    return frozenset(parts | {VALIDATION} if {"test", "validation"} <= named else parts)
