"""Opens prepared datasets as memory maps and yields batches in an order that is a pure function of (seed, epoch).

Batches are gathered in the training thread: that takes 10 µs to 2 ms for a batch of the images here, less than handing
it over from a queue would, and on a GPU it overlaps with the step that still runs; images that stay compressed are decoded
ahead by threads (`images/compressed_images.py`). No random state is consumed, so an epoch can be trained again after a restart,
bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import layout
from benchmark.catalog.facts import prepared_size
from benchmark.errors import DataError
from benchmark.images.compressed_images import ImageArray, batches_of, open_array
from benchmark.matrix.cell import Cell, Data
from benchmark.training.data.fingerprint import check_unchanged
from benchmark.training.data.splits import Split, of_classes, split_test, split_training
from benchmark.training.data.stratification import Indices

Images = NDArray[np.uint8]
_ORDER_STREAM = 3
"""Which stream of random numbers of a seed is used; the others are in `splits.py`."""


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Images or features of a split, which lie in a memory map, and their labels.

    Attributes:
        images: The whole array: images [n, h, w, c] uint8, decoded or not, or features [n, …] of frozen layers.
        split: Which of them belong to these examples, and their labels.
        one_hot: Number of classes where labels are vectors [b, classes] float32; None where they are integers [b].
    """

    images: ImageArray
    split: Split
    one_hot: int | None = None

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, batch_size: int, positions: Indices | None = None) -> Iterator[tuple[Images, NDArray[Any]]]:
        """Yields (images [b, …], labels [b, …]) in the order of `positions`, by default all; the last may be smaller."""
        order = np.arange(len(self)) if positions is None else positions
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        # closed with this iterator, and not when it is collected: threads may be at work in it
        with closing(batches_of(self.images, (self.split.indices[here] for here in parts))) as batches:
            for here, images in zip(parts, batches, strict=True):
                labels = self.split.labels[here]
                yield images, labels if self.one_hot is None else _vectors(labels, self.one_hot)


def _vectors(labels: NDArray[Any], classes: int) -> NDArray[np.float32]:
    return labels.astype(np.float32) if labels.ndim == 2 else np.eye(classes, dtype=np.float32)[labels]


@dataclass(frozen=True, slots=True)
class Dataset:
    """What one cell trains, validates and is tested on.

    Attributes:
        training: In the order of the prepared array; `epoch_order` shuffles it.
        validation: Empty without a validation split; images of the source's own one lie in another array. Labels are
            integers, as are those of the test set.
        test: The same for every seed.
        lockbox: Test images set apart, the same for every seed; mostly empty.
        class_names: Of the labels 0, 1, ….
        fingerprint: sha256 of the prepared arrays.
    """

    training: ExampleSet
    validation: ExampleSet
    test: ExampleSet
    lockbox: ExampleSet
    class_names: tuple[str, ...]
    fingerprint: str


def epoch_order(count: int, seed: int, epoch: int) -> Indices:
    """The shuffled positions 0..count-1 of epoch `epoch` (1, 2, … over the whole cell)."""
    return np.random.default_rng([seed, _ORDER_STREAM, epoch]).permutation(count)


def balanced_order(labels: NDArray[Any], seed: int, epoch: int) -> Indices:
    """As many positions as there are labels [n], drawn with replacement: a class by chance, then one of its images."""
    random = np.random.default_rng([seed, _ORDER_STREAM, epoch])
    classes, counts = np.unique(labels, return_counts=True)
    drawn = random.integers(len(classes), size=len(labels))
    within = random.integers(counts[drawn])
    return np.argsort(labels, kind="stable")[(np.cumsum(counts) - counts)[drawn] + within]


def dataset_of(directory: str | None, cell: Cell, *, one_hot: bool) -> Dataset:
    """The prepared dataset that a job names for its cell; errors as of `open_dataset`."""
    if directory is None:
        raise DataError("the job names no prepared dataset; run `bench prepare`")
    return open_dataset(Path(directory), cell.data, cell.stream_seed("split_seed"), one_hot=one_hot)


