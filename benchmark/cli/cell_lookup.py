"""Which recorded results a command is about: by selection, or by CELL, an id prefix or a selection that matches one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from benchmark import units
from benchmark.catalog.backends import runs_commands, trains
from benchmark.cli.cell_names import cell_label, short_id
from benchmark.errors import NotFoundError, UserError
from benchmark.matrix.cell import Cell
from benchmark.matrix.selection import NAME_KEYS, Selection, parse_selection
from benchmark.matrix.settings import cell_settings
from benchmark.reporting.predictions.stored_predictions import LoadPredictions, Predictions, decode
from benchmark.reporting.rows.latest import cell_of
from benchmark.reporting.rows.training_budget import LoadEpochs
from benchmark.results.artifacts.artifact_place import place_of
from benchmark.results.read import queries
from benchmark.results.store.database import Database
from benchmark.scheduling.programs.inference import Trained
from benchmark.status import Status
from benchmark.text import one_line

SHOWN_CANDIDATES = 8


def selected_results(
    database: Database,
    select: Sequence[str],
    exclude: Sequence[str] = (),
    *,
    newest: bool = False,
    may_be_none: bool = False,
    **columns: Any,
) -> list[dict[str, Any]]:
    """Results that a selection matches, oldest execution first, each with its cell in `spec`.

    A name that a result has means itself before it is read as a glob.

    Args:
        database: Open for reading.
        select: Expressions such as `model=resnet*,seed=0`; a union.
        exclude: Likewise, for rows to leave out.
        newest: Only the newest execution of each cell on each machine.
        may_be_none: Nothing may match, as long as every dataset, model, strategy and machine that is asked for is there.
        **columns: Values that columns must have; None asks nothing.

    Raises:
        NotFoundError: There are results, but none that match.
    """
    wanted, unwanted = parse_selection(select), parse_selection(exclude)
    filters = {key: value for key, value in columns.items() if value is not None}
    rows = queries.results(database, newest=newest, spec=True, **filters)
    if not rows and "machine" in filters:
        check_machine(queries.results(database), filters["machine"])
    if not rows or (not wanted and not unwanted):
        return rows
    known = {key: {row.get(key) for row in rows} for key in (*NAME_KEYS, "strategy_label", "machine", "run_name")}
    known["run"] = known["run_name"]
    wanted, unwanted = wanted.exact(known), unwanted.exact(known)
    # with every setting of the cell, for the selection to look at
    records = [(row, {**row, "run": [row["run_id"], row["run_name"]], **cell_settings(cell_of(row))}) for row in rows]
    matching = [
        row for row, record in records if wanted.matches(record) and not (unwanted and unwanted.matches(record))
    ]
    if not matching:
        unmatched = _unmatched(wanted, [record for _, record in records])
        if not may_be_none or unmatched.keys() & {*NAME_KEYS, "machine"}:
            asked = [*(f"--select {text}" for text in select), *(f"--exclude {text}" for text in exclude)]
            reason = "; ".join(unmatched.values()) or "each of its terms matches some, none matches all that is asked"
            count = units.plural(len(rows), "result")
            raise NotFoundError(f"{one_line(' '.join(asked))[:200]}: none of the {count} here match; {reason}")
    return matching


def check_machine(rows: Sequence[Mapping[str, Any]], machine: str | None) -> None:
    """Refuses a machine that none of the results is of, where there are results.

    Raises:
        NotFoundError: Names the machines that there are.
    """
    machines = {row["machine"] for row in rows}
    if machine is not None and machines and machine not in machines:
        raise NotFoundError(
            f"--machine: expected one of {_some(machines)}, whose {units.plural(len(rows), 'result')} are here, "
            f"got {machine!r}"
        )


def _unmatched(wanted: Selection, records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Of each key for which no result has what is asked: the nearest value, and those that there are."""
    words = {}
    for key, texts in (term for terms in wanted.alternatives for term in terms):
        if not any(Selection((((key, texts),),)).matches(record) for record in records):
            recorded = (record.get(key) for record in records)
            several = (value if isinstance(value, list) else [value] for value in recorded)
            values = {str(value) for values in several for value in values if value is not None}
            near = difflib.get_close_matches(texts[-1], values, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            words[key] = f"{hint}{key} is {_some(values)}" if values else f"no result has a {key}"
    return words


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:SHOWN_CANDIDATES]
    more = f" or {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return " or ".join(filter(None, [", ".join(map(repr, shown[:-1])), repr(shown[-1])])) + more


