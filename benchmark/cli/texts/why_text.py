"""What `bench why` says: why a cell ran again, or would, and which cells are nearest to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from benchmark.cli.cell_lookup import find_cell, several_match
from benchmark.cli.cell_names import cell_label
from benchmark.errors import NewerRecordError, NotFoundError, UserError
from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import changed_keys, identity_parts
from benchmark.matrix.selection import NAME_KEYS, parse_selection
from benchmark.matrix.settings import cell_settings
from benchmark.reporting.rows.latest import cell_of
from benchmark.results.read import cell_states, queries
from benchmark.results.read.runs import all_runs
from benchmark.results.records import Recorded
from benchmark.results.store.database import Database, open_database
from benchmark.scheduling.decisions.reuse import Decision, decide
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import Outlook

SHORTEST_PREFIX = 4
SHOWN_NEIGHBOURS = 3
_PARENT = "weights.parent_cell_id"


def why(text: str, planned: Mapping[str, Cell], path: str, database: str, options: RunOptions) -> dict[str, Any]:
    """What `bench why` says of the one cell that a text names, as `--format json` has it.

    Args:
        text: The beginning of a cell's id, or a selection.
        planned: The cells of the matrix by id; none where there is no matrix.
        path: Of the matrix, as it was named.
        database: Path or URL.
        options: Those of the run that is asked about.

    Raises:
        NotFoundError: No cell is meant.
        UserError: Several are, or the id is too short.
    """
    wanted = _matcher(text, planned.values())
    matching = [cell for cell in planned.values() if wanted(cell)]
    try:
        opened = open_database(database, mode="read")
    except NotFoundError:
        if not matching:
            raise
        cell = _only(matching, text)
        return _document(cell, decide(list(planned.values()), Recorded(), options)[cell.cell_id], [], [])
    with opened:
        if matching:
            return _of_planned(opened, _only(matching, text), planned, options)
        return _of_recorded(opened, text, planned, path)


def _matcher(text: str, planned: Collection[Cell]) -> Callable[[Cell], bool]:
    if "=" in text:
        known = {key: {getattr(cell, key) for cell in planned} for key in NAME_KEYS}
        selection = parse_selection([text]).exact(known)
        names = ("cell_id", "dataset", "model", "strategy", "strategy_label", "device_kind", "parent_cell_id")
        return lambda cell: selection.matches({**{name: getattr(cell, name) for name in names}, **cell_settings(cell)})
    prefix = text.strip().lower()
    if len(prefix) < SHORTEST_PREFIX:
        raise UserError(f"cell {text!r}: expected at least the first {SHORTEST_PREFIX} digits of a cell id")
    return lambda cell: cell.cell_id.startswith(prefix)


def _only(matching: Sequence[Cell], text: str) -> Cell:
    if len(matching) > 1:
        raise several_match(text, matching)
    return matching[0]


def _of_planned(opened: Database, cell: Cell, planned: Mapping[str, Cell], options: RunOptions) -> dict[str, Any]:
    """A cell of the matrix: what the next run does with it."""
    recorded = _recorded(opened, cell)
    decision = decide(list(planned.values()), cell_states.recorded(opened, options.machine), options)[cell.cell_id]
    executions = queries.cell_detail(opened, cell.cell_id).executions if cell.cell_id in recorded else []
    runs = all_runs(opened)
    near = [] if executions else nearest(cell, recorded, planned, is_recorded=False)
    return _document(cell, decision, near, history_of(executions, runs))


def _of_recorded(opened: Database, text: str, planned: Mapping[str, Cell], path: str) -> dict[str, Any]:
    """A cell that the matrix has no more: what has become of it there."""
    detail = find_cell(opened, text)
    runs = all_runs(opened)
    cell = cell_of(detail.cell)
    near = nearest(cell, _recorded(opened, cell), planned, is_recorded=True)
    where = f"{path} does not have it any more" if planned else f"there is no {path} here to have it"
    answer = _document(cell, Decision(Outlook.SETTLED, where), near, history_of(detail.executions, runs))
    return {**answer, "nearest_is": "planned"}


def _recorded(opened: Database, cell: Cell) -> dict[str, Cell]:
    """The recorded cells with the same names, and the ancestors of all of them."""
    cells = cells_of(queries.cell_specs(opened, dataset=cell.dataset, model=cell.model, strategy=cell.strategy))
    # by its id too: a cell keeps it when only its names are other ones today
    missing = {cell.cell_id, *(each.parent_cell_id for each in cells.values())} - cells.keys() - {None}
    while missing:
        more = cells_of(queries.cell_specs(opened, cell_id=sorted(missing)))
        cells |= more
        missing = {each.parent_cell_id for each in more.values()} - cells.keys() - {None}
    return cells


def _document(
    cell: Cell, decision: Decision, near: Sequence[dict[str, Any]], executions: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "cell_id": cell.cell_id,
        "label": cell_label(cell),
        **decision.record(),
        "nearest_is": "recorded",
        "nearest": near,
        "executions": executions,
    }


def nearest(
    cell: Cell, recorded: Mapping[str, Cell], planned: Mapping[str, Cell], *, is_recorded: bool
) -> list[dict[str, Any]]:
    """The cells of the other side with the same names that differ least from a cell, nearest first.

    Args:
        cell: The one that is asked about.
        recorded: Cells of the database by id.
        planned: Cells of the matrix by id.
        is_recorded: Whether the cell is one of the recorded ones, and is compared with the planned ones.

    Returns:
        For each its `cell_id`, its `label` and what has `changed`: the `key`, and its value as `recorded` and `now`.
    """
    others = (planned if is_recorded else recorded).values()
    same_names = [other for other in others if all(getattr(other, name) == getattr(cell, name) for name in NAME_KEYS)]
    alike = [other for other in same_names if other.cell_id != cell.cell_id]
    near = []
    for other in [other for other in alike if other.seed == cell.seed] or alike:
        before, now = (cell, other) if is_recorded else (other, cell)
        keys = ("key", "recorded", "now")
        changed = [dict(zip(keys, each, strict=True)) for each in changes(before, now, recorded, planned)]
        near.append({"cell_id": other.cell_id, "label": cell_label(other), "changed": changed})
    return sorted(near, key=lambda each: len(each["changed"]))[:SHOWN_NEIGHBOURS]


def changes(
    before: Cell, now: Cell, recorded: Mapping[str, Cell], planned: Mapping[str, Cell]
) -> list[tuple[str, Any, Any]]:
    """What of a cell's identity is not as it was: dotted keys with both values; a parent's changes in its place."""
    old, new = identity_parts(before), identity_parts(now)
    changed = []
    for key in changed_keys(old, new):
        parents = recorded.get(before.parent_cell_id or ""), planned.get(now.parent_cell_id or "")
        if key == _PARENT and parents[0] is not None and parents[1] is not None:
            changed += [(f"parent.{inner}", *values) for inner, *values in changes(*parents, recorded, planned)]  # type: ignore[arg-type]
        else:
            changed.append((key, _value_of(old, before, key), _value_of(new, now, key)))
    # the numbers of a cell are those of a training version, which its record does not hold
    return changed or [("training_version", "an earlier one", new["training_version"])]


def _value_of(parts: Mapping[str, Any], cell: Cell, key: str) -> Any:
    """What of a cell stands under a dotted key; what is not part of its identity has its default."""
    value = value_at(parts, key)
    return value_at(cell.to_dict(), key) if value is None else value


def value_at(record: Any, key: str) -> Any:
    """The value under a dotted key such as `stages[1].epochs`; None when there is none."""
    for part in key.replace("[", ".[").split("."):
        if part.startswith("["):
            number = int(part[1:-1])
            record = record[number] if number < len(record) else None
        else:
            table = dict(record) if isinstance(record, list | tuple) else record
            record = table.get(part) if isinstance(table, Mapping) else None
    return record


def history_of(executions: Sequence[Mapping[str, Any]], runs: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each execution of a cell with why it began: what had changed since the one before it on the same machine."""
    rows = []
    newest: dict[str, Mapping[str, Any]] = {}
    for row in executions:
        before = newest.get(row["machine"])
        run = runs.get(row["first_run_id"], {})
        shown = {key: row[key] for key in ("execution_id", "machine", "run_id", "status", "cause")}
        rows.append({**shown, "began": _why_again(before, row, run) if before else "the first on this machine"})
        newest[row["machine"]] = row
    return rows


def _why_again(before: Mapping[str, Any], now: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    command = str(run.get("command") or "")
    if "--rerun" in command.split() or command.startswith("bench reproduce"):
        return f"asked for: {command}"
    old, new = before["data_fingerprint"], now["data_fingerprint"]
    if None not in {old, new} and old != new:
        return f"its data had changed: fingerprint {old[:12]} before, {new[:12]} then"
    weights = {before["weights_sha256"], now["weights_sha256"]}
    if len(weights) > 1 and None not in weights:
        return "the weights of its parent had changed"
    return "a file of the one before was missing or damaged, or a child needed its weights"


def cells_of(specs: Mapping[str, str]) -> dict[str, Cell]:
    """Recorded cells by id; those that only a newer version can read are left out."""
    cells = {}
    for cell_id, spec in specs.items():
        try:
            cells[cell_id] = Cell.from_dict(json.loads(spec))
        except (KeyError, TypeError, ValueError, AttributeError, NewerRecordError):
            continue
    return cells
