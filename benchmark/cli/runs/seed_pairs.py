"""Pairs of seeds that `--resolve` may add: the cells of both sides at one seed, with what they start from."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.cli.options import MatrixRequest
from benchmark.errors import UserError
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.matrix.selection import NAME_KEYS, Selection, parse_selection
from benchmark.matrix.settings import cell_settings
from benchmark.status import Status


@dataclass(frozen=True, slots=True)
class SeedPair:
    """The cells of both sides at one seed.

    Attributes:
        seed: Which one.
        cells: All that must run, parents before children.
        a, b: Ids of the cells of each side.
    """

    seed: int
    cells: tuple[Cell, ...]
    a: frozenset[str]
    b: frozenset[str]

    def is_done(self, statuses: Mapping[str, str]) -> bool:
        """Whether all cells of both sides have completed; `statuses` are the newest, by cell id."""
        return all(statuses.get(cell_id) == Status.COMPLETED for cell_id in self.a | self.b)

    def is_begun(self, statuses: Mapping[str, str]) -> bool:
        """Whether some of them have."""
        return any(statuses.get(cell_id) == Status.COMPLETED for cell_id in self.a | self.b)


def parse_sides(values: Sequence[str]) -> tuple[str, str]:
    """Reads `--resolve`: two names of strategies separated by a comma, or two names or selections given apart.

    Raises:
        UserError: It is neither.
    """
    parts = values[0].split(",") if len(values) == 1 and "=" not in values[0] else list(values)
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise UserError(
            "--resolve: expected two strategies such as scratch,regularized, or two selections, each with --resolve of its "
            f"own, got {' '.join(values)!r:.200}"
        )
    a, b = (part.strip() for part in parts)
    if a == b:
        raise UserError(f"--resolve: expected two different sides, got {a!r:.200} twice")
    return a, b


def pair_at(matrix: MatrixRequest, sides: tuple[str, str], seed: int) -> SeedPair:
    """The pair at one seed, of the places (dataset, model, …) that both sides have."""
    plan = replace(matrix, overrides=(*matrix.overrides, f"seed={seed}")).load()
    return _pair(plan, sides, seed)


def _pair(plan: Plan, sides: tuple[str, str], seed: int) -> SeedPair:
    a, b = (_cells_of(plan, side) for side in sides)
    shared = [key for key in NAME_KEYS if {getattr(cell, key) for cell in a} & {getattr(cell, key) for cell in b}]

    def places(cells: Sequence[Cell]) -> set[tuple[str, ...]]:
        return {tuple(getattr(cell, key) for key in shared) for cell in cells}

    both = places(a) & places(b)
    a, b = ([cell for cell in cells if places([cell]) <= both] for cells in (a, b))
    if not a or not b or {cell.cell_id for cell in a} & {cell.cell_id for cell in b}:
        raise UserError(
            f"--resolve: expected two sides that differ and share a dataset or model, got {sides[0]!r} with "
            f"{len(a)} and {sides[1]!r} with {len(b)} cells in common places of {plan.path}"
        )
    cells = {cell.cell_id: cell for cell in plan.cells}
    needed = {cell.cell_id for cell in (*a, *b)}
    for cell_id in reversed(cells):
        parent = cells[cell_id].parent_cell_id
        if cell_id in needed and parent is not None:
            needed.add(parent)
    ids_a, ids_b = (frozenset(cell.cell_id for cell in side) for side in (a, b))
    return SeedPair(seed, tuple(cell for cell in plan.cells if cell.cell_id in needed), ids_a, ids_b)


def _cells_of(plan: Plan, side: str) -> list[Cell]:
    """The cells that a side means: a strategy by its name, or a selection."""
    known = {key: {getattr(cell, key) for cell in plan.cells} for key in NAME_KEYS}
    if "=" not in side or side in known["strategy"]:
        cells = [cell for cell in plan.cells if cell.strategy == side]
        hint = f"the strategies of these cells are {', '.join(sorted(known['strategy']))}"
    else:
        selection = parse_selection([side]).exact(known)
        cells = [cell for cell in plan.cells if _matches(selection, cell)]
        hint = "see: bench plan"
    if not cells:
        reasons = dict.fromkeys(left.reason for left in plan.left_out if "=" in side or left.strategy == side)
        raise UserError(f"--resolve {side!r:.200}: no cell of {plan.path} is meant; {'; '.join(reasons) or hint}")
    return cells


def _matches(selection: Selection, cell: Cell) -> bool:
    recorded = (*NAME_KEYS, "cell_id", "strategy_label", "device_kind", "parent_cell_id")
    return selection.matches({**cell_settings(cell), **{name: getattr(cell, name) for name in recorded}})


def candidate_seeds(plan: Plan, begun: Collection[int], most: int) -> list[int]:
    """Seeds that pairs may have: those of the matrix, then those begun, then the smallest that are not used yet."""
    own = dict.fromkeys(cell.seed for cell in plan.cells)
    known = dict.fromkeys((*own, *begun))
    fresh = (seed for seed in itertools.count() if seed not in known)
    return [*known, *itertools.islice(fresh, max(most - len(own), 0))]
