"""The fingerprint of a prepared dataset, and a check that its arrays have not changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import layout
from benchmark.training.process.failures import DataError


def fingerprint_of(directory: Path) -> str:
    """sha256 over the decoded arrays, in the order train images, train labels, test images, test labels.

    Where a class has only one training image, another one than once: such an image could be taken for validation then,
    so that results of that time are not results of today's split.
    """
    digest = hashlib.sha256()
    for name in layout.ARRAYS:
        array = np.load(layout.array_file(directory, name), mmap_mode="r", allow_pickle=False)
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        for start in range(0, len(array), 1024):
            digest.update(np.ascontiguousarray(array[start : start + 1024]).data)
    if (np.bincount(np.load(layout.array_file(directory, "train_labels"))) == 1).any():
        digest.update(b"the only image of a class is trained on")
    return digest.hexdigest()


def modified_ns(directory: Path) -> dict[str, int]:
    """When each array was last written, in nanoseconds; renaming the folder does not change it."""
    return {name: layout.array_file(directory, name).stat().st_mtime_ns for name in layout.ARRAYS}


def check_unchanged(directory: Path, meta: Mapping[str, Any]) -> None:
    """Checks that the arrays are those of the fingerprint in `meta`, which is recorded with every result.

    They are read only where a file was written or copied since: a gigabyte takes about a second.

    Raises:
        DataError: They have changed; the message names the cure.
    """
    if "modified_ns" not in meta or meta["modified_ns"] == modified_ns(directory):
        return
    fingerprint = fingerprint_of(directory)
    if fingerprint != meta["fingerprint"]:
        raise DataError(
            f"the prepared dataset in {directory} has changed since it was made: expected the fingerprint "
            f"{meta['fingerprint'][:16]}…, found {fingerprint[:16]}…; delete that folder and run `bench prepare`"
        )
