"""Groups of cells that differ in their seed alone; most rows of tables show one group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.reporting.rows.flat_settings import agree, describe, key_of, settings_of
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import Metric, invalid_timing, value_of
from benchmark.status import Cause, Status
from benchmark.text import uncolored

LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Missing:
    """A seed without a result.

    Attributes:
        seed: Which one.
        what: What became of it: `failed (oom)`, `diverged`, `pending`, `left out`, …
        reason: More about it; may be empty.
        row: Its latest execution; None when it never began.
    """

    seed: int
    what: str
    reason: str
    row: ResultRow | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that differ in their seed alone.

    Attributes:
        dataset, model, strategy: The names.
        label: The strategy's description in reports.
        settings: All other settings (`flat_settings.settings_of`); empty for combinations that were left out.
        completed: The rows with a result, by seed.
        missing: The seeds without a result.
        last_run: The highest run id among its rows.
    """

    dataset: str
    model: str
    strategy: str
    label: str
    settings: Mapping[str, Any]
    completed: Mapping[int, ResultRow]
    missing: tuple[Missing, ...]
    last_run: int = 0

    @property
    def names(self) -> tuple[str, str, str]:
        return self.dataset, self.model, self.strategy

    @property
    def planned(self) -> int:
        return len(self.completed) + len(self.missing)

    @property
    def cell_ids(self) -> tuple[str, ...]:
        """Of the completed rows, in the order of the seeds."""
        return tuple(row["cell_id"] for row in self.completed.values())

    @property
    def execution_ids(self) -> list[int]:
        """Of the completed rows, in the order of the seeds."""
        return [row["execution_id"] for row in self.completed.values()]

    def describe(self, varying: Sequence[str]) -> list[str]:
        """The settings of these names that the group has, in words: `threads 2`."""
        return [f"{name} {describe(self.settings[name])}" for name in varying if name in self.settings]

    def values(self, metric: Metric) -> dict[int, float]:
        """The metric by seed, of the seeds that completed and have it."""
        values = {seed: value_of(row, metric) for seed, row in self.completed.items()}
        return {seed: value for seed, value in values.items() if value is not None}

    def marked_values(self, metric: Metric) -> tuple[dict[int, float], str]:
        """The metric by seed; of a timing that is valid for no seed those that are not, and why they are not, in words."""
        values = self.values(metric)
        if values or not metric.is_timing:
            return values, ""
        rows = {seed: row for seed, row in self.completed.items() if row.get(metric.key) is not None}
        reasons = dict.fromkeys(invalid_timing(row) for row in rows.values())
        return {seed: float(row[metric.key]) for seed, row in rows.items()}, "; ".join(reasons)


def group_cells(rows: Sequence[ResultRow], run_cells: Sequence[Mapping[str, Any]] = ()) -> list[Group]:
    """Group rows, and the cells that a run planned beside them, in the order of the matrix where it is known.

    Args:
        rows: One for each cell, of one machine.
        run_cells: The cells of a run; cells without a row are pending, others were left out with a reason.
    """
    settings = {row["cell_id"]: settings_of(row) for row in rows}
    places = {cell["cell_id"]: index for index, cell in enumerate(run_cells) if cell.get("cell_id")}
    parts = sorted(_by_settings(rows, settings), key=lambda part: _place(part[0], places))
    groups = [_finished_group(part, settings[part[0]["cell_id"]], variant) for part, variant in parts]
    return _with_unstarted(groups, [cell for cell in run_cells if cell.get("cell_id") not in settings])


def _by_settings(
    rows: Sequence[ResultRow], settings: Mapping[str, Mapping[str, Any]]
) -> list[tuple[list[ResultRow], int]]:
    """Rows with equal names and settings, their own and their ancestors'; each part with its number as a variant.

    Two cells may agree in all that and in the seed, for example the same cell under another `training_version`. They
    become different variants, the newest first, because results of different programs are never averaged.
    """
    cells = {row["cell_id"]: row for row in rows}
    parts: dict[tuple[Any, ...], list[ResultRow]] = {}
    variants: dict[tuple[Any, ...], int] = {}
    for row in sorted(rows, key=lambda row: -(row.get("execution_id") or 0)):
        key = tuple(_lineage(row, cells, settings))
        variant = variants[*key, row["seed"]] = variants.get((*key, row["seed"]), 0) + 1
        parts.setdefault((*key, variant), []).append(row)
    return [(part, key[-1]) for key, part in parts.items()]


