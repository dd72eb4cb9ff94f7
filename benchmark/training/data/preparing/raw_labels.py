"""Turns labels as sources give them (numbers, names, lists of either, rows of 0 and 1) into arrays, and names the classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.source_files.image_folders import composed, some
from benchmark.errors import DataError
from benchmark.training.data.preparing.sources import DatasetRequest

_LARGEST = 65535


def encoded_labels(
    labels: Mapping[str, Sequence[Any]], known: Sequence[str] | None, request: DatasetRequest
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Labels of each part as integers [n], or as rows of 0 and 1 [n, classes], and the names of the classes.

    Args:
        labels: Of each image, by part.
        known: Names of the numbers 0, 1, …, where the source says them.
        request: Whether an image may have several labels; `class_names` of the user name or number them.

    Raises:
        DataError: A label is of no such kind, or unknown; the message says of which image.
    """
    given = None if request.class_names is None else [composed(name) for name in request.class_names]
    listed = {part: [_listed(label) for label in values] for part, values in labels.items()}
    if not request.multi_label:
        for part, place, label in _all(listed):
            if len(label) != 1:
                found = f"{len(label)} labels" if label else "none"
                raise DataError(
                    f"{request.source}: {part} image {place}: expected one label, found {found}; set multi_label = true where "
                    "images may have several"
                )
    elif (width := _width(listed, given or known, arrays=_are_arrays(labels))) is not None:
        names = given or list(known or map(str, range(width)))
        return {part: np.array(values, dtype=np.uint8) for part, values in listed.items()}, names
    names, numbers = _numbered(listed, known, given, request)
    if request.multi_label:
        arrays = {part: _rows(values, numbers, len(names)) for part, values in listed.items()}
    else:
        arrays = {
            part: np.array([numbers[label] for (label,) in values], dtype=np.int32) for part, values in listed.items()
        }
    return arrays, names


def _listed(label: Any) -> list[Any]:
    """A label as a list: of one where it is one, with plain numbers and texts."""
    if isinstance(label, np.ndarray | np.generic):
        label = label.tolist()
    if label is None:
        return []
    return list(label) if isinstance(label, list | tuple | set | frozenset) else [label]


def _all(listed: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, int, list[Any]]]:
    for part, values in listed.items():
        for place, label in enumerate(values):
            yield part, place, label


def _are_arrays(labels: Mapping[str, Sequence[Any]]) -> bool:
    return all(isinstance(label, np.ndarray) for values in labels.values() for label in values)


def _width(listed: Mapping[str, Sequence[list[Any]]], names: Sequence[str] | None, *, arrays: bool) -> int | None:
    """The number of classes where labels are rows of 0 and 1 of one length, and no lists of classes; else None.

    Lists of classes name none twice, which rows of three do; arrays are rows.
    """
    widths = {len(label) for _, _, label in _all(listed)}
    if len(widths) != 1 or (width := widths.pop()) < 2 or (names is not None and len(names) != width):
        return None
    are_rows = all(each in (0, 1) and not isinstance(each, str) for _, _, label in _all(listed) for each in label)
    return width if are_rows and (arrays or any(len(set(label)) < width for _, _, label in _all(listed))) else None


def _numbered(
    listed: Mapping[str, Sequence[list[Any]]],
    known: Sequence[str] | None,
    given: Sequence[str] | None,
    request: DatasetRequest,
) -> tuple[list[str], dict[Any, int]]:
    """The names of the classes, and the number of each label."""
    kinds: dict[Any, tuple[str, int]] = {}
    for part, place, label in _all(listed):
        for each in label:
            kinds.setdefault(each, (part, place))
    for each, (part, place) in kinds.items():
        if (
            isinstance(each, bool)
            or not isinstance(each, int | str)
            or isinstance(each, str) != isinstance(next(iter(kinds)), str)
        ):
            raise DataError(
                f"{request.source}: {part} image {place}: expected labels that are all integers from 0, or all texts, found "
                f"{type(each).__name__} {each!r:.100}"
            )
    if any(isinstance(each, str) for each in kinds):
        names = list(given or known or sorted({composed(each.strip()) for each in kinds}))
        numbers = {name: number for number, name in enumerate(names)}
        for each, (part, place) in kinds.items():
            if composed(each.strip()) not in numbers:
                raise DataError(
                    f"{request.source}: {part} image {place}: expected labels of class_names ({some(names)}), found {each!r:.100}"
                )
        return names, {each: numbers[composed(each.strip())] for each in kinds}
    names = list(given or known or map(str, range(max(kinds, default=0) + 1)))
    for each, (part, place) in kinds.items():
        if not 0 <= each < min(len(names), _LARGEST + 1):
            raise DataError(
                f"{request.source}: {part} image {place}: expected labels from 0 to {len(names) - 1}, found {each}"
                + ("; leave out images without a label" if each < 0 else "")
            )
    return names, {each: each for each in kinds}


def _rows(values: Sequence[list[Any]], numbers: Mapping[Any, int], classes: int) -> NDArray[np.uint8]:
    rows = np.zeros((len(values), classes), dtype=np.uint8)
    for row, label in enumerate(values):
        rows[row, [numbers[each] for each in label]] = 1
    return rows
