"""First stages that cells have in common: the same data, network, weights, seed and settings up to the end of a stage.

Such cells are in the same state there, bit for bit, whatever comes later; so one of them can train for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter

from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import NEVER, assembled_id, canonical_json, part_texts

_AFTERWARDS = frozenset({"tta", "save"})
"""Settings that matter only when all stages are over."""

_BEFORE = tuple(field.name for field in fields(Cell) if field.name not in NEVER | _AFTERWARDS | {"stages"})
_deciding = attrgetter(*_BEFORE)


def stage_key(cell: Cell, stages: int) -> str:
    """Hash of what determines the state of a cell at the end of its first `stages` stages; 20 hexadecimal digits.

    Cells with equal keys come to the same state; how many stages follow, and which, is not in it. One thing of later
    stages is: label smoothing there makes labels vectors in all stages.
    """
    texts = part_texts({"stages": cell.stages[:stages], **{name: getattr(cell, name) for name in _BEFORE}})
    return assembled_id({**texts, "smoothed": canonical_json(_is_smoothed(cell))})


def common_stages(cells: Sequence[Cell]) -> dict[str, dict[int, Hashable]]:
    """Where cells share the state at the end of a stage.

    Of the ends that the same cells have in common only the last one is told. Cheap enough for 100,000 cells: what is
    equal is found by hashes of the cells' parts, and no `stage_key` is computed.

    Returns:
        By cell id, for cells that have something in common with others: the number of first stages, ascending, and a
        value that is equal for all cells that share them. Cells with `share_stages = false` are left out.
    """
    counts = Counter(value for cell in cells for _, value in _ends(cell))
    found: dict[str, dict[int, Hashable]] = {}
    for cell in cells:
        ends = list(_ends(cell))
        later = [*(counts[value] for _, value in ends[1:]), 1]
        shared: dict[int, Hashable] = {
            stages: value for (stages, value), others in zip(ends, later, strict=False) if counts[value] > others
        }
        if shared:
            found[cell.cell_id] = shared
    return found


def _ends(cell: Cell) -> Iterator[tuple[int, int]]:
    """The end of each stage, and a hash that tells apart, within this process, what determines it."""
    if not cell.share_stages:
        return
    value = hash((_deciding(cell), _is_smoothed(cell)))
    for number, stage in enumerate(cell.stages, 1):
        value = hash((value, stage))
        yield number, value


def _is_smoothed(cell: Cell) -> bool:
    return any(stage.label_smoothing for stage in cell.stages)
