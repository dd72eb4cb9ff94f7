"""Digests of arrays: the fingerprint of a prepared dataset, and a check that its arrays have not changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import layout
from benchmark.training.process.failures import DataError


def sha256_of_arrays(arrays: Iterable[tuple[str, NDArray[Any]]], *, head: bytes = b"", tail: bytes = b"") -> str:
    """The digest, in hex, of names, types, shapes and values of arrays, one after the other, between `head` and `tail`."""
    digest = hashlib.sha256(head)
    for name, array in arrays:
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    digest.update(tail)
    return digest.hexdigest()


def fingerprint_of(directory: Path) -> str:
    """sha256 over the decoded arrays, in the order train images, train labels, test images, test labels, further ones.

    Where a class has only one training image, another one than once: such an image could be taken for validation then,
    so that results of that time are not results of today's split.
    """
    arrays = {
        name: np.load(layout.array_file(directory, name), mmap_mode="r", allow_pickle=False)
        for name in layout.arrays_in(directory)
    }
    labels = arrays["train_labels"]
    has_single = labels.ndim == 1 and (np.bincount(labels) == 1).any()
    return sha256_of_arrays(arrays.items(), tail=b"the only image of a class is trained on" if has_single else b"")


def modified_ns(directory: Path) -> dict[str, int]:
    """When each array was last written, in nanoseconds; renaming the folder does not change it."""
    return {name: layout.array_file(directory, name).stat().st_mtime_ns for name in layout.arrays_in(directory)}


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
