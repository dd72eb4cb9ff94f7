"""Which recorded results a command is about: by selection, or by CELL, an id prefix or a selection that matches one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.cli.cell_names import short_id
from benchmark.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from benchmark.reporting.rows.classes import Load
    from benchmark.results.store.database import Database

SHOWN_CANDIDATES = 8


def selected_results(
    database: Database, select: Sequence[str], exclude: Sequence[str] = (), *, newest: bool = False, **columns: Any
) -> list[dict[str, Any]]:
    """Results that a selection matches, oldest execution first, each with its cell in `spec`.

    Args:
        database: Open for reading.
        select: Expressions such as `model=resnet*,seed=0`; a union.
        exclude: Likewise, for rows to leave out.
        newest: Only the newest execution of each cell on each machine.
        **columns: Values that columns must have; None asks nothing.
    """
    from benchmark.matrix.selection import parse_selection
    from benchmark.results.read import queries

    wanted, unwanted = parse_selection(select), parse_selection(exclude)
    filters = {key: value for key, value in columns.items() if value is not None}
    rows = queries.results(database, newest=newest, spec=True, **filters)
    if not wanted and not unwanted:
        return rows
    records = [(row, _settings(row)) for row in rows]
    return [row for row, record in records if wanted.matches(record) and not (unwanted and unwanted.matches(record))]


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with every setting of its cell, for a selection to look at."""
    from benchmark.matrix.cell import Cell
    from benchmark.matrix.settings import cell_settings

    return {**row, **cell_settings(Cell.from_dict(json.loads(row["spec"])))}


def stored_predictions(database: Database) -> Load:
    """Reads recorded test predictions when they are asked for, while the database is open."""
    from benchmark.reporting.rows.predictions import decode
    from benchmark.results.read import queries

    return lambda ids: {key: decode(row) for key, row in queries.predictions(database, ids).items()}


def find_cell(database: Database, meant: str) -> str:
    """The beginning of the id of the one recorded cell that `meant` names.

    Raises:
        NotFoundError: A selection matches none.
        UserError: It matches several.
    """
    if "=" not in meant:
        return meant
    found = {row["cell_id"]: row for row in selected_results(database, [meant], newest=True)}
    if not found:
        raise NotFoundError(f"CELL: no recorded cell matches {meant[:200]!r}; `bench list cells` shows them")
    if len(found) > 1:
        raise UserError(_several(meant, list(found.values())))
    return str(next(iter(found)))


def _several(meant: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"  {short_id(row['cell_id'])} {row['dataset']} {row['model']} {row['strategy']} seed {row['seed']}"
        for row in rows[:SHOWN_CANDIDATES]
    ]
    more = [f"  and {len(rows) - SHOWN_CANDIDATES} more"] if len(rows) > SHOWN_CANDIDATES else []
    return "\n".join([f"CELL: expected one cell, {meant[:200]!r} matches {len(rows)}:", *lines, *more])
