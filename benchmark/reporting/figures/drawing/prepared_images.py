"""Opens prepared datasets, which `training/programs/prepare.py` left in the cache, as memory maps."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import layout
from benchmark.catalog.cache import PreparedDirectories
from benchmark.images.compressed_images import ImageArray, open_array
from benchmark.matrix.cell import Data
from benchmark.matrix.planning.example_counts import ClassCounts, class_counts
from benchmark.reporting.figures.drawing.figure_files import UndrawableError


@dataclass(frozen=True, slots=True)
class PreparedImages:
    """A prepared dataset as one cell sees it.

    Attributes:
        data: The data settings of the cell.
        training, test: Images [n, h, w, c] uint8 of the whole source, in memory maps, or decoded one by one.
        training_labels, test_labels: The cell's class of each, counted from 0; -1 where the cell leaves the class out.
        class_names: Of the cell's classes, in order.
        fingerprint: Of the prepared arrays, as their `meta.json` records it.
        validation_labels: The cell's class of each image of the source's own validation split; None where it is not used.
    """

    data: Data
    training: ImageArray
    training_labels: NDArray[np.int64]
    test: ImageArray
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    fingerprint: str
    validation_labels: NDArray[np.int64] | None = None

    @property
    def side(self) -> int:
        """Height and width of the images in pixels; networks may enlarge them."""
        return int(self.training.shape[1])

    @property
    def counts(self) -> ClassCounts:
        """Examples of each class in the cell's three parts."""
        totals = [
            np.bincount(labels[labels >= 0], minlength=len(self.class_names)).tolist()
            for labels in (self.training_labels, self.test_labels)
        ]
        counts = class_counts(self.data, *totals)
        if self.validation_labels is None:
            return counts
        own = self.validation_labels
        return replace(counts, validation=tuple(np.bincount(own[own >= 0], minlength=len(self.class_names)).tolist()))


def open_images(data: Data, cache_root: Path) -> PreparedImages:
    """Open the dataset that was prepared for these data settings.

    Raises:
        UndrawableError: It is not in the cache, or cannot be read.
    """
    directory = PreparedDirectories(cache_root).of(data)
    if not (directory / layout.META).is_file():
        raise UndrawableError(
            f"its images ({data.source}, {data.image_size} pixels, {data.color}) are not in the cache {cache_root}; "
            "make them with: bench prepare"
        )
    try:
        meta = json.loads((directory / layout.META).read_text(encoding="utf-8"))
        training, test = (open_array(directory, f"{part}_images") for part in ("train", "test"))
        training_labels, test_labels = (
            np.load(layout.array_file(directory, f"{part}_labels")) for part in ("train", "test")
        )
        validation_labels = None
        if data.validation == "source":
            validation_labels = np.load(layout.array_file(directory, "validation_labels"), allow_pickle=False)
        names, fingerprint = tuple(map(str, meta["class_names"])), str(meta["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UndrawableError(
            f"its prepared images in {directory} cannot be read ({error}); delete that folder and run: bench prepare"
        ) from error
    if data.multi_label:
        raise UndrawableError("its images have several labels each, and this figure sorts them by one")
    kept = tuple(range(len(names))) if data.classes is None else data.classes
    return PreparedImages(
        data=data,
        training=training,
        training_labels=_renumbered(training_labels, kept, len(names)),
        test=test,
        test_labels=_renumbered(test_labels, kept, len(names)),
        class_names=tuple(names[label] for label in kept),
        fingerprint=fingerprint,
        validation_labels=None if validation_labels is None else _renumbered(validation_labels, kept, len(names)),
    )


def _renumbered(labels: NDArray[Any], kept: tuple[int, ...], count: int) -> NDArray[np.int64]:
    """Each label as its position in `kept`; -1 where it is not kept."""
    numbers = np.full(count, -1, dtype=np.int64)
    numbers[list(kept)] = np.arange(len(kept))
    renumbered: NDArray[np.int64] = numbers[np.asarray(labels)]
    return renumbered
