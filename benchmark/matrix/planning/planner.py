"""Turns coordinates into the cells of a plan: adds parents, merges duplicates, leaves out the impossible, and notes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from benchmark.errors import MatrixError, Problem
from benchmark.matrix.cell import STREAMS, Cell, Weights
from benchmark.matrix.identity import assembled_id, part_texts
from benchmark.matrix.plan import LeftOut
from benchmark.matrix.planning import plan_notes
from benchmark.matrix.planning.cell_template import CellTemplate
from benchmark.matrix.planning.contradictions import Contradiction
from benchmark.matrix.planning.coordinates import coordinates
from benchmark.matrix.planning.feasibility import unfit_parent
from benchmark.matrix.planning.resolution import BaseSettings, Resolver
from benchmark.matrix.problems import KeyPath
from benchmark.matrix.reading.specification import Specification
from benchmark.matrix.script_command import remarks_on
from benchmark.matrix.selection import NAME_KEYS, Selection
from benchmark.matrix.settings import SEEDS, cell_settings, setting_of

Seeds: TypeAlias = tuple[tuple[str, Any], ...]
"""The seed of a cell and of its streams, by name."""


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """The cell at some coordinates.

    Attributes:
        parent: The cell whose weights it starts from, if any.
        reason: Why it is impossible; None when it is possible.
        excluded: Whether a rule of `[[matrix.exclude]]` drops it.
        contradictions, speed_key: See `CellTemplate`.
    """

    cell: Cell
    parent: PlannedCell | None
    reason: str | None
    excluded: bool
    contradictions: tuple[Contradiction, ...]
    speed_key: str | None

    def ancestors(self) -> list[PlannedCell]:
        """The parent, its parent, and so on."""
        return [] if self.parent is None else [self.parent, *self.parent.ancestors()]


class Planner:
    """Plans all coordinates of a specification.

    Attributes:
        cells: The planned cells by id, parents before their children.
        left_out: Impossible combinations.
        auto: Ids of the cells with `threads = "auto"`, by speed key; the values of the inner dictionary mean nothing.
        asked: Number of coordinates that no rule and no selection dropped.
        folds: The pairs of `folds` and `fold` of these and of their parents.
        contradictions: What is wrong with their stages, with the place of each.
    """

    def __init__(self, specification: Specification, resolver: Resolver, select: Selection, exclude: Selection) -> None:
        self._specification = specification
        self._resolver = resolver
        self._select = select
        self._exclude = exclude
        self._parents: dict[Any, PlannedCell] = {}
        self._in_matrix: set[str] = set()
        self._merged: Counter[tuple[plan_notes.Names, plan_notes.Names]] = Counter()
        self._returned: Counter[plan_notes.Names] = Counter()
        self._exclude_hits = [0] * len(specification.excludes)
        self._strategies: dict[str, None] = {}
        self.cells: dict[str, Cell] = {}
        self.left_out: list[LeftOut] = []
        self.auto: dict[str, dict[str, None]] = {}
        self.asked = 0
        self.folds: set[tuple[int | None, int | None]] = set()
        self.contradictions: dict[tuple[KeyPath, Contradiction], None] = {}

    def walk(self) -> Planner:
        """Plans all coordinates; returns itself."""
        for place in coordinates(self._specification):
            base = self._resolver.base(place.dataset, place.model, place.strategy)
            planned = self._resolve(base, place.settings)
            if (planned.excluded and not place.included) or not self._is_selected(planned.cell):
                continue
            self.asked += 1
            for each in (planned, *planned.ancestors()):
                self.folds.add((each.cell.data.folds, each.cell.data.fold))
                for wrong in each.contradictions:
                    self.contradictions[self._resolver.place_of(each.cell.strategy, wrong.key), wrong] = None
            self._strategies[place.strategy] = None
            if planned.reason is None:
                self._add(planned)
            else:
                self.left_out.append(LeftOut(*_names(planned.cell), planned.cell.seed, planned.reason))
        return self

    def _resolve(self, base: BaseSettings, settings: Mapping[str, Any]) -> PlannedCell:
        assigned = self._resolver.assign(base, settings)
        seeds = _seeds({key: assigned.pop(key, base.stages[0][key]) for key in SEEDS})
        template, reason = self._resolver.template(base, assigned)
        parent = self._parent(base, settings, seeds) if base.origin.origin == "parent" else None
        weights = Weights(base.origin.origin, base.origin.path, parent.cell.cell_id if parent else None)
        cell = self._cell(base, template, seeds, weights)
        if reason is None and parent is not None:
            if parent.reason is None:
                reason = unfit_parent(cell, parent.cell)
            else:
                name = plan_notes.combination(*_names(parent.cell))
                reason = f"its parent {name} is left out: {parent.reason}"
        excluded = self._is_excluded(base, template, cell)
        return PlannedCell(cell, parent, reason, excluded, template.contradictions, template.speed_key)

    def _parent(self, base: BaseSettings, settings: Mapping[str, Any], seeds: Seeds) -> PlannedCell:
        """Plans the parent: it has the child's coordinates and seeds, but for what `weights` of the strategy names."""
        names = [base.origin.names.get(key, own) for key, own in zip(NAME_KEYS, base.names, strict=True)]
        changed = {**settings, **dict(seeds), **base.origin.settings}
        key = (*names, *changed.items())
        if key not in self._parents:
            self._parents[key] = self._resolve(self._resolver.base(*names), changed)
        return self._parents[key]

    def _cell(self, base: BaseSettings, template: CellTemplate, seeds: Seeds, weights: Weights) -> Cell:
        dataset, model, strategy = base.names
        return Cell(
            cell_id=assembled_id({**template.canonical, **_own_texts(seeds, weights)}),
            dataset=dataset,
            model=model,
            strategy=strategy,
            strategy_label=base.label,
            data=template.data,
            architecture=template.architecture,
            weights=weights,
            stages=template.stages,
            **dict(seeds),
            **template.cell,
        )

    def _is_excluded(self, base: BaseSettings, template: CellTemplate, cell: Cell) -> bool:
        for number, rule in base.excludes:
            if rule.matches(lambda key: setting_of(cell, key) if key in SEEDS else template.value_of(key)):
                self._exclude_hits[number] += 1
                return True
        return False

    def _is_selected(self, cell: Cell) -> bool:
        if not self._select and not self._exclude:
            return True
        recorded = ("cell_id", "strategy_label", "device_kind", "parent_cell_id")
        record = {**cell_settings(cell), **{name: getattr(cell, name) for name in (*NAME_KEYS, *recorded)}}
        return self._select.matches(record) and not (self._exclude and self._exclude.matches(record))

    def _add(self, planned: PlannedCell) -> None:
        cell = planned.cell
        self._note_speed_key(planned)
        if cell.cell_id in self._in_matrix:
            self._merged[_names(self.cells[cell.cell_id]), _names(cell)] += 1
            return
        self._in_matrix.add(cell.cell_id)
        self._add_parents(planned)
        self.cells[cell.cell_id] = cell

    def _add_parents(self, planned: PlannedCell) -> None:
        for ancestor in reversed(planned.ancestors()):
            if ancestor.cell.cell_id not in self.cells:
                self._note_speed_key(ancestor)
                self.cells[ancestor.cell.cell_id] = ancestor.cell
                if ancestor.excluded or not self._is_selected(ancestor.cell):
                    self._returned[_names(ancestor.cell)] += 1

    def _note_speed_key(self, planned: PlannedCell) -> None:
        if planned.speed_key is not None:
            self.auto.setdefault(planned.speed_key, {})[planned.cell.cell_id] = None

    def refuse_impossible(self, path: str) -> None:
        """Treats every impossible combination as a mistake, with `on_invalid = "error"`.

        Raises:
            MatrixError: There are some; combinations that differ only in the seed are listed once.
        """
        if self._specification.on_invalid != "error" or not self.left_out:
            return
        places = dict.fromkeys(
            (plan_notes.combination(out.dataset, out.model, out.strategy), out.reason) for out in self.left_out
        )
        problems = [Problem(place, "a possible combination", hint=reason) for place, reason in places]
        raise MatrixError(path, problems)

    def undecided(self) -> tuple[str, ...]:
        """Lists the speed keys of `auto` that have not been measured on this machine."""
        return tuple(speed_key for speed_key in self.auto if speed_key not in self._resolver.machine.threads)

    def axes(self) -> tuple[str, ...]:
        """Lists the keys of the file's axes on which the cells differ."""
        keys = [key for axis in self._specification.axes for key in axis.keys]
        keys += [key for row in self._specification.includes for key in row]
        ordered = dict.fromkeys([*NAME_KEYS, *keys, "seed"])
        return tuple(key for key in ordered if self._varies(key))

    def _varies(self, key: str) -> bool:
        values = (getattr(cell, key) if key in NAME_KEYS else setting_of(cell, key) for cell in self.cells.values())
        first = next(values, None)
        return any(value != first for value in values)

    def _replaced(self) -> Mapping[str, list[str]]:
        """For each axis that is a setting the strategies that set it themselves, to no avail."""
        keys = [key for axis in self._specification.axes for key in axis.keys if key not in NAME_KEYS]
        return {key: [name for name in self._strategies if self._resolver.is_set_by(name, key)] for key in keys}

    def notes(self) -> tuple[str, ...]:
        """Returns notes on duplicates, parents, threads, and rules without effect."""
        added = Counter(_names(cell) for cell_id, cell in self.cells.items() if cell_id not in self._in_matrix)
        models = {key: Counter(self.cells[cell_id].model for cell_id in ids) for key, ids in self.auto.items()}
        return (
            *plan_notes.merged(self._merged),
            *plan_notes.on_parents(
                self._returned, "excluded or not selected, but kept because others need them as parents"
            ),
            *plan_notes.on_parents(added - self._returned, "added as parents"),
            *plan_notes.replaced(self._replaced()),
            *plan_notes.idle("exclude", self._exclude_hits),
            *plan_notes.idle("override", self._resolver.override_hits),
            *plan_notes.threads(models, self._resolver.machine.threads),
            *self._resolver.remarks,
            *remarks_on(self.cells.values()),
            *plan_notes.crowded(
                max((cell.threads for cell in self.cells.values()), default=0), self._resolver.machine.cores
            ),
        )


@lru_cache(maxsize=4096)
def _own_texts(seeds: Seeds, weights: Weights) -> dict[str, str]:
    return part_texts({**dict(seeds), "weights": weights})


def _seeds(given: Mapping[str, Any]) -> Seeds:
    """The seeds of a cell in normal form: None for a stream whose seed is that of the cell."""
    seed = given["seed"]
    return ("seed", seed), *((stream, None if given[stream] == seed else given[stream]) for stream in STREAMS)


def _names(cell: Cell) -> plan_notes.Names:
    return cell.dataset, cell.model, cell.strategy
