"""Which recorded results a command is about: by selection, or by CELL, an id prefix or a selection that matches one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.catalog.backends import trains
from benchmark.cli.cell_names import short_id
from benchmark.errors import NotFoundError, UserError
from benchmark.status import Status
from benchmark.text import one_line

if TYPE_CHECKING:
    from benchmark.reporting.rows.predictions import LoadPredictions
    from benchmark.results.store.database import Database
    from benchmark.scheduling.programs.inference import Trained

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


def stored_predictions(database: Database) -> LoadPredictions:
    """A reader of recorded test predictions; it needs the database open."""
    from benchmark.reporting.rows.predictions import decode
    from benchmark.results.read import queries

    return lambda ids: {key: decode(row) for key, row in queries.predictions(database, ids).items()}


def find_cell(database: Database, text: str) -> str:
    """The id, or the beginning of an id as it was typed, of the one recorded cell that a text names.

    Raises:
        NotFoundError: A selection matches none.
        UserError: It matches several.
    """
    if "=" not in text:
        return text
    matching = {row["cell_id"]: row for row in selected_results(database, [text], newest=True)}
    if not matching:
        raise NotFoundError(f"CELL: no recorded cell matches {text[:200]!r}; `bench list cells` shows them")
    if len(matching) > 1:
        labels = {
            cell_id: f"{row['dataset']} {row['model']} {row['strategy']} seed {row['seed']}"
            for cell_id, row in matching.items()
        }
        raise several_match(text, labels)
    return str(next(iter(matching)))


def several_match(text: str, labels: Mapping[str, str]) -> UserError:
    """The error for a selection that should match one cell and matches several; `labels` are theirs, by cell id."""
    lines = [one_line(f"  {short_id(cell_id)} {label}") for cell_id, label in labels.items()][:SHOWN_CANDIDATES]
    more = [f"  and {len(labels) - SHOWN_CANDIDATES} more"] if len(labels) > SHOWN_CANDIDATES else []
    return UserError("\n".join([f"CELL: expected one cell, {text[:200]!r} matches {len(labels)}:", *lines, *more]))


def trained_cell(database: Database, cell_id: str, machine: str | None, target: str) -> Trained:
    """The newest finished execution of a cell with its kept weights; `target` is the database as it was named."""
    from benchmark.matrix.cell import Cell
    from benchmark.results.read import queries
    from benchmark.results.store.artifact_folder import folder_of
    from benchmark.scheduling.programs.inference import Trained

    detail = queries.cell_detail(database, cell_id)
    cell = Cell.from_dict(json.loads(detail.cell["spec"]))
    done = [row for row in detail.executions if row["status"] == Status.COMPLETED and machine in {None, row["machine"]}]
    where = f" on machine {machine!r}" if machine else ""
    if not done:
        raise UserError(f"CELL {short_id(cell_id)}: expected a completed cell{where}; see: bench show {cell_id[:8]}")
    if not trains(cell.backend):
        raise UserError(f"CELL {short_id(cell_id)}: its backend ({cell.backend}) trains no network to predict with")
    newest = max(row["execution_id"] for row in done)
    kept = [row for row in detail.artifacts if row["execution_id"] == newest and row["kind"] == "weights"]
    root = folder_of(target).resolve()
    path = (root / kept[-1]["path"]).resolve() if kept else root
    if not kept or not path.is_relative_to(root) or not path.is_file():
        raise NotFoundError(
            f"CELL {short_id(cell_id)}: its weights are not here: expected {path}. The reference results and copies of a "
            f"database come without such files; train it here with: bench run --select cell_id={cell_id}"
        )
    return Trained(cell, path, kept[-1]["sha256"])
