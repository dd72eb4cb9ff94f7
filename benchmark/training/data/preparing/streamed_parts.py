"""Writes images that come one after another, however many there are, and finishes the arrays of a prepared dataset.

What sources of rows have in common: they give images and labels in their own order, and nobody knows all labels before the last
one. No more than one image is in memory; labels are.
"""

from __future__ import annotations

import io
import logging
import shutil
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.prepared_size_limit import why_too_large
from benchmark.errors import DataError
from benchmark.images.compressed_images import open_array
from benchmark.layout import array_file, array_files
from benchmark.training.data.preparing.decoding import PROGRESS_SECONDS
from benchmark.training.data.preparing.image_groups import numbered_groups
from benchmark.training.data.preparing.raw_labels import encoded_labels
from benchmark.training.data.preparing.sources import (
    DatasetRequest,
    ImagePacker,
    SourceSummary,
    held_bytes,
    hold_out_test,
    new_images,
    save_labels,
)

_LOGGER = logging.getLogger(__name__)
_HEADER_BYTES = 128
_ROWS = 256


class PartWriter:
    """The images of a part, `train`, `test` or `validation`, as an array that grows; used as a context manager.

    Attributes:
        labels: Of the images so far, as the source gives them.
        groups: Of the images so far; empty where the request names no groups.
    """

    def __init__(self, directory: Path, part: str, request: DatasetRequest) -> None:
        self._request, self._shape = request, request.shape
        self._part, self._told = part, time.monotonic()
        self._directory = directory
        self._file = array_file(directory, f"{part}_images").open("wb")
        self._file.write(bytes(_HEADER_BYTES))
        self._packer: ImagePacker | None = None
        self.labels: list[Any] = []
        self.groups: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._pack_what_is_too_large()
        if error is None and self._packer is not None:
            self._packer.resize(len(self.labels))
            self._packer.flush()
        elif error is None:
            self._end()
        self._file.close()

    def _end(self) -> None:
        self._file.seek(0)
        self._file.write(_header((len(self.labels), *self._shape)))
        self._file.close()

    def _pack_what_is_too_large(self) -> None:
        """From the moment on that decoded images take too much, those that are there and all later ones are compressed."""
        if self._packer is not None:
            return
        self._file.flush()
        held = held_bytes(self._directory)
        if why_too_large(held, self._directory, held) is None:
            return
        self._end()
        name = f"{self._part}_images"
        decoded = open_array(self._directory, name)
        self._packer = ImagePacker(self._directory, name, (len(self.labels), *self._shape), self._request, None)
        for number in range(len(self.labels)):
            self._packer[number] = decoded[number]
        array_file(self._directory, name).unlink()

    def add(self, pixels: NDArray[np.uint8], label: Any, group: str | None = None) -> None:
        """Adds an image of the prepared size, [h, w, c], with its label."""
        number = len(self.labels)
        if self._packer is None:
            self._file.write(np.ascontiguousarray(pixels).data)
        else:
            if number == self._packer.shape[0]:
                self._packer.resize(2 * number)
            self._packer[number] = pixels
        self.labels.append(label)
        if number % _ROWS == 0:
            self._pack_what_is_too_large()
        if group is not None:
            self.groups.append(group)
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._told = time.monotonic()
            _LOGGER.info("took %s images of %s", f"{len(self.labels):,}", self._part)


def _header(shape: tuple[int, ...]) -> bytes:
    """The header of an `.npy` file of bytes, filled up to a fixed size.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    text = buffer.getvalue()[10:].rstrip()
    length = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + text.ljust(length - 1) + b"\n"


def finish_parts(
    parts: Mapping[str, PartWriter],
    request: DatasetRequest,
    directory: Path,
    known: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> SourceSummary:
    """Writes the labels of all parts, after their images; without `test` a share of `train` is split off.

    Args:
        parts: By `train`, `test` and `validation`, closed.
        request: What is prepared.
        directory: Where the images lie.
        known: Names of the labels 0, 1, …, where the source says them.
        notes: What is to be said of the source.

    Raises:
        DataError: A part is empty, or labels are not as they should be.
    """
    for part, writer in parts.items():
        if not writer.labels:
            raise DataError(f"{request.source}: expected images in the split {part}, found none")
    labels, names = encoded_labels({part: writer.labels for part, writer in parts.items()}, known, request)
    groups = numbered_groups({part: writer.groups for part, writer in parts.items()}, request)
    if "test" in parts:
        if request.test_fraction is not None:
            notes = (*notes, f"{request.source}: test_fraction is not used, because there is a test set")
        for part, each in labels.items():
            save_labels(directory, part, each, None if part == "validation" else groups.get(part))
    else:
        split_off_test(directory, labels["train"], request, names, groups.get("train"))
        if "validation" in labels:
            save_labels(directory, "validation", labels["validation"])
    return SourceSummary(names, tuple(notes))


def split_off_test(
    directory: Path,
    labels: NDArray[Any],
    request: DatasetRequest,
    names: Sequence[str],
    groups: NDArray[Any] | None,
) -> None:
    """Divides the images of all examples, which lie where those of the training set belong, into training and test.

    Side effects: writes images and labels of both.
    """
    whole = directory / "whole"
    whole.mkdir()
    for file in array_files(directory, "train_images"):
        file.rename(whole / file.name)
    images = open_array(whole, "train_images")
    for part, positions in zip(("train", "test"), hold_out_test(labels, request, names, groups), strict=True):
        array = new_images(directory, part, len(positions), request)
        for start in range(0, len(positions), _ROWS):
            array[start : start + _ROWS] = images[positions[start : start + _ROWS]]
        array.flush()
        save_labels(directory, part, labels[positions], None if groups is None else groups[positions])
    shutil.rmtree(whole)
