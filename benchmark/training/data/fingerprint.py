"""Digests of arrays: the fingerprint of a prepared dataset, and a check that its arrays have not changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import layout
from benchmark.errors import DataError
from benchmark.files import sha256_of
from benchmark.images.compressed_images import CompressedImages, open_array

_AT_ONCE = 64
"""So many compressed images are decoded at once."""


def sha256_of_arrays(
    arrays: Iterable[tuple[str, NDArray[Any] | CompressedImages]], *, head: bytes = b"", tail: bytes = b""
) -> str:
    """The digest, in hex, of names, types, shapes and values of arrays, one after the other, between `head` and `tail`."""
    digest = hashlib.sha256(head)
    for name, array in arrays:
        digest.update(_heading(name, array.dtype, array.shape))
        for piece in _pieces(array):
            digest.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
    digest.update(tail)
    return digest.hexdigest()


def _heading(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    return f"{name} {dtype.str} {shape}".encode()


def _pieces(array: NDArray[Any] | CompressedImages) -> Iterable[NDArray[Any]]:
    if isinstance(array, CompressedImages):
        numbers = np.arange(len(array))
        return array.batches(numbers[start : start + _AT_ONCE] for start in range(0, len(array), _AT_ONCE))
    return [array]


class StreamedFingerprint:
    """The fingerprint of a dataset that is being prepared, from its images in the moment that they are decoded.

    Images that come in another order than that of the fingerprint are read again at its end.

    Args:
        directory: Where the other arrays are written: labels before the images of the next part.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._digest = hashlib.sha256()
        self._done: list[str] = []
        self._shape: tuple[int, ...] = (0,)
        self._next = 0
        self._in_order = True

    def add(self, name: str, shape: tuple[int, ...], first: int, images: NDArray[np.uint8]) -> None:
        """Takes in the images [b, h, w, c] from number `first` on of the array `name`, which is to have this shape."""
        if name not in self._done[-1:]:
            self._begin(name, shape)
        self._in_order &= name == self._done[-1] and first == self._next
        if self._in_order:
            self._digest.update(np.ascontiguousarray(images).reshape(-1).data)
            self._next += len(images)

    def _begin(self, name: str, shape: tuple[int, ...]) -> None:
        names = (*layout.ARRAYS, *layout.FURTHER_ARRAYS)
        before = [each for each in names[: names.index(name)] if each in layout.ARRAYS]
        self._in_order &= self._is_whole and self._done == before[: len(self._done)]
        self._in_order &= all(layout.array_file(self._directory, each).exists() for each in before[len(self._done) :])
        if self._in_order:
            self._take_in(before[len(self._done) :])
            self._digest.update(_heading(name, np.dtype(np.uint8), shape))
        self._done.append(name)
        self._shape, self._next = shape, 0

    @property
    def _is_whole(self) -> bool:
        return self._next == self._shape[0]

    def _take_in(self, names: Iterable[str]) -> None:
        for name in names:
            array = open_array(self._directory, name)
            self._digest.update(_heading(name, array.dtype, array.shape))
            for piece in _pieces(array):
                self._digest.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
            self._done.append(name)

    def hexdigest(self) -> str:
        """The fingerprint, when all arrays are written: what `fingerprint_of` gives."""
        names = list(layout.arrays_in(self._directory))
        if not self._in_order or not self._is_whole or self._done != names[: len(self._done)]:
            return fingerprint_of(self._directory)
        self._take_in(names[len(self._done) :])
        self._digest.update(_tail(np.load(layout.array_file(self._directory, "train_labels"))))
        return self._digest.hexdigest()


def _tail(labels: NDArray[Any]) -> bytes:
    has_single = labels.ndim == 1 and (np.bincount(labels) == 1).any()
    return b"the only image of a class is trained on" if has_single else b""


def fingerprint_of(directory: Path) -> str:
    """sha256 over the decoded arrays, in the order train images, train labels, test images, test labels, further ones.

    Where a class has only one training image, another one than once: such an image could be taken for validation then,
    so that results of that time are not results of today's split.
    """
    arrays = {name: open_array(directory, name) for name in layout.arrays_in(directory)}
    return sha256_of_arrays(arrays.items(), tail=_tail(np.asarray(arrays["train_labels"])))


def modified_ns(directory: Path) -> dict[str, int]:
    """When each array was last written, in nanoseconds; renaming the folder does not change it."""
    return {key: file.stat().st_mtime_ns for key, file in stored_files(directory).items()}


def stored_files(directory: Path) -> dict[str, Path]:
    """The files of all arrays of a prepared dataset: by the array's name, or by their own where an array has several."""
    return {
        name if file == layout.array_file(directory, name) else file.name: file
        for name in layout.arrays_in(directory)
        for file in layout.array_files(directory, name)
    }


def check_unchanged(directory: Path, meta: Mapping[str, Any]) -> None:
    """Checks that the arrays are those of the fingerprint in `meta`, which is recorded with every result.

    They are read only where a file was written or copied since: a gigabyte takes about a second.

    Raises:
        DataError: They have changed; the message names the cure.
    """
    if "modified_ns" not in meta or meta["modified_ns"] == modified_ns(directory):
        return
    if "file_sha256" in meta:
        # nothing is decoded for this
        what, expected = "sha256", meta["file_sha256"]
        actual: Any = {key: sha256_of(file) for key, file in stored_files(directory).items()}
    else:
        what, expected, actual = "fingerprint", {"": meta["fingerprint"]}, {"": fingerprint_of(directory)}
    wrong = next((key for key in {**expected, **actual} if expected.get(key) != actual.get(key)), None)
    if wrong is not None:
        raise DataError(
            f"the prepared dataset in {directory} has changed since it was made: expected the {what} "
            f"{str(expected.get(wrong))[:16]}…, found {str(actual.get(wrong))[:16]}…; delete that folder and run "
            "`bench prepare`"
        )
