"""Prepares what a user's own function loads: images and labels of each split, as arrays or one after the other.

    def my_data(split):                      # "train", "test", "val"
        ...
        return images, labels                # uint8 [n, h, w, c], integers [n]; or an iterator of pairs; or None

The function runs in this process of its own, and what it iterates over is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.facts import PLUGIN
from benchmark.training.data.images import resize_array
from benchmark.training.data.preparing.sources import NO_VALIDATION, DatasetRequest, SourceSummary
from benchmark.training.data.preparing.streamed_parts import PartWriter, finish_parts
from benchmark.training.process.failures import DataError
from benchmark.training.process.plugin_code import PluginError, naming_plugin_line, plugin_function

_SPLITS = {"train": "train", "test": "test", "validation": "val"}
"""What the function is asked for, by the part that it is for."""


def prepare_plugin(request: DatasetRequest, directory: Path) -> SourceSummary:
    """Writes the arrays of a prepared dataset into `directory`.

    Raises:
        DataError: The function may not run, fails, or gives something else than images and labels.

    Side effects:
        Runs the user's code, in this process.
    """
    name = request.source.removeprefix(PLUGIN)
    try:
        function, place = plugin_function(
            name, "datasets", str(request.code), request.file, allowed=request.allow_plugins
        )
        parts = {}
        for part, split in _SPLITS.items():
            if part == "validation" and request.validation != "source":
                continue
            with naming_plugin_line(request.file, place):
                given = function(split)
            if given is None:
                _check_may_be_missing(part, place, request)
                continue
            with PartWriter(directory, part, request) as writer:
                for image, label in _naming(_pairs(given, place, split), request.file, place):
                    where = f"{place}: {split} image {len(writer.labels)}"
                    writer.add(
                        resize_array(_checked(image, where), request.image_size, request.channels, request.resize),
                        label,
                    )
            parts[part] = writer
    except PluginError as error:
        raise DataError(f"{request.source}: {error}") from error
    return finish_parts(parts, request, directory)


def _check_may_be_missing(part: str, place: str, request: DatasetRequest) -> None:
    if part == "train":
        raise DataError(f"{place}: expected images and labels for the split train, found None")
    if part == "validation":
        raise DataError(NO_VALIDATION.format(source=request.source, expected='images and labels for the split "val"'))


def _pairs(given: Any, place: str, split: str) -> Iterator[tuple[Any, Any]]:
    """Images with their labels, one after the other."""
    if isinstance(given, tuple | list) and len(given) == 2 and hasattr(given[0], "shape"):
        images, labels = given
        if len(images) != len(labels):
            raise PluginError(
                f"{place}: expected as many labels as images for the split {split}, found {len(labels)} and {len(images)}"
            )
        if np.ndim(images) not in {3, 4}:
            raise PluginError(
                f"{place}: expected images [n, h, w, c] or [n, h, w] for the split {split}, found shape {np.shape(images)}"
            )
        yield from zip(images, labels, strict=True)
        return
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | dict):
        raise PluginError(
            f"{place}: expected (images, labels), an iterator of such pairs, or None for the split {split}, found "
            f"{type(given).__name__}"
        )
    for pair in given:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise PluginError(
                f"{place}: expected pairs of an image and its label, found {type(pair).__name__} {pair!r:.60}"
            )
        image, label = pair
        if np.ndim(image) == 4:
            yield from zip(image, label, strict=True)
        else:
            yield image, label


def _naming(pairs: Iterator[tuple[Any, Any]], file: str | None, place: str) -> Iterator[tuple[Any, Any]]:
    """The same pairs; what goes wrong while the function makes the next one is said with its line."""
    while True:
        with naming_plugin_line(file, place):
            pair = next(pairs, None)
        if pair is None:
            return
        yield pair


def _checked(image: Any, where: str) -> NDArray[np.uint8]:
    """An image as an array [h, w, c]."""
    array = np.asarray(image)
    shaped = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or shaped.ndim != 3 or shaped.shape[-1] not in {1, 3} or 0 in shaped.shape:
        raise PluginError(
            f"{where}: expected uint8 [h, w], [h, w, 1] or [h, w, 3], found {array.dtype} of shape {array.shape}; for floats 0..1 "
            "give (x * 255).round().astype('uint8')"
        )
    return shaped
