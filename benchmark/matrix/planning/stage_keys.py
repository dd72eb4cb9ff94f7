"""Finds first stages that cells have in common: equal data, network, weights, seed and settings up to the end of a stage.

There such cells have the same state, bit for bit, whatever stages follow; so one of them can train for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter

from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import NEVER, assembled_id, canonical_json, part_texts
from benchmark.matrix.recipes.loss import needs_vectors

_AFTERWARDS = frozenset({"tta", "save"})
"""Settings that matter only after all stages."""

_BEFORE = tuple(field.name for field in fields(Cell) if field.name not in NEVER | _AFTERWARDS | {"stages"})
_deciding = attrgetter(*_BEFORE)


def stage_key(cell: Cell, stages: int) -> str:
    """Computes the hash of what determines a cell's state at the end of its first `stages` stages; 20 hexadecimal digits.

    Cells with equal keys reach the same state. Later stages are not part of it, except whether any of them needs labels
    as vectors, which they then are in all stages.
    """
    texts = part_texts({"stages": cell.stages[:stages], **{name: getattr(cell, name) for name in _BEFORE}})
    return assembled_id({**texts, "smoothed": canonical_json(_has_vectors(cell))})


def common_stages(cells: Sequence[Cell]) -> dict[str, dict[int, Hashable]]:
    """Finds at which stage ends cells share their state.

    Of several ends that the same cells share only the last is returned. Fast enough for 100,000 cells: equal stages are
    found by hashes of the cells' parts, without computing a `stage_key`.

    Returns:
        By cell id, for cells that share stages: the number of first stages, ascending, with a value that is equal for
        all cells that share them. Cells with `share_stages = false`, commands, and stages from the first one on that calls
        the user's own callbacks are left out: these are called for each cell.
    """
    counts = Counter(value for cell in cells for _, value in _ends(cell))
    shared_by_cell: dict[str, dict[int, Hashable]] = {}
    for cell in cells:
        ends = list(_ends(cell))
        later = [*(counts[value] for _, value in ends[1:]), 1]
        shared: dict[int, Hashable] = {
            stages: value for (stages, value), others in zip(ends, later, strict=False) if counts[value] > others
        }
        if shared:
            shared_by_cell[cell.cell_id] = shared
    return shared_by_cell


def _ends(cell: Cell) -> Iterator[tuple[int, int]]:
    """The number of each stage, and a hash, valid within this process, of what determines the state at its end."""
    if not cell.share_stages or cell.architecture.command is not None:
        return
    value = hash((_deciding(cell), _has_vectors(cell)))
    for number, stage in enumerate(cell.stages, 1):
        if stage.callbacks:
            return
        value = hash((value, stage))
        yield number, value


def _has_vectors(cell: Cell) -> bool:
    return any(map(needs_vectors, cell.stages))
