"""Counts the test images of a prepared dataset that stand in its training set as well, pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.files import sha256_of
from benchmark.images.compressed_images import CompressedImages, open_array

_DIGITS = 16
"""Of the digest of each image, 64 bits: among millions of images two different ones share a digest with a probability of about one in a million."""


def repeated_test_images(directory: Path) -> int | None:
    """How many test images equal a training image; None where images stay compressed, of which all would be decoded for it."""
    training, test = (open_array(directory, f"{part}_images") for part in ("train", "test"))
    if isinstance(training, CompressedImages) or isinstance(test, CompressedImages):
        return None
    return int(np.isin(_digests(test), _digests(training)).sum())


def _digests(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A number for each image [n], equal for equal ones."""
    return np.fromiter((int(sha256_of(image.tobytes())[:_DIGITS], 16) for image in images), np.uint64, len(images))
