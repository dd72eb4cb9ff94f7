"""Enumerates the combinations of axis values: the product of the axes, then the rows of `[[matrix.include]]`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.reading.specification import Axis, Specification
from benchmark.matrix.selection import NAME_KEYS


@dataclass(frozen=True, slots=True)
class Coordinates:
    """One combination of axis values, before any definition is looked up.

    Attributes:
        settings: Values of the settings that are axes.
        included: Whether it comes from an include row, which no exclude rule drops.
    """

    dataset: str
    model: str
    strategy: str
    settings: Mapping[str, Any]
    included: bool


def count_coordinates(specification: Specification) -> int:
    """Counts the coordinates without enumerating them."""
    blocks = [axes for axes, _ in _blocks(specification)]
    return sum(math.prod(len(axis.rows) for axis in axes) for axes in blocks)


def coordinates(specification: Specification) -> Iterator[Coordinates]:
    """Yields all coordinates; the first axis of the file varies slowest."""
    for axes, included in _blocks(specification):
        yield from _product(axes, included=included)


def _blocks(specification: Specification) -> Iterator[tuple[Sequence[Axis], bool]]:
    """Products of axes: that of the matrix, and those of the include rows."""
    keys = {key for axis in specification.axes for key in axis.keys}
    if keys.issuperset(NAME_KEYS):
        yield specification.axes, False
    for row in specification.includes:
        for values in itertools.product(*row.values()):
            given = dict(zip(row, values, strict=True))
            yield _include_axes(given, specification.axes), True


def _include_axes(given: Mapping[str, Any], axes: Sequence[Axis]) -> list[Axis]:
    """The axes of an include row: the keys that it names, and the axes of the matrix for all other keys."""
    rest = []
    for axis in axes:
        named = [position for position, key in enumerate(axis.keys) if key in given]
        kept = [position for position, key in enumerate(axis.keys) if key not in given]
        rows = [row for row in axis.rows if all(row[position] == given[axis.keys[position]] for position in named)]
        if kept:
            agreeing = dict.fromkeys(
                tuple(row[position] for position in kept) for row in (rows if named else axis.rows)
            )
            rest.append(Axis(tuple(axis.keys[position] for position in kept), tuple(agreeing)))
    return [Axis((key,), ((value,),)) for key, value in given.items()] + rest


def _product(axes: Sequence[Axis], *, included: bool) -> Iterator[Coordinates]:
    keys = [key for axis in axes for key in axis.keys]
    names = [keys.index(key) for key in NAME_KEYS]
    settings = [(position, key) for position, key in enumerate(keys) if key not in NAME_KEYS]
    for rows in itertools.product(*(axis.rows for axis in axes)):
        values = list(itertools.chain.from_iterable(rows))
        dataset, model, strategy = (values[position] for position in names)
        yield Coordinates(dataset, model, strategy, {key: values[position] for position, key in settings}, included)
