"""Shapes and kinds: which cells take the same time, and which differ only in how much there is to do."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from benchmark.forecast.cost import CellCost, cost_of
from benchmark.matrix.cell import Cell


@dataclass(slots=True, eq=False)
class Shape:
    """Cells that are alike in all but seeds, fold, parent and names: they take the same time.

    Attributes:
        kind: What decides the time of one step: cells of one kind differ in data, epochs and augmentation alone.
        group: Cells whose times are in proportion to the usual ones.
        cost: Seconds at the usual speed.
    """

    kind: Hashable
    group: tuple[str, str, str]
    cost: CellCost


class Shapes:
    """Finds the shape of a cell; for many cells that share their parts, as those of a plan do, at once."""

    def __init__(self) -> None:
        self._shapes: dict[Hashable, Shape] = {}
        # by identity of the parts; the value keeps the parts, and so their ids, alive
        self._known: dict[tuple[object, ...], tuple[Shape, Cell]] = {}

    def of(self, cell: Cell) -> Shape:
        scalars = (cell.threads, cell.precision, cell.backend, cell.device_kind, cell.weights.origin, cell.tta)
        parts = (id(cell.data), id(cell.architecture), *map(id, cell.stages))
        known = self._known.get((*scalars, *parts))
        if known is None:
            known = self._known[(*scalars, *parts)] = (self._found(cell, scalars), cell)
        return known[0]

    def _found(self, cell: Cell, scalars: Sequence[Hashable]) -> Shape:
        key = (replace(cell.data, fold=None), _network(cell), cell.stages, *scalars, cell.save)
        shape = self._shapes.get(key)
        if shape is None:
            shape = Shape(_kind(cell), (cell.backend, cell.device_kind, cell.precision), cost_of(cell))
            self._shapes[key] = shape
        return shape


def _kind(cell: Cell) -> Hashable:
    stages = tuple((stage.train, stage.batch_size, stage.optimizer) for stage in cell.stages)
    data = cell.data
    return (
        _network(cell), data.image_size, data.color, data.num_classes, stages, cell.threads, cell.precision,
        cell.backend, cell.device_kind,
    )  # fmt: skip


def _network(cell: Cell) -> str:
    # in words: a plug-in's parameters may be anything, hashable or not
    return repr(cell.architecture)
