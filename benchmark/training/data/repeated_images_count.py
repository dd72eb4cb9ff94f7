"""Counts the test images of a prepared dataset that stand in its training set as well, pixel for pixel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.files import sha256_of
from benchmark.images.compressed_images import CompressedImages, open_array

_BYTES = 8
"""Of the digest of each image: among millions of images two different ones share a digest with a probability of about one in a million."""


def repeated_test_images(directory: Path, digests: Mapping[str, NDArray[np.uint64]]) -> int:
    """How many test images equal a training image.

    Args:
        directory: Of the prepared dataset.
        digests: By the names of arrays whose images stay compressed, `image_digest` of each image [n], taken when it was
            decoded or packed: nothing is decoded for this.
    """
    training, test = (_digests(directory, f"{part}_images", digests) for part in ("train", "test"))
    return int(np.isin(test, training).sum())


def _digests(directory: Path, name: str, known: Mapping[str, NDArray[np.uint64]]) -> NDArray[np.uint64]:
    images = open_array(directory, name)
    if isinstance(images, CompressedImages):
        return known[name]
    return np.fromiter(map(image_digest, images), np.uint64, len(images))


def image_digest(pixels: NDArray[np.uint8]) -> int:
    """A number of 64 bits for an image [h, w, c], equal for equal ones."""
    return int(sha256_of(pixels.tobytes())[: 2 * _BYTES], 16)
