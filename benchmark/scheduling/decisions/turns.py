"""In which turn cells run: the longest chains first, strategies that a report compares side by side, or by chance.

What is compared must take turns on the machine, because a machine drifts (heat, other programs): with all of A before all
of B the drift would look like a difference. See A. Georges et al., "Statistically rigorous Java performance evaluation",
OOPSLA (2007), and T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable time", ISMM (2013).
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeAlias

from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Order
from benchmark.matrix.report_spec import ReportSpec
from benchmark.matrix.settings import SEEDS

Turn: TypeAlias = tuple[float, ...]
"""Of the cells that can begin, the one with the least turn does; all turns of a run have the same length."""


def longest_first(cells: Sequence[Cell], urgency: Mapping[str, float]) -> dict[str, Turn]:
    """The turn of each cell, by cell id: the longest chain of work first.

    Args:
        cells: Those of the run.
        urgency: Seconds of the longest chain of work that begins with a cell, by cell id.
    """
    return {cell.cell_id: (-urgency[cell.cell_id],) for cell in cells}


def turns(
    cells: Sequence[Cell], urgency: Mapping[str, float], order: Order | None = None, report: ReportSpec | None = None
) -> dict[str, Turn]:
    """The turn of each cell, by cell id.

    Args:
        cells: Those of the run, in the order of the matrix.
        urgency: As for `longest_first`.
        order: `longest`; `interleaved`: seed after seed, the strategies of a dataset and model side by side; `random`,
            the same for the same cells. None interleaves what the report compares, and takes the rest longest first.
        report: What the report compares.
    """
    if order == "longest":
        return longest_first(cells, urgency)
    if order == "random":
        places: list[Turn] = [(place,) for place in range(len(cells))]
        random.Random(" ".join(sorted(cell.cell_id for cell in cells))).shuffle(places)
        return dict(zip((cell.cell_id for cell in cells), places, strict=True))
    families: dict[Hashable, int] = {}
    seeds: dict[Hashable, int] = {}
    longest: dict[int, float] = {}
    places_of: dict[str, tuple[int, int]] = {}
    for cell in cells:
        family = families.setdefault((cell.dataset, cell.model), len(families))
        repetition = (*(getattr(cell, name) for name in SEEDS), cell.data.fold)
        places_of[cell.cell_id] = family, seeds.setdefault(repetition, len(seeds))
        longest[family] = max(longest.get(family, 0.0), urgency[cell.cell_id])
    together = compared_strategies(cells, report or ReportSpec())
    result: dict[str, Turn] = {}
    for cell in cells:
        (family, seed), own = places_of[cell.cell_id], -urgency[cell.cell_id]
        if order == "interleaved":
            result[cell.cell_id] = (seed, -longest[family], family, own)
        elif (*cell_place(cell), cell.strategy) in together:
            result[cell.cell_id] = (-longest[family], family, seed, own)
        else:
            result[cell.cell_id] = (own, -1, 0, 0)
    return result


def cell_place(cell: Cell) -> tuple[str, str]:
    """What compared strategies have in common."""
    return cell.dataset, cell.model


def compared_strategies(cells: Sequence[Cell], report: ReportSpec) -> set[tuple[str, str, str]]:
    """Dataset, model and strategy of all that the report compares.

    Those that `[report]` names; with a baseline all of them; where it names none those of each dataset and model of
    which one starts from weights, because reports then compare these with the ones from scratch.
    """
    named = {name for spec in report.transfer for name in (spec.fine_tuned, spec.scratch)}
    named.update(name for names in report.progression for name in names)
    tuned = {cell_place(cell) for cell in cells if cell.weights.origin != "none"}
    return {
        (*cell_place(cell), cell.strategy)
        for cell in cells
        if report.baseline is not None or (cell.strategy in named if named else cell_place(cell) in tuned)
    }
