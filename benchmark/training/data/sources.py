"""What a source of data is asked for and answers; the sources are `digits.py`, `tfds.py`, `folder.py` and `npz.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.training.process.failures import DataError

TEST_FRACTION = 0.2
"""Of each class, for the test set of a source that has none."""


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """Which prepared dataset, and how its source may be reached.

    Attributes:
        source: `digits`, `tfds:NAME`, `folder:PATH` or `npz:PATH`.
        image_size: Height and width in pixels.
        color: `grey` or `rgb`.
        offline: Whether downloads are forbidden.
        manual_directory: A folder that holds the source's original archives, or None.
        data_directory: Where TFDS keeps its datasets, or None for its default.
        location: Where a user's files lie, absolute.
        test_fraction: Share of each class for the test set where the source has none; None for `TEST_FRACTION`.
        class_names: Names of the labels, when the user gives them.
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

    @property
    def channels(self) -> int:
        return 1 if self.color == "grey" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the prepared images."""
        return (self.image_size, self.image_size, self.channels)


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What a prepared source holds.

    Attributes:
        class_names: Of the labels 0, 1, ….
        notes: What the user should know about the source, such as files that were skipped.
    """

    class_names: list[str]
    notes: tuple[str, ...] = ()


def hold_out_test(
    labels: NDArray[Any], request: DatasetRequest, class_names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of training and of test examples, sorted: of each class its share, at least one on each side.

    Each class is drawn by itself from a fixed seed, so that the images of one class never decide about another's.

    Raises:
        DataError: A class has one example alone.
    """
    fraction = TEST_FRACTION if request.test_fraction is None else request.test_fraction
    held = []
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        if len(positions) < 2:
            raise DataError(
                f"{request.source}: expected at least two images of {class_names[label]}, one of them for the test set, "
                "found one; add images, or a test set"
            )
        count = min(max(round(len(positions) * fraction), 1), len(positions) - 1)
        # RandomState is frozen by NumPy: its stream will never change between versions
        held.append(np.random.RandomState(0).permutation(positions)[:count])
    test = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), test), test
