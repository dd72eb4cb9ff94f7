"""`bench why CELL`: why a cell ran again, or would."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli import output, streams
from benchmark.cli.cell_names import cell_label, short_id
from benchmark.cli.options import (
    CONTEXT,
    MatrixRequest,
    common_options,
    database_option,
    examples,
    format_option,
    machine_option,
    matrix_options,
)
from benchmark.cli.output import Column
from benchmark.errors import NotFoundError, UserError
from benchmark.status import Status
from benchmark.text import printable

if TYPE_CHECKING:
    from benchmark.cli.texts.why_text import Neighbour, Reason
    from benchmark.matrix.cell import Cell
    from benchmark.results.store.database import Database

CHANGE_COLUMNS = (Column("key"), Column("recorded", show=output.number), Column("now", show=output.number))
EXECUTION_COLUMNS = (
    Column("execution_id", "execution", right=True),
    Column("machine"),
    Column("run_id", "run", right=True),
    Column("status"),
    Column("cause"),
    Column("began", "why it began"),
)
ROW_COLUMNS = tuple(map(Column, ("cell_id", "verdict", "why", "nearest_cell_id", "key", "recorded", "now")))
SHORTEST_PREFIX = 4


@click.command(
    "why",
    context_settings=CONTEXT,
    epilog=examples("bench why 3f2a", "bench why model=simple_cnn,strategy=scratch,seed=0"),
)
@click.argument("cell")
@matrix_options
@database_option
@machine_option
@format_option()
@common_options
def command(cell: str, matrix: MatrixRequest, database: str, machine: str | None, output_format: str) -> None:
    """Say why a cell ran again, or what the next `bench run` would do with it and why.

    CELL is the beginning of a cell's id, or a selection that matches one cell, of the matrix or else of the database.
    When no cell like it was recorded, the nearest ones with the same names are shown, with the keys that have changed.
    """
    from benchmark.machine import default_machine_name

    planned = _planned(matrix)
    answer = _answer(cell, planned, matrix.path, database, machine or default_machine_name())
    if output_format == "json":
        output.write_json(answer)
    elif output_format == "csv":
        output.write_rows(_flat(answer), ROW_COLUMNS, "csv")
    else:
        _print(answer)


def _planned(matrix: MatrixRequest) -> dict[str, Cell]:
    try:
        return {cell.cell_id: cell for cell in matrix.load().cells}
    except NotFoundError:
        # of a cell that is recorded something can be said without a matrix too
        return {}


def _answer(meant: str, planned: Mapping[str, Cell], path: str, database: str, here: str) -> dict[str, Any]:
    from benchmark.results.store.database import open_database

    wanted = _matcher(meant)
    found = [cell for cell in planned.values() if wanted(cell)]
    try:
        opened = open_database(database, mode="read")
    except NotFoundError:
        if not found:
            raise
        return _document(_only(found, meant), _never(), [], [])
    with opened:
        if found:
            return _of_planned(opened, _only(found, meant), planned, database, here)
        return _of_recorded(opened, meant, planned, path)


def _matcher(meant: str) -> Callable[[Cell], bool]:
    from benchmark.matrix.selection import parse_selection
    from benchmark.matrix.settings import cell_settings

    if "=" in meant:
        selection = parse_selection([meant])
        names = ("cell_id", "dataset", "model", "strategy", "strategy_label", "device_kind", "parent_cell_id")
        return lambda cell: selection.matches({**{name: getattr(cell, name) for name in names}, **cell_settings(cell)})
    prefix = meant.strip().lower()
    if len(prefix) < SHORTEST_PREFIX:
        raise UserError(f"cell {meant!r}: expected at least the first {SHORTEST_PREFIX} digits of a cell id")
    return lambda cell: cell.cell_id.startswith(prefix)


def _only(found: Sequence[Cell], meant: str) -> Cell:
    if len(found) > 1:
        shown = [f"  {short_id(cell.cell_id)} {cell_label(cell)}" for cell in found[:8]]
        more = [f"  and {len(found) - 8} more"] if len(found) > 8 else []
        raise UserError("\n".join([f"CELL: expected one cell, {meant[:200]!r} matches {len(found)}:", *shown, *more]))
    return found[0]


def _of_planned(opened: Database, cell: Cell, planned: Mapping[str, Cell], database: str, here: str) -> dict[str, Any]:
    """A cell of the matrix: what the next run does with it."""
    from benchmark.cli.texts.why_text import history_of, neighbours, reason_of
    from benchmark.results.read import queries

    recorded = _recorded(opened, cell)
    known = cell.cell_id in recorded
    executions = queries.cell_detail(opened, cell.cell_id).executions if known else []
    on_this = [row for row in executions if row["machine"] == here]
    elsewhere = sorted({row["machine"] for row in executions if row["status"] == Status.COMPLETED} - {here})
    problem = _problem(opened, cell, database, here) if on_this else None
    reason = reason_of(on_this[-1] if on_this else None, elsewhere, problem, known=known)
    runs = {row["run_id"]: row for row in queries.runs(opened)}
    near = [] if executions else neighbours(cell, recorded, planned)
    return _document(cell, reason, near, history_of(executions, runs))


def _of_recorded(opened: Database, meant: str, planned: Mapping[str, Cell], path: str) -> dict[str, Any]:
    """A cell that the matrix has no more: what has become of it there."""
    from benchmark.cli.cell_lookup import find_cell
    from benchmark.cli.texts.why_text import Neighbour, Reason, changes, history_of, neighbours
    from benchmark.matrix.cell import Cell
    from benchmark.results.read import queries

    detail = queries.cell_detail(opened, find_cell(opened, meant))
    runs = {row["run_id"]: row for row in queries.runs(opened)}
    cell = Cell.from_dict(json.loads(detail.cell["spec"]))
    recorded = _recorded(opened, cell)
    near = [
        Neighbour(one.cell, tuple(changes(cell, one.cell, recorded, planned)))
        for one in neighbours(cell, planned, recorded)
    ]
    where = f"{path} does not have it any more" if planned else f"there is no {path} here to have it"
    return _document(cell, Reason("not planned", where), near, history_of(detail.executions, runs), now_is_nearest=True)


def _recorded(opened: Database, cell: Cell) -> dict[str, Cell]:
    """The recorded cells with the same names, and the ancestors of all of them."""
    from benchmark.results.read import queries

    found = _cells(queries.cell_specs(opened, dataset=cell.dataset, model=cell.model, strategy=cell.strategy))
    # by its id too: a cell keeps it when only its names are other ones today
    missing = {cell.cell_id, *(one.parent_cell_id for one in found.values())} - found.keys() - {None}
    while missing:
        more = _cells(queries.cell_specs(opened, cell_id=sorted(missing)))
        found |= more
        missing = {one.parent_cell_id for one in more.values()} - found.keys() - {None}
    return found


def _cells(specs: Mapping[str, str]) -> dict[str, Cell]:
    from benchmark.cli.texts.why_text import cells_of

    return cells_of(specs)


def _problem(opened: Database, cell: Cell, database: str, here: str) -> str | None:
    """Why the cell's finished result cannot be taken, as a run would find it."""
    from benchmark.catalog.backends import trains
    from benchmark.catalog.cache import PreparedDirectories, default_cache_root
    from benchmark.results.read.states import cell_states
    from benchmark.results.store.location import artifacts_root
    from benchmark.scheduling.decisions.reuse import kept_weights, problem_of

    with opened.reading() as connection:
        states = cell_states(connection, here)
    state, parent = states[cell.cell_id], states.get(cell.parent_cell_id or "")
    root = artifacts_root(database)
    if state.weights_sha256 is not None and parent is not None:
        weights = kept_weights(parent.artifacts, root)
        if weights is not None and weights[1] != state.weights_sha256:
            return "the weights of its parent have changed"
    prepared = PreparedDirectories(default_cache_root()).of(cell.data) if trains(cell.backend) else None
    return problem_of(state, root, prepared)


