"""Makes groups of the rows of cells, and of the cells that a run planned beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import cell_id_of
from benchmark.reporting.rows.flat_settings import key_of, settings_by_cell, settings_of
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.repetitions import CellOutcome, Missing, as_repetitions, seeds_of
from benchmark.status import Cause, Status
from benchmark.text import uncolored

LONGEST_REASON = 300


def group_cells(
    rows: Sequence[ResultRow], run_cells: Sequence[Mapping[str, Any]] = (), left_out: Sequence[ResultRow] = ()
) -> list[Group]:
    """Group rows, and the cells that a run planned beside them, in the order of the matrix where it is known.

    Args:
        rows: One for each cell, of one machine.
        run_cells: The cells of a run; cells without a row are pending, others were left out with a reason.
        left_out: Rows of further cells, which are not shown and not pending; others may start from them.
    """
    settings = settings_by_cell([*left_out, *rows])
    places = {cell["cell_id"]: index for index, cell in enumerate(run_cells) if cell.get("cell_id")}
    seeds = _seeds(rows, settings)
    parts = sorted(_by_settings(rows, settings, seeds, left_out), key=lambda part: _place(part[0], places))
    grown = [_finished_part(part, settings[part[0]["cell_id"]], seeds, variant) for part, variant in parts]
    _add_unstarted(grown, [cell for cell in run_cells if cell.get("cell_id") not in settings])
    return [part.group() for part in grown]


def _seeds(rows: Iterable[ResultRow], settings: Mapping[str, Mapping[str, Any]]) -> dict[int, Mapping[str, int]]:
    """`seeds_of` each row, by its `id`; cells that share a record (`settings_by_cell`) differ in the seed alone."""
    known: dict[int, Mapping[str, int]] = {}
    seeds: dict[int, Mapping[str, int]] = {}
    for row in rows:
        record = id(settings[row["cell_id"]])
        if record not in known:
            known[record] = seeds_of(row)
        seeds[id(row)] = {**known[record], "seed": row["seed"]}
    return seeds


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
    rows: Sequence[ResultRow],
    settings: Mapping[str, Mapping[str, Any]],
    seeds: Mapping[int, Mapping[str, int]],
    left_out: Sequence[ResultRow],
) -> list[tuple[list[ResultRow], int]]:
    """Rows with equal names and settings, their own and their ancestors'; each part with its number as a variant, 0 for the only one.

    Two cells may agree in all that and in their seeds: the same cell under another `training_version`. They become
    different variants, the newest first, because results of different programs are never averaged.
    """
    cells = {row["cell_id"]: row for row in (*left_out, *rows)}
    # of the same record the same key: cells of a group share theirs
    keys = {id(record): key_of(record) for record in {id(each): each for each in settings.values()}.values()}
    keys_of_cells = {cell_id: keys[id(record)] for cell_id, record in settings.items()}
    alike: dict[tuple[str, ...], list[ResultRow]] = {}
    for row in sorted(rows, key=lambda row: -(row.get("execution_id") or 0)):
        alike.setdefault(tuple(_lineage(row, cells, keys_of_cells)), []).append(row)
    return [part for several in alike.values() for part in _variants(several, seeds)]


def _variants(
    rows: Sequence[ResultRow], seeds: Mapping[int, Mapping[str, int]]
) -> Iterable[tuple[list[ResultRow], int]]:
    """Rows that agree in all but their seeds, newest first, as parts without a seed twice; 0 numbers the only part, 1 the newest."""
    own = {id(row): tuple(seeds[id(row)].items()) for row in rows}
    if len({*own.values()}) == len(rows):
        return [([*rows], 0)]
    earlier = {id(row): _is_of_earlier_version(row) for row in rows}
    least = 1 if all(earlier.values()) else 2
    parts: dict[int, list[ResultRow]] = {}
    last: dict[tuple[Any, ...], int] = {}
    for row in sorted(rows, key=lambda row: earlier[id(row)]):
        seed = own[id(row)]
        last[seed] = max(last.get(seed, 0) + 1, least if earlier[id(row)] else 1)
        parts.setdefault(last[seed], []).append(row)
    return [(part, number) for number, part in sorted(parts.items())]


def _is_of_earlier_version(row: ResultRow) -> bool:
    """Whether the cell would have another id today: of one and the same program all seeds have ids of that program."""
    spec = row.get("spec") or {}
    record = json.loads(spec) if isinstance(spec, str) else spec
    return bool(record) and cell_id_of(Cell.from_dict(record)) != row["cell_id"]


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
    settings = {**settings, "variant": "newest" if variant == 1 else f"{variant}, older"} if variant else settings
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
