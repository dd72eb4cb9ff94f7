"""What sources of data have in common: requests, what they return, and splitting off a test set.

The sources are `digits.py`, `tfds.py`, `class_folders.py`, `labelled_files.py` and `npz.py`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.channels import are_channels_first, channels_of, is_convertible
from benchmark.catalog.prepared_size_limit import why_too_large
from benchmark.catalog.source_files.split_names import TEST_FRACTION
from benchmark.errors import DataError
from benchmark.images.compressed_images import packed
from benchmark.layout import array_file, arrays_in, compressed_file
from benchmark.training.data.fingerprint import StreamedFingerprint
from benchmark.training.data.repeated_images_count import image_digest
from benchmark.training.data.stratification import sample_groups, sample_rows

CHANGED_FILES = "the files changed while they were read; run again when nothing writes to them"

NO_VALIDATION = '{source}: expected {expected} for validation = "source", found none; set validation = "split"'
"""Why a source without a validation split of its own is refused."""


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """Which dataset to prepare, and where its source is.

    Attributes:
        source: `digits`, `tfds:NAME`, `folder:PATH` or `npz:PATH`.
        image_size: Height and width in pixels.
        color: `grey`, `rgb`, or as `4-channel`; see `catalog/channels.py`.
        offline: Whether downloads are forbidden.
        manual_directory: A folder that holds the source's original archives, or None.
        data_directory: Where TFDS keeps its datasets, or None for its default.
        location: Absolute path of a user's files.
        test_fraction: Share of each class for the test set where the source has none; None for `TEST_FRACTION`.
        class_names: Names of the labels, when the user gives them.
        background: What transparent images are shown on, `#rrggbb`; None for white.
        validation, groups, labels_file, image_column, label_column, multi_label, code, file: As the `Data` of a cell has them.
        allow_plugins: Whether the user has allowed plug-ins to run; else their digest must stand in the trust file.
        processes: How many processes may decode images.
        resize: What makes squares of images that are none, see `images/pictures.py` `resize_image`.
        stream: Is told images that are not kept decoded.
        digests: Takes the digests of such images [n], by the name of their array; see `repeated_images_count.py`.
    """

    source: str
    image_size: int
    color: str
    offline: bool = False
    manual_directory: str | None = None
    data_directory: str | None = None
    location: str | None = None
    test_fraction: float | None = None
    class_names: tuple[str, ...] | None = None
    background: str | None = None
    validation: str = "split"
    groups: str | None = None
    labels_file: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    multi_label: bool = False
    code: str | None = None
    file: str | None = None
    allow_plugins: bool = False
    processes: int = 1
    resize: str = "squeeze"
    stream: StreamedFingerprint | None = None
    digests: dict[str, NDArray[np.uint64]] = field(default_factory=dict, compare=False)

    @property
    def channels(self) -> int:
        """How many the prepared images have: 1 for grey, 3 for RGB."""
        return channels_of(self.color)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the prepared images."""
        return (self.image_size, self.image_size, self.channels)


