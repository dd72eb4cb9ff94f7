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
        kind: What decides the time of one step: cells of one kind differ in data, epochs, augmentation and `program` alone.
        program: The kind with the user's own callbacks, losses and metrics, of whose cost nothing is known before they ran.
        any_version: The kind whatever the version of a plug-in's or command's code.
        group: Cells whose times are in proportion to the usual ones.
        cost: Seconds at the usual speed.
    """

    kind: Hashable
    program: Hashable
    any_version: Hashable
    group: tuple[str, str, str]
    cost: CellCost


class Shapes:
    """Finds the shape of a cell; for many cells that share their parts, as those of a plan do, at once."""

    def __init__(self) -> None:
        self._shapes: dict[Hashable, Shape] = {}
        # by identity of the parts; the value keeps the parts, and so their ids, alive
        self._known: dict[tuple[object, ...], tuple[Shape, Cell]] = {}

    def of(self, cell: Cell) -> Shape:
        scalars = (
            cell.threads, cell.precision, cell.backend, cell.device_kind, cell.weights.origin, cell.tta, cell.metric_codes,
        )  # fmt: skip
        parts = (id(cell.data), id(cell.architecture), *map(id, cell.stages))
        known = self._known.get((*scalars, *parts))
        if known is None:
            known = self._known[(*scalars, *parts)] = (self._found(cell, scalars), cell)
        return known[0]

    def _found(self, cell: Cell, scalars: Sequence[Hashable]) -> Shape:
        key = (replace(cell.data, fold=None), _network(cell), cell.stages, *scalars, cell.save)
        shape = self._shapes.get(key)
        if shape is None:
            kind, versionless = _kind(cell), replace(cell, architecture=replace(cell.architecture, code=None))
            group = cell.backend, cell.device_kind, cell.precision
            shape = Shape(kind, (kind, own_code(cell)), ("any version", _kind(versionless)), group, cost_of(cell))
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
    return repr(replace(cell.architecture, file=None, folder=None))


def own_code(cell: Cell) -> tuple[object, ...]:
    """The callbacks, losses and metrics of the user's own that the cell calls; empty for none."""
    stages = tuple(
        (repr(stage.callbacks), stage.callback_codes, stage.loss_code and repr(stage.loss), stage.loss_code)
        for stage in cell.stages
        if stage.callbacks or stage.loss_code
    )
    return (*stages, *cell.metric_codes)