def _lineage(
    row: ResultRow, cells: Mapping[str, ResultRow], settings: Mapping[str, Mapping[str, Any]]
) -> Iterable[str]:
    """Names and settings of the row's cell, then of its parent, and so on."""
    seen: set[str] = set()
    current: ResultRow | None = row
    while current is not None and current["cell_id"] not in seen:
        seen.add(current["cell_id"])
        yield from (current["dataset"], current["model"], current["strategy"], key_of(settings[current["cell_id"]]))
        current = cells.get(current.get("parent_cell_id") or "")


def _finished_group(rows: Sequence[ResultRow], settings: Mapping[str, Any], variant: int) -> Group:
    by_seed = sorted(rows, key=lambda row: row["seed"])
    newest = max(rows, key=lambda row: row.get("run_id") or 0)
    completed = {row["seed"]: row for row in by_seed if row["status"] == Status.COMPLETED}
    missing = []
    for row in by_seed:
        status, cause = row["status"], row.get("cause")
        if status != Status.COMPLETED:
            what = f"{status} ({cause})" if cause and cause not in {status, Cause.PARENT} else str(status)
            missing.append(Missing(row["seed"], what, _short(uncolored(row.get("detail") or "")), row))
    settings = {**settings, "variant": variant} if variant > 1 else settings
    return _group(newest, settings, completed, missing, newest.get("run_id") or 0)


def _group(
    named: Mapping[str, Any],
    settings: Mapping[str, Any],
    completed: Mapping[int, ResultRow],
    missing: Iterable[Missing],
    last_run: int = 0,
) -> Group:
    names = named["dataset"], named["model"], named["strategy"]
    in_order = tuple(sorted(missing, key=lambda each: each.seed))
    return Group(*names, named.get("strategy_label") or names[2], settings, completed, in_order, last_run)


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


def _with_unstarted(groups: Sequence[Group], cells: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Add the cells without an execution: to the only group that they can belong to, else as a group of their own."""
    parts: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for cell in cells:
        names = (cell["dataset"], cell["model"], cell["strategy"])
        why = "" if cell.get("cell_id") else str(cell.get("reason"))
        parts.setdefault((*names, key_of(_known_settings(cell)), why), []).append(cell)
    grown = list(groups)
    for part in parts.values():
        missing = [
            Missing(cell["seed"], "left out", _short(cell.get("reason")))
            if cell.get("cell_id") is None or cell.get("outcome") == "left_out"
            else Missing(cell["seed"], Status.PENDING, "not started yet")
            for cell in part
        ]
        index = _index_of_group(grown, part)
        if index is None:
            grown.append(_group(part[0], _known_settings(part[0]), {}, missing))
        else:
            missing += grown[index].missing
            grown[index] = replace(grown[index], missing=tuple(sorted(missing, key=lambda each: each.seed)))
    return grown


def _known_settings(cell: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a cell, or none: a few columns alone cannot be compared with a whole record."""
    return settings_of(cell) if cell.get("spec") else {}


def _index_of_group(groups: Sequence[Group], cells: Sequence[Mapping[str, Any]]) -> int | None:
    """The only group with these names and settings and without these seeds; None where there is none or several."""
    first, seeds = cells[0], {cell["seed"] for cell in cells}
    if len(seeds) < len(cells):
        return None
    settings = _known_settings(first)
    candidates = [
        index
        for index, group in enumerate(groups)
        if group.names == (first["dataset"], first["model"], first["strategy"])
        and not seeds & (group.completed.keys() | {each.seed for each in group.missing})
        and (not settings or not group.settings or key_of(settings) == key_of(group.settings))
    ]
    return candidates[0] if len(candidates) == 1 else None


def varying_settings(groups: Iterable[Group]) -> list[str]:
    """Names of the settings that differ between groups of the same dataset, model and strategy, in recorded order."""
    by_names: dict[tuple[str, str, str], list[Group]] = {}
    names: dict[str, None] = {}
    for group in groups:
        if group.settings:
            by_names.setdefault(group.names, []).append(group)
            names.update(dict.fromkeys(group.settings))

    def varies(name: str, groups: Iterable[Group]) -> bool:
        return len({key_of({"": group.settings.get(name)}) for group in groups}) > 1

    return [name for name in names if any(varies(name, groups) for groups in by_names.values())]


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


def where(group: Group, varying: Sequence[str]) -> str:
    """The dataset, model and varying settings of a comparison, for its title: `digits, simple_cnn, threads 2`."""
    return ", ".join([group.dataset, group.model, *group.describe(varying)])