def _never() -> Reason:
    from benchmark.cli.texts.why_text import reason_of

    return reason_of(None, (), None, known=False)


def _document(
    cell: Cell,
    reason: Reason,
    near: Sequence[Neighbour],
    executions: Sequence[dict[str, Any]],
    *,
    now_is_nearest: bool = False,
) -> dict[str, Any]:
    return {
        "cell_id": cell.cell_id,
        "label": cell_label(cell),
        "verdict": reason.verdict,
        "why": reason.why,
        "nearest_is": "planned" if now_is_nearest else "recorded",
        "nearest": [
            {
                "cell_id": one.cell.cell_id,
                "label": cell_label(one.cell),
                "changed": [{"key": key, "recorded": before, "now": now} for key, before, now in one.changed],
            }
            for one in near
        ],
        "executions": list(executions),
    }


def _flat(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    said = {key: answer[key] for key in ("cell_id", "verdict", "why")}
    rows = [
        {**said, "nearest_cell_id": one["cell_id"], **changed}
        for one in answer["nearest"]
        for changed in one["changed"]
    ]
    return rows or [{**said, "nearest_cell_id": None, "key": None, "recorded": None, "now": None}]


def _print(answer: Mapping[str, Any]) -> None:
    console = streams.out()
    title = f"{short_id(answer['cell_id'])} {answer['label']}"
    console.print(printable(title), style="bold", soft_wrap=True)
    console.print(printable(f"{answer['verdict']}: {answer['why']}"), soft_wrap=True)
    for one in answer["nearest"]:
        label = f"\nnearest {answer['nearest_is']} cell: {short_id(one['cell_id'])} {one['label']}"
        console.print(printable(label), soft_wrap=True)
        output.write_table(one["changed"], CHANGE_COLUMNS)
    if answer["executions"]:
        console.print()
        output.write_table(answer["executions"], EXECUTION_COLUMNS)
