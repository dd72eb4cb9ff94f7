"""Groups of cells that differ in seeds and folds alone; most rows of tables show one group."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.reporting.rows.flat_settings import agree, describe, key_of, settings_by_cell, settings_of, value_key
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import Metric, invalid_timing, value_of
from benchmark.reporting.rows.repetitions import (
    CellOutcome,
    Missing,
    Repetitions,
    as_repetitions,
    seeds_of,
    with_streams,
)
from benchmark.reporting.statistics.intervals import Measurement, mean_of, measure, widened
from benchmark.status import Cause, Status
from benchmark.text import uncolored

LONGEST_REASON = 300


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Cells that differ in seeds and folds alone; a group is equal to itself alone.

    Attributes:
        dataset, model, strategy: The names.
        label: The strategy's description in reports.
        settings: All other settings (`flat_settings.settings_of`); empty for combinations that were left out.
        completed: A row for each repetition with a result, by seed (`repetitions.Repetitions`).
        missing: The seeds without a result.
        repetitions: What takes the part of the seed where that is the same in all cells, and what is averaged.
        last_run: The highest run id among its rows.
    """

    dataset: str
    model: str
    strategy: str
    label: str
    settings: Mapping[str, Any]
    completed: Mapping[int, ResultRow]
    missing: tuple[Missing, ...]
    repetitions: Repetitions
    last_run: int = 0

    @property
    def names(self) -> tuple[str, str, str]:
        return self.dataset, self.model, self.strategy

    @property
    def planned(self) -> int:
        return len(self.completed) + len(self.missing)

    @property
    def cells(self) -> list[ResultRow]:
        """The rows of all cells of the completed repetitions, in the order of the seeds."""
        if not self.repetitions.several:
            return list(self.completed.values())
        return [row for seed in self.completed for row in self.cells_of(seed)]

    def cells_of(self, seed: int) -> Sequence[ResultRow]:
        """The rows whose mean is the row of a completed repetition; mostly that row itself."""
        return self.repetitions.several.get(seed) or (self.completed[seed],)

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """Of the cells with a result, in the order of the seeds."""
        return tuple(row["cell_id"] for row in self.cells)

    @property
    def execution_ids(self) -> list[int]:
        """Of the cells with a result, in the order of the seeds."""
        return [row["execution_id"] for row in self.cells]

    def describe(self, varying: Sequence[str]) -> list[str]:
        """The settings of these names that the group has, in words: `threads 2`."""
        return [f"{name} {describe(self.settings[name])}" for name in varying if name in self.settings]

    def values(self, metric: Metric) -> dict[int, float]:
        """The metric by seed, of the seeds that completed and have it."""
        return {seed: value for seed, row in self.completed.items() if (value := value_of(row, metric)) is not None}

    def marked_values(self, metric: Metric) -> tuple[dict[int, float], str]:
        """The metric by seed; of a timing that is valid for no seed those that are not, and why they are not, in words."""
        values = self.values(metric)
        if values or not metric.is_timing:
            return values, ""
        rows = {seed: row for seed, row in self.completed.items() if row.get(metric.key) is not None}
        reasons = dict.fromkeys(invalid_timing(row) for row in rows.values())
        return {seed: float(row[metric.key]) for seed, row in rows.items()}, "; ".join(reasons)

    def measured(self, metric: Metric, *, unit: float = 1.0) -> tuple[Measurement | None, str]:
        """Mean and interval of the metric, and why its timings are not valid, where none is; see `marked_values`.

        Args:
            metric: Which one.
            unit: By what every value is multiplied, such as 100 for percent.
        """
        values, invalid = self.marked_values(metric)
        step, bounds = unit * resolution([self], metric), tuple(unit * bound for bound in metric.bounds)
        parts = [values, *values_by_stream([self], metric).values()]
        measured = [
            measure((unit * value for value in part.values()), step=step, bounds=(bounds[0], bounds[1]))
            for part in parts
        ]
        return measured[0] and widened(measured[0], filter(None, measured[1:])), invalid


def apart(first: Group, second: Group) -> tuple[Group, Group]:
    """The groups without the repetitions that are the same executions on both sides: they cannot differ from themselves."""

    def executions(group: Group, seed: int) -> set[tuple[Any, Any]]:
        return {(row["cell_id"], row["execution_id"]) for row in group.cells_of(seed)}

    # a cell has one name
    common = first.completed.keys() & second.completed.keys() if first.names == second.names else set()
    shared = {seed for seed in common if executions(first, seed) == executions(second, seed)}
    if not shared:
        return first, second
    a, b = (
        replace(group, completed={seed: row for seed, row in group.completed.items() if seed not in shared})
        for group in (first, second)
    )
    return a, b