def stored_predictions(database: Database, split: str = "test") -> LoadPredictions:
    """A reader of recorded predictions for `test`, `validation` or `lockbox` images; it needs the database open."""
    predicted: set[int] | None = None

    def load(ids: Iterable[int]) -> dict[int, Predictions]:
        nonlocal predicted
        # a report of many groups asks for few of them at a time: most questions need no query
        predicted = queries.predicted(database, split) if predicted is None else predicted
        wanted = predicted.intersection(ids)
        rows = queries.predictions(database, wanted, split).items() if wanted else ()
        # tables and figures of predictions speak of one class an image
        return {key: read for key, row in rows if not (read := decode(row)).has_several_labels}

    return load


def recorded_epochs(database: Database) -> LoadEpochs:
    """A reader of recorded epochs; it needs the database open."""

    def load(ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
        epochs: dict[int, list[dict[str, Any]]] = {}
        for row in queries.history(database, ids):
            epochs.setdefault(row["execution_id"], []).append(row)
        return epochs

    return load


def find_cell(database: Database, text: str) -> queries.CellDetail:
    """All rows of the one recorded cell that a text names: the beginning of its id, or a selection.

    Raises:
        NotFoundError: No cell is meant.
        UserError: Several are, or the id is too short.
    """
    if "=" not in text:
        return queries.cell_detail(database, text)
    matching = {row["cell_id"]: row for row in selected_results(database, [text], newest=True)}
    if not matching:
        raise NotFoundError(f"CELL: no recorded cell matches {text[:200]!r}; begin with: bench run")
    if len(matching) > 1:
        raise several_match(text, map(cell_of, matching.values()))
    return queries.cell_detail(database, next(iter(matching)))


def several_match(text: str, matching: Iterable[Cell]) -> UserError:
    """The error for a selection that should match one cell and matches several."""
    lines = [f"  {short_id(cell.cell_id)} {cell_label(cell)}" for cell in matching]
    more = [f"  and {len(lines) - SHOWN_CANDIDATES} more"] if len(lines) > SHOWN_CANDIDATES else []
    first = f"CELL: expected one cell, {text[:200]!r} matches {len(lines)}:"
    return UserError("\n".join([first, *lines[:SHOWN_CANDIDATES], *more]))


def trained_cell(detail: queries.CellDetail, machine: str | None, target: str) -> tuple[Trained, dict[str, Any]]:
    """The kept weights of a cell's newest finished execution, and its row; `target` is the database as it was named."""
    cell, cell_id = cell_of(detail.cell), detail.cell["cell_id"]
    done = [row for row in detail.results if row["status"] == Status.COMPLETED and machine in {None, row["machine"]}]
    where = f" on machine {machine!r}" if machine else ""
    if not done:
        raise UserError(f"CELL {short_id(cell_id)}: expected a completed cell{where}; see: bench show {cell_id[:8]}")
    if runs_commands(cell.backend):
        raise UserError(
            f"CELL {short_id(cell_id)}: expected a network that bench has built, found a command: bench keeps its predictions for "
            f"the test images and no network. See: bench show {cell_id[:8]}"
        )
    if not trains(cell.backend):
        raise UserError(f"CELL {short_id(cell_id)}: its backend ({cell.backend}) trains no network to predict with")
    newest = max(done, key=lambda row: row["execution_id"])
    kept = [
        row for row in detail.artifacts if (row["execution_id"], row["kind"]) == (newest["execution_id"], "weights")
    ]
    place = place_of(target)
    root = place.root.resolve()
    path = place.local(kept[-1]["path"], kept[-1]["sha256"]).resolve() if kept else root
    if not kept or not path.is_relative_to(root) or not path.is_file():
        raise NotFoundError(
            f"CELL {short_id(cell_id)}: its weights are not here: expected {path}. The reference results and copies of a "
            f"database come without such files; train it here with: bench run --select cell_id={cell_id}"
        )
    return Trained(cell, path, kept[-1]["sha256"]), newest