def open_dataset(directory: Path, data: Data, seed: int, *, one_hot: bool) -> Dataset:
    """Opens a prepared dataset and computes the cell's splits.

    Args:
        directory: Of the prepared dataset.
        data: Of the cell.
        seed: The cell's `split_seed`, which decides what is trained on and what validated on.
        one_hot: Whether labels to train on are vectors.

    Raises:
        DataError: The folder is missing, incomplete, was changed, or holds images of another shape; the message
            names `bench prepare`.
    """
    meta, arrays = _read(directory)
    size = prepared_size(data.source, data.image_size)
    shape = (size, size, data.channels)
    own_validation = data.validation == "source"
    for part in ("train", "test", *(["validation"] if own_validation else [])):
        file = layout.array_file(directory, f"{part}_images")
        _check(file, arrays[f"{part}_images"], shape, len(arrays[f"{part}_labels"]))
    names = _names(meta["class_names"], data, arrays)
    training, validation = split_training(arrays["train_labels"], data, seed, names, arrays.get("train_groups"))
    validation_images = arrays["train_images"]
    if own_validation:
        validation_images, validation = arrays["validation_images"], of_classes(arrays["validation_labels"], data)
    test, lockbox = split_test(arrays["test_labels"], data, arrays.get("test_groups"))
    width = data.num_classes if one_hot else None
    return Dataset(
        training=ExampleSet(arrays["train_images"], training, width),
        validation=ExampleSet(validation_images, validation),
        test=ExampleSet(arrays["test_images"], test),
        lockbox=ExampleSet(arrays["test_images"], lockbox),
        class_names=names,
        fingerprint=meta["fingerprint"],
    )


def _read(directory: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        meta = json.loads((directory / layout.META).read_text(encoding="utf-8"))
        arrays: dict[str, Any] = {name: open_array(directory, name) for name in layout.arrays_in(directory)}
        check_unchanged(directory, meta)
    except (OSError, ValueError) as error:
        raise DataError(
            f"the prepared dataset in {directory} cannot be read ({error}); delete that folder and run `bench prepare`"
        ) from error
    return meta, arrays


def _check(file: Path, images: ImageArray, shape: tuple[int, ...], count: int) -> None:
    if images.dtype != np.uint8 or images.shape != (count, *shape):
        raise DataError(
            f"{file}: expected {count} uint8 images of shape {shape}, found {images.dtype} {images.shape}; "
            "delete that folder and run `bench prepare`"
        )


def _names(names: list[str], data: Data, arrays: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    if data.classes is not None:
        return tuple(names[label] for label in data.classes)
    if len(names) != data.num_classes:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        labels = np.union1d(arrays["train_labels"], arrays["test_labels"])
        if data.multi_label:
            labels = np.arange(len(names))
        raise DataError(
            f"{data.source}: expected {data.num_classes} classes, as the matrix says, found {len(names)}: {shown}; "
            f"{_cure(labels, len(names), data.num_classes)}"
        )
    return tuple(names)


def _cure(labels: NDArray[Any], count: int, expected: int) -> str:
    """What to do where other labels [k], sorted, are there than the matrix says: not always what the highest one suggests."""
    if len(labels) == count or expected > count:
        return f"set num_classes = {count} in the definition of the dataset"
    shown = ", ".join(map(str, labels[:12])) + (", …" if len(labels) > 12 else "")
    if labels[0] == 1 and labels[-1] == expected:
        return f"its labels are {shown}: count them from 0, that is, save y - 1"
    if (labels[:-1] < expected).all():
        return f"its labels are {shown}: leave out the images with the label {labels[-1]}, if that stands for none"
    return f"its labels are {shown}: number them 0, 1, …, that is, save numpy.unique(y, return_inverse=True)[1]"
