"""Prepares what a user's own function loads: images and labels of each split, as arrays or one after the other.

    def my_data(split):                      # "train", "test", "val"
        ...
        return images, labels                # uint8 [n, h, w, c], integers [n]; or an iterator of pairs; or None

Where `groups` are asked for, each image has a third value, its group; or all stand in a mapping by their names.

The function runs in this process of its own, and what it iterates over is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.facts import PLUGIN
from benchmark.errors import DataError
from benchmark.images.pictures import resize_array
from benchmark.training.data.preparing.image_groups import group_text
from benchmark.training.data.preparing.sources import NO_VALIDATION, DatasetRequest, SourceSummary, check_channels
from benchmark.training.data.preparing.streamed_parts import PartWriter, finish_parts
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
                for image, label, group in _naming(_examples(given, place, split, request), request.file, place):
                    where = f"{place}: {split} image {len(writer.labels)}"
                    pixels = _checked(image, where, request)
                    writer.add(resize_array(pixels, request.image_size, request.channels, request.resize), label, group)
            parts[part] = writer
    except PluginError as error:
        raise DataError(f"{request.source}: {error}") from error
    return finish_parts(parts, request, directory)


def _check_may_be_missing(part: str, place: str, request: DatasetRequest) -> None:
    if part == "train":
        raise DataError(f"{place}: expected images and labels for the split train, found None")
    if part == "validation":
        raise DataError(NO_VALIDATION.format(source=request.source, expected='images and labels for the split "val"'))


_IMAGES, _LABELS = ("images", "image"), ("labels", "label")
Example = tuple[Any, Any, str | None]
"""An image, its label, and its group where groups are asked for."""


def _examples(given: Any, place: str, split: str, request: DatasetRequest) -> Iterator[Example]:
    """Images with their labels and groups, one after the other."""
    if _are_arrays(given):
        yield from _rows(_parts(given, place, request), place, split, request)
        return
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise PluginError(
            f"{place}: expected (images, labels), an iterator of such pairs, or None for the split {split}, found "
            f"{type(given).__name__}"
        )
    for each in given:
        parts = _parts(each, place, request)
        if np.ndim(parts[0]) == 4:
            yield from _rows(parts, place, split, request)
        else:
            yield parts[0], parts[1], _group(parts[2], place, request)


def _are_arrays(given: Any) -> bool:
    """Whether this is all of a split at once: images with their labels, and maybe groups."""
    if isinstance(given, Mapping):
        return any(hasattr(given.get(name), "shape") for name in _IMAGES)
    return isinstance(given, tuple | list) and len(given) in {2, 3} and hasattr(given[0], "shape")


def _parts(given: Any, place: str, request: DatasetRequest) -> tuple[Any, Any, Any]:
    """What holds the images, the labels and the groups; None in the place of groups that nobody asked for."""
    wanted = request.groups is not None
    if isinstance(given, Mapping):
        names = [next((name for name in usual if name in given), usual[0]) for usual in (_IMAGES, _LABELS)]
        names += [str(request.groups)] if wanted else []
        if missing := [name for name in names if name not in given]:
            raise PluginError(
                f"{place}: expected the keys {', '.join(names)}, found no {missing[0]} among {', '.join(map(str, given))}"
            )
        return given[names[0]], given[names[1]], given[names[2]] if wanted else None
    if not isinstance(given, tuple | list) or len(given) not in {2, 3}:
        raise PluginError(
            f"{place}: expected pairs of an image and its label, found {type(given).__name__} {given!r:.60}"
        )
    if wanted and len(given) == 2:
        raise PluginError(
            f'{place}: expected (images, labels, groups), because groups = "{request.groups}", found images and labels alone; '
            "give the groups as a third, one value for each image, or set groups = false"
        )
    return given[0], given[1], given[2] if wanted else None


def _rows(parts: tuple[Any, Any, Any], place: str, split: str, request: DatasetRequest) -> Iterator[Example]:
    images, labels, groups = parts
    groups = None if groups is None else np.asarray(groups)
    for name, values in (("labels", labels), ("groups", groups)):
        if values is not None and len(values) != len(images):
            raise PluginError(
                f"{place}: expected as many {name} as images for the split {split}, found {len(values)} and {len(images)}"
            )
    if np.ndim(images) not in {3, 4}:
        raise PluginError(
            f"{place}: expected images [n, h, w, c] or [n, h, w] for the split {split}, found shape {np.shape(images)}"
        )
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield image, label, _group(None if groups is None else groups[number], place, request)


def _group(value: Any, place: str, request: DatasetRequest) -> str | None:
    if request.groups is None:
        return None
    try:
        return group_text(value)
    except ValueError as error:
        raise PluginError(f"{place}: {request.groups}: {error}") from error


def _naming(examples: Iterator[Example], file: str | None, place: str) -> Iterator[Example]:
    """The same examples; what goes wrong while the function makes the next one is said with its line."""
    while True:
        with naming_plugin_line(file, place):
            example = next(examples, None)
        if example is None:
            return
        yield example


def _checked(image: Any, where: str, request: DatasetRequest) -> NDArray[np.uint8]:
    """An image as an array [h, w, c]."""
    array = np.asarray(image)
    shaped = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or shaped.ndim != 3 or 0 in shaped.shape:
        raise PluginError(
            f"{where}: expected uint8 [h, w], [h, w, 1] or [h, w, 3], found {array.dtype} of shape {array.shape}; for floats 0..1 "
            "give (x * 255).round().astype('uint8')"
        )
    check_channels(array, where, request)
    return shaped