def values_by_stream(groups: Sequence[Group], metric: Metric) -> dict[str, dict[int, float]]:
    """For each stream over which repetitions are means the metric by its seeds: the mean of all cells of a seed.

    Of several groups the means of the groups that have the stream, for the seeds that all of these have.
    """
    of_streams: dict[str, list[dict[int, float]]] = {}
    for group in groups:
        for stream in group.repetitions.crossed:
            found: dict[int, list[float]] = {}
            for row in group.cells:
                if (value := value_of(row, metric)) is not None:
                    found.setdefault(with_streams(seeds_of(row))[stream], []).append(value)
            of_streams.setdefault(stream, []).append({seed: mean_of(values) for seed, values in found.items()})
    return {
        stream: {seed: mean_of([each[seed] for each in several]) for seed in set.intersection(*map(set, several))}
        for stream, several in of_streams.items()
    }


def resolution(groups: Iterable[Group], metric: Metric) -> float:
    """How much a single image changes a metric; 0 for those that are not counted, and where the images are unknown."""
    if not metric.counted_on:
        return 0.0
    counts = [row.get(metric.counted_on) for group in groups for row in group.cells]
    return 1.0 / min(filter(None, counts)) if any(counts) else 0.0


def group_cells(rows: Sequence[ResultRow], run_cells: Sequence[Mapping[str, Any]] = ()) -> list[Group]:
    """Group rows, and the cells that a run planned beside them, in the order of the matrix where it is known.

    Args:
        rows: One for each cell, of one machine.
        run_cells: The cells of a run; cells without a row are pending, others were left out with a reason.
    """
    settings = settings_by_cell(rows)
    places = {cell["cell_id"]: index for index, cell in enumerate(run_cells) if cell.get("cell_id")}
    seeds = {id(row): seeds_of(row) for row in rows}
    parts = sorted(_by_settings(rows, settings, seeds), key=lambda part: _place(part[0], places))
    grown = [_finished_part(part, settings[part[0]["cell_id"]], seeds, variant) for part, variant in parts]
    _add_unstarted(grown, [cell for cell in run_cells if cell.get("cell_id") not in settings])
    return [part.group() for part in grown]


@dataclass(slots=True)
class _Part:
    """A group that is being made: a row or planned cell of it that has its names, its settings, and its cells so far."""

    named: Mapping[str, Any]
    settings: Mapping[str, Any]
    cells: list[CellOutcome]
    last_run: int = 0

    @property
    def names(self) -> tuple[str, str, str]:
        return self.named["dataset"], self.named["model"], self.named["strategy"]

    def group(self) -> Group:
        label = self.named.get("strategy_label") or self.names[2]
        in_order = sorted(self.cells, key=_identity)
        return Group(*self.names, label, self.settings, *as_repetitions(in_order), self.last_run)


def _by_settings(
    rows: Sequence[ResultRow], settings: Mapping[str, Mapping[str, Any]], seeds: Mapping[int, Mapping[str, int]]
) -> list[tuple[list[ResultRow], int]]:
    """Rows with equal names and settings, their own and their ancestors'; each part with its number as a variant.

    Two cells may agree in all that and in their seeds, for example the same cell under another `training_version`. They
    become different variants, the newest first, because results of different programs are never averaged.
    """
    cells = {row["cell_id"]: row for row in rows}
    # of the same record the same key: cells of a group share theirs
    keys = {id(record): key_of(record) for record in {id(each): each for each in settings.values()}.values()}
    keys_of_cells = {cell_id: keys[id(record)] for cell_id, record in settings.items()}
    parts: dict[tuple[Any, ...], list[ResultRow]] = {}
    variants: dict[tuple[Any, ...], int] = {}
    for row in sorted(rows, key=lambda row: -(row.get("execution_id") or 0)):
        key = tuple(_lineage(row, cells, keys_of_cells))
        own = tuple(seeds[id(row)].items())
        variant = variants[*key, own] = variants.get((*key, own), 0) + 1
        parts.setdefault((*key, variant), []).append(row)
    return [(part, key[-1]) for key, part in parts.items()]


def _lineage(row: ResultRow, cells: Mapping[str, ResultRow], keys: Mapping[str, str]) -> Iterable[str]:
    """Names and settings of the row's cell, then of its parent, and so on."""
    seen: set[str] = set()
    current: ResultRow | None = row
    while current is not None and current["cell_id"] not in seen:
        seen.add(current["cell_id"])
        yield from (current["dataset"], current["model"], current["strategy"], keys[current["cell_id"]])
        current = cells.get(current.get("parent_cell_id") or "")


def _finished_part(
    rows: Sequence[ResultRow], settings: Mapping[str, Any], seeds: Mapping[int, Mapping[str, int]], variant: int
) -> _Part:
    newest = max(rows, key=lambda row: row.get("run_id") or 0)
    settings = {**settings, "variant": variant} if variant > 1 else settings
    return _Part(
        newest, settings, [CellOutcome(seeds[id(row)], _result(row)) for row in rows], newest.get("run_id") or 0
    )


def _result(row: ResultRow) -> ResultRow | Missing:
    status, cause = row["status"], row.get("cause")
    if status == Status.COMPLETED:
        return row
    what = f"{status} ({cause})" if cause and cause not in {status, Cause.PARENT} else str(status)
    return Missing(row["seed"], what, _short(uncolored(row.get("detail") or "")), row)


