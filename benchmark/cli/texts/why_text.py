"""Why a cell ran again, and which recorded cells are nearest to it: what `bench why` prints beside a decision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.cli.cell_names import cell_label
from benchmark.errors import NewerRecordError
from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import changed_keys, identity_parts
from benchmark.matrix.selection import NAME_KEYS

SHOWN_NEIGHBOURS = 3
_PARENT = "weights.parent_cell_id"


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
