"""Prepares scikit-learn's 1,797 handwritten digits of 8x8 pixels (a part of the UCI optical digits), always split alike.

https://scikit-learn.org/stable/datasets/toy_dataset.html#optical-recognition-of-handwritten-digits-dataset
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import DataError
from benchmark.training.data.preparing.sources import DatasetRequest, SourceSummary, new_images, save_labels
from benchmark.training.data.stratification import stratified_sample

TEST_EXAMPLES = 360


def prepare_digits(request: DatasetRequest, directory: Path) -> SourceSummary:
    """Writes the four arrays of a prepared dataset into `directory`; needs nothing but the installed package.

    Raises:
        DataError: scikit-learn is not installed, or its file is damaged.
    """
    arrays, class_names = digits_arrays(request.image_size, request.channels)
    for part in ("train", "test"):
        images = new_images(directory, part, len(arrays[f"{part}_images"]), request)
        images[:] = arrays[f"{part}_images"]
        images.flush()
        save_labels(directory, part, arrays[f"{part}_labels"])
    return SourceSummary(class_names)


def digits_arrays(image_size: int, channels: int) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The four arrays of a prepared dataset by name, and the class names.

    1,437 images to train on and 360 to test on, each class with its share; the same split on every machine.

    Args:
        image_size: Height and width in pixels, at least 8; images are enlarged bilinearly.
        channels: 1, or 3 equal ones.
    """
    images, labels = _load()
    resized = np.rint(enlarge(images * (255 / 16), image_size)).astype(np.uint8)
    coloured = np.repeat(resized[..., None], channels, axis=-1)
    # RandomState is frozen by NumPy: its stream never changes (https://numpy.org/neps/nep-0019-rng-policy.html)
    test = stratified_sample(labels, TEST_EXAMPLES, np.random.RandomState(0))
    train = np.setdiff1d(np.arange(len(labels)), test)
    arrays: dict[str, NDArray[Any]] = {}
    for part, indices in (("train", train), ("test", test)):
        arrays[f"{part}_images"] = np.ascontiguousarray(coloured[indices])
        arrays[f"{part}_labels"] = labels[indices].astype(np.int32)
    return arrays, [str(digit) for digit in range(10)]


def _load() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images [1797, 8, 8] with values 0..16 and labels, as `sklearn.datasets.load_digits` gives them.

    The file is read without importing scikit-learn, which takes seconds; only if it is elsewhere, the package is used.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DataError(
            "the digits come with the package scikit-learn, which is not installed; `pip install scikit-learn`"
        )
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",")
    except FileNotFoundError:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        table = np.column_stack([bunch.data, bunch.target])
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}; install scikit-learn again") from error
    return table[:, :64].reshape(-1, 8, 8), table[:, 64].astype(np.int64)


def enlarge(images: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Bilinear resizing of square images [n, s, s] to [n, size, size], pixel centres at half positions.

    The usual convention (`tf.image.resize`, Pillow), written out because the result is then made of single IEEE
    operations and equal on every machine. Meant for size ≥ s: nothing is averaged when shrinking.
    """
    # for each target pixel the source pixels on both sides, and the weight 0..1 of the higher one
    source = images.shape[1]
    position = np.clip((np.arange(size) + 0.5) * (source / size) - 0.5, 0, source - 1)
    low = np.floor(position).astype(np.int64)
    high, weight = np.minimum(low + 1, source - 1), position - low
    rows = images[:, low, :] * (1 - weight)[:, None] + images[:, high, :] * weight[:, None]
    return rows[:, :, low] * (1 - weight) + rows[:, :, high] * weight