def _short(reason: Any) -> str:
    text = " ".join(str(reason or "").split())
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def _place(rows: Sequence[ResultRow], places: Mapping[str, int]) -> tuple[Any, ...]:
    known = [places[row["cell_id"]] for row in rows if row["cell_id"] in places]
    names = (rows[0]["dataset"], rows[0]["model"], rows[0]["strategy"])
    oldest = min(row.get("execution_id") or 0 for row in rows)
    return (0, min(known)) if known else (1, *map(natural, names), oldest)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts v2 before v10."""
    parts = re.findall(r"\d{1,18}|\D+|\d+", text)
    return tuple((0, int(part), "") if part.isdecimal() and len(part) <= 18 else (1, 0, part) for part in parts)


def _add_unstarted(grown: list[_Part], cells: Sequence[Mapping[str, Any]]) -> None:
    """Add the cells without an execution: to the only part that they can belong to, else as a part of their own."""
    parts: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for cell in cells:
        names = (cell["dataset"], cell["model"], cell["strategy"])
        why = "" if cell.get("cell_id") else str(cell.get("reason"))
        parts.setdefault((*names, key_of(_known_settings(cell)), why), []).append(cell)
    by_names: dict[tuple[str, str, str], list[_Part]] = {}
    for begun in grown:
        by_names.setdefault(begun.names, []).append(begun)
    for part in parts.values():
        unstarted = _Part(
            part[0], _known_settings(part[0]), [CellOutcome(seeds_of(cell), _unstarted(cell)) for cell in part]
        )
        same_names = by_names.setdefault(unstarted.names, [])
        known = _part_of(same_names, unstarted)
        if known is None:
            grown.append(unstarted)
            same_names.append(unstarted)
        else:
            known.cells += unstarted.cells


def _unstarted(cell: Mapping[str, Any]) -> Missing:
    if cell.get("cell_id") is None or cell.get("outcome") == "left_out":
        return Missing(cell["seed"], "left out", _short(cell.get("reason")))
    return Missing(cell["seed"], Status.PENDING, "not started yet")


def _known_settings(cell: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a cell, or none: a few columns alone cannot be compared with a whole record."""
    return settings_of(cell) if cell.get("spec") else {}


def _part_of(parts: Sequence[_Part], unstarted: _Part) -> _Part | None:
    """The only part of those with its names that has its settings and none of its seeds; None for none or several."""
    # of what was left out only the seed itself is known
    identity = _identity if unstarted.settings else lambda cell: cell.seeds["seed"]
    seeds = set(map(identity, unstarted.cells))
    if len(seeds) < len(unstarted.cells):
        return None
    candidates = [
        part
        for part in parts
        if not seeds & set(map(identity, part.cells))
        and (not unstarted.settings or not part.settings or key_of(unstarted.settings) == key_of(part.settings))
    ]
    return candidates[0] if len(candidates) == 1 else None


def _identity(cell: CellOutcome) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(cell.seeds.items()))


def varying_settings(groups: Iterable[Group]) -> list[str]:
    """Names of the settings that differ between groups of the same dataset, model and strategy, in recorded order."""
    by_names: dict[tuple[str, str, str], list[Group]] = {}
    names: dict[str, None] = {}
    for group in groups:
        if group.settings:
            by_names.setdefault(group.names, []).append(group)
            names.update(dict.fromkeys(group.settings))

    several = [groups for groups in by_names.values() if len(groups) > 1]

    def varies(name: str, groups: Iterable[Group]) -> bool:
        return len({value_key(group.settings.get(name)) for group in groups}) > 1

    return [name for name in names if any(varies(name, groups) for groups in several)]


def partner(group: Group, candidates: Iterable[Group], varying: Sequence[str]) -> Group | None:
    """The candidate that agrees with the group in most of the varying settings; of equal ones, that of the latest run.

    Args:
        group: What is to be compared.
        candidates: Groups it may be compared with, such as those of another strategy.
        varying: Names of the settings that are axes of the matrix (`varying_settings`).
    """

    def rank(other: Group) -> tuple[int, int]:
        return sum(agree(group.settings, other.settings, name) for name in varying), other.last_run

    return max(candidates, key=rank, default=None)


def partners(candidates: Iterable[Group], varying: Sequence[str]) -> Callable[[Group], Group | None]:
    """A function that gives the `partner` of a group among candidates, fast where one agrees in all varying settings."""
    known = sorted(candidates, key=lambda each: each.last_run)
    exact = {setting_key(each, varying): each for each in known}
    return lambda group: exact.get(setting_key(group, varying)) or partner(group, known, varying)


def setting_key(group: Group, varying: Sequence[str]) -> tuple[Any, ...]:
    """The values of the varying settings, as something hashable."""
    return tuple(value_key(group.settings.get(name)) for name in varying)


def where(group: Group, varying: Sequence[str]) -> str:
    """The dataset, model and varying settings of a comparison, for its title: `digits, simple_cnn, threads 2`."""
    return ", ".join([group.dataset, group.model, *group.describe(varying)])
