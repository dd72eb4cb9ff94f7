"""Prepared datasets opened as memory maps, and their batches in an order that is a pure function of (seed, epoch).

Batches are gathered in the training thread: for the images here one takes 10 µs to 2 ms, less than handing it over
from a queue would, and on a GPU the gathering overlaps with the step that still runs. Nothing is consumed from a
random state, so an epoch can be trained again after a restart, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.facts import prepared_size
from benchmark.matrix.cell import Data
from benchmark.training.data.fingerprint import ARRAYS, check_unchanged
from benchmark.training.data.splits import Indices, Split, split_test, split_training
from benchmark.training.process.failures import DataError

Images = NDArray[np.uint8]
_ORDER = 3
"""Stream of random numbers; the others are in `splits.py`."""


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Images [n, h, w, c] with values 0..255 that lie in a memory map, and their labels [n].

    Attributes:
        images: The whole prepared array; only `split.indices` of it belong to these examples.
        one_hot: Number of classes when labels are told as vectors [n, classes] float32; None for integers.
    """

    images: Images
    split: Split
    one_hot: int | None = None

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, batch_size: int, positions: Indices | None = None) -> Iterator[tuple[Images, NDArray[Any]]]:
        """(images [b, h, w, c] uint8, labels) in the order of `positions`; the last batch may be smaller."""
        order = np.arange(len(self)) if positions is None else positions
        for start in range(0, len(order), batch_size):
            here = order[start : start + batch_size]
            yield self.images[self.split.indices[here]], self._told(self.split.labels[here])

    def _told(self, labels: NDArray[np.int32]) -> NDArray[Any]:
        if self.one_hot is None:
            return labels
        return np.eye(self.one_hot, dtype=np.float32)[labels]


@dataclass(frozen=True, slots=True)
class Dataset:
    """What one cell trains, validates and is tested on."""

    training: ExampleSet
    validation: ExampleSet
    test: ExampleSet
    class_names: tuple[str, ...]
    fingerprint: str


def epoch_order(count: int, seed: int, epoch: int) -> Indices:
    """The order of epoch `epoch` (1, 2, … over the whole cell)."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(count)


def open_dataset(directory: Path, data: Data, seed: int, *, one_hot: bool) -> Dataset:
    """Maps the prepared arrays and computes the cell's splits.

    Raises:
        DataError: The folder is missing, incomplete, was changed, or holds images of another shape; the message
            names `bench prepare`.
    """
    meta, arrays = _read(directory)
    size = prepared_size(data.source, data.image_size)
    shape = (size, size, data.channels)
    for part in ("train", "test"):
        _check(directory, f"{part}_images.npy", arrays[f"{part}_images"], shape, len(arrays[f"{part}_labels"]))
    training, validation = split_training(arrays["train_labels"], data, seed)
    width = data.num_classes if one_hot else None
    return Dataset(
        training=ExampleSet(arrays["train_images"], training, width),
        validation=ExampleSet(arrays["train_images"], validation),
        test=ExampleSet(arrays["test_images"], split_test(arrays["test_labels"], data)),
        class_names=_names(meta["class_names"], data),
        fingerprint=meta["fingerprint"],
    )


def _read(directory: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        meta = json.loads((directory / "meta.json").read_text(encoding="utf-8"))
        # a plain view: indexing an np.memmap builds a subclass object for each batch
        arrays = {
            name: np.asarray(np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False)) for name in ARRAYS
        }
        check_unchanged(directory, meta)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the prepared dataset in {directory} cannot be read ({error}); delete that folder and run `bench prepare`"
        ) from error
    return meta, arrays


def _check(directory: Path, name: str, images: NDArray[Any], shape: tuple[int, ...], count: int) -> None:
    if images.dtype != np.uint8 or images.shape != (count, *shape):
        raise DataError(
            f"{directory / name}: expected {count} uint8 images of shape {shape}, found {images.dtype} {images.shape}; "
            "delete that folder and run `bench prepare`"
        )


def _names(names: list[str], data: Data) -> tuple[str, ...]:
    if data.classes is not None:
        return tuple(names[label] for label in data.classes)
    if len(names) != data.num_classes:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        raise DataError(
            f"{data.source}: expected {data.num_classes} classes, as the matrix says, found {len(names)}: {shown}; "
            f"set num_classes = {len(names)} in the definition of the dataset"
        )
    return tuple(names)