def check_channels(array: NDArray[Any], where: str, request: DatasetRequest, *, before: str = "") -> None:
    """Checks that an image [h, w, c], or images [n, h, w, c], have the channels that `color` asks for, or such as become them.

    Args:
        array: As the source gives it, where one channel may have no axis.
        where: Of which array it is said.
        request: With the wanted channels.
        before: Axes before the height in a message: `n, `.

    Raises:
        DataError: They have other channels.
    """
    is_bare = array.ndim == before.count(",") + 2
    channels, wanted = 1 if is_bare else array.shape[-1], request.channels
    if is_convertible(channels, wanted):
        return
    shape = f"[{before}h, w"
    expected = f"{shape}], {shape}, 1] or {shape}, 3]" if is_convertible(1, wanted) else f"{shape}, {wanted}]"
    cure = f"set color = {channels} to take them as they are"
    if before and are_channels_first(array.shape):
        cure = "channels come last: save x.transpose(0, 2, 3, 1)"
    found = f"shape {array.shape}" if before else f"{array.dtype} of shape {array.shape}"
    raise DataError(f"{where}: expected images {expected}, found {found}; {cure}")


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What preparing a source returns beside the arrays that it wrote.

    Attributes:
        class_names: Of the labels 0, 1, ….
        notes: What the user should know about the source, such as files that were skipped.
    """

    class_names: list[str]
    notes: tuple[str, ...] = ()


def cause_of_absence(error: OSError) -> str:
    """What the system says about a file that cannot be read, and which one it is."""
    return f"{error.filename}: {error.strerror}" if error.strerror else str(error)


def new_images(
    directory: Path, part: str, count: int, request: DatasetRequest
) -> np.memmap[Any, np.dtype[np.uint8]] | ImagePacker:
    """The file for the images of a part, `train`, `test` or `validation`, as an array [count, h, w, c] to be filled.

    Where decoded images would take too much, what is written into it is compressed.

    Raises:
        OSError: There is no room: writing a mapped page that a full disk has no room for would end the process.
    """
    if why_compressed(directory, count, request):
        return ImagePacker(directory, f"{part}_images", (count, *request.shape), request, request.stream)
    return decoded_images(directory, part, count, request)


def decoded_images(
    directory: Path, part: str, count: int, request: DatasetRequest
) -> np.memmap[Any, np.dtype[np.uint8]]:
    """As `new_images`, and never compressed."""
    place = array_file(directory, f"{part}_images")
    array = np.lib.format.open_memmap(place, "w+", np.uint8, (count, *request.shape))
    if hasattr(os, "posix_fallocate"):
        with place.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, place.stat().st_size)
    return array


def why_compressed(directory: Path, count: int, request: DatasetRequest) -> str | None:
    """Why so many images more are not kept decoded in a folder; None where they are."""
    held = held_bytes(directory)
    return why_too_large(held + count * math.prod(request.shape), directory, held)


def held_bytes(directory: Path) -> int:
    """What the decoded images in a folder take so far."""
    decoded = (array_file(directory, name) for name in arrays_in(directory) if name.endswith("_images"))
    return sum(file.stat().st_size for file in decoded if file.exists())


class ImagePacker:
    """What images are written into, as into an array [n, h, w, c], and compressed without loss.

    Args:
        directory: Of the prepared dataset.
        name: Of the array that it stands for.
        shape: (n, h, w, c).
        request: Takes the digests of the images.
        stream: Is told the images; None where nobody knows yet how many there are.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        shape: tuple[int, ...],
        request: DatasetRequest,
        stream: StreamedFingerprint | None,
    ) -> None:
        self._directory, self._name = directory, name
        self._request, self._stream = request, stream
        self._file = compressed_file(directory, name, "packed").open("wb")
        self._places = np.zeros((shape[0], 2), np.int64)
        self._digests = np.zeros(shape[0], np.uint64)
        self.shape = shape

    def __setitem__(self, which: int | slice, pixels: NDArray[np.uint8]) -> None:
        numbers = np.atleast_1d(np.arange(len(self._places))[which]).tolist()
        images = np.broadcast_to(pixels, (len(numbers), *self.shape[1:]))
        for number, image in zip(numbers, images, strict=True):
            begin = self._file.tell()
            self._file.write(packed(image))
            self._places[number] = begin, self._file.tell()
            self._digests[number] = image_digest(image)
            if self._stream is not None:
                self._stream.add(self._name, self.shape, number, image[None])

    def resize(self, count: int) -> None:
        """Makes room for so many images, or ends after as many."""
        more = max(count - len(self._places), 0)
        self._places = np.pad(self._places[:count], ((0, more), (0, 0)))
        self._digests = np.pad(self._digests[:count], (0, more))
        self.shape = (count, *self.shape[1:])

    def flush(self) -> None:
        """Finishes the array."""
        self._file.close()
        self._request.digests[self._name] = self._digests
        save_places(self._directory, self._name, self._places, {"shape": self.shape, "how": "packed"})


def save_places(directory: Path, name: str, places: NDArray[np.int64], facts: dict[str, Any]) -> None:
    """Writes where compressed images are, and what else decides their pixels; see `images/compressed_images.py`."""
    np.save(compressed_file(directory, name, "places"), places)
    compressed_file(directory, name, "facts").write_text(json.dumps(facts), encoding="utf-8")


def save_labels(directory: Path, part: str, labels: NDArray[Any], groups: NDArray[Any] | None = None) -> None:
    """Writes labels of a part, and the numbers of its groups where it has some."""
    np.save(array_file(directory, f"{part}_labels"), labels)
    if groups is not None:
        np.save(array_file(directory, f"{part}_groups"), groups.astype(np.int32))


def hold_out_test(
    labels: NDArray[Any], request: DatasetRequest, class_names: Sequence[str], groups: NDArray[Any] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits off a test set: sorted positions of training and of test examples, of each class at least one in both.

    Each class is drawn by itself from a fixed seed, so that images added to one class do not change the others' split. With
    groups, or several labels an image, all are drawn together, and a class may have no test example.

    Args:
        labels: Of all examples, [n] or [n, classes].
        request: Says which share.
        class_names: Of the labels.
        groups: Of all examples, [n]; none is divided. None for none.

    Raises:
        DataError: A class has only one example, or no group can be spared.
    """
    fraction = TEST_FRACTION if request.test_fraction is None else request.test_fraction
    # RandomState is frozen by NumPy: its stream never changes (https://numpy.org/neps/nep-0019-rng-policy.html)
    if groups is not None:
        test = sample_groups(labels, groups, fraction, np.random.RandomState(0))
        if not len(test):
            raise DataError(
                f"{request.source}: expected groups of `{request.groups}` of which one can be spared for the test set, found none: "
                "each alone holds a class, or there is only one; add images, or a test set"
            )
    elif labels.ndim == 2:
        test = sample_rows(labels, max(round(len(labels) * fraction), 1), np.random.RandomState(0))
    else:
        test = _held_out_by_class(labels, request, class_names, fraction)
    return np.setdiff1d(np.arange(len(labels)), test), test


def _held_out_by_class(
    labels: NDArray[Any], request: DatasetRequest, class_names: Sequence[str], fraction: float
) -> NDArray[np.int64]:
    held_out = []
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        if len(positions) < 2:
            raise DataError(
                f"{request.source}: expected at least two images of {class_names[label]}, one of them for the test set, "
                "found one; add images, or a test set"
            )
        count = min(max(round(len(positions) * fraction), 1), len(positions) - 1)
        held_out.append(np.random.RandomState(0).permutation(positions)[:count])
    return np.sort(np.concatenate(held_out))
