"""`bench why CELL`: why a cell ran again, or would."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from benchmark import units
from benchmark.cli import output
from benchmark.cli.cell_names import cell_label, short_id
from benchmark.cli.options import MatrixRequest, database_option, format_option, machine_option, matrix_options, verb
from benchmark.cli.output import Column
from benchmark.errors import NotFoundError, UserError
from benchmark.status import Outlook

if TYPE_CHECKING:
    from benchmark.matrix.cell import Cell
    from benchmark.results.store.database import Database
    from benchmark.scheduling.decisions.reuse import Decision
    from benchmark.scheduling.run_options import RunOptions

CHANGE_COLUMNS = (Column("key"), Column("recorded", show=units.number), Column("now", show=units.number))
EXECUTION_COLUMNS = (
    Column("execution_id", "execution", right=True),
    Column("machine"),
    Column("run_id", "run", right=True),
    Column("status"),
    Column("cause"),
    Column("began", "why it began"),
)
ROW_COLUMNS = tuple(
    map(Column, ("cell_id", "will_run", "decision", "reason", "nearest_cell_id", "key", "recorded", "now"))
)
SHORTEST_PREFIX = 4


@verb("why", "bench why aac7", "bench why model=simple_cnn,strategy=scratch,seed=0")
@click.argument("cell")
@matrix_options
@database_option
@machine_option("the host name")
@format_option()
def command(cell: str, matrix: MatrixRequest, database: str, machine: str | None, output_format: str) -> None:
    """Say why a cell ran again, or what the next `bench run` would do with it and why.

    CELL is the beginning of a cell's id, or a selection that matches one cell, of the matrix or else of the database.
    When no cell like it was recorded, the nearest ones with the same names are shown, with the keys that have changed.
    """
    from benchmark.cli.start_run import run_options

    options = run_options(database, machine, reads_only=True)
    try:
        planned = {each.cell_id: each for each in matrix.load().cells}
    except NotFoundError:
        # of a cell that is recorded something can be said without a matrix too
        planned = {}
    answer = _answer(cell, planned, matrix.path, database, options)
    if output_format == "json":
        output.write_json(answer)
    elif output_format == "csv":
        decided = {column.key: answer.get(column.key) for column in ROW_COLUMNS}
        rows = [
            {**decided, "nearest_cell_id": each["cell_id"], **changed}
            for each in answer["nearest"]
            for changed in each["changed"]
        ]
        output.write_rows(rows or [decided], ROW_COLUMNS, "csv")
    else:
        _print(answer)


def _answer(text: str, planned: Mapping[str, Cell], path: str, database: str, options: RunOptions) -> dict[str, Any]:
    from benchmark.results.records import Recorded
    from benchmark.results.store.database import open_database
    from benchmark.scheduling.decisions.reuse import decide

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
    from benchmark.matrix.selection import NAME_KEYS, parse_selection
    from benchmark.matrix.settings import cell_settings

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
    from benchmark.cli.cell_lookup import several_match

    if len(matching) > 1:
        raise several_match(text, {cell.cell_id: cell_label(cell) for cell in matching})
    return matching[0]


def _of_planned(opened: Database, cell: Cell, planned: Mapping[str, Cell], options: RunOptions) -> dict[str, Any]:
    """A cell of the matrix: what the next run does with it."""
    from benchmark.cli.texts.why_text import history_of, nearest
    from benchmark.results.read import cell_states, queries
    from benchmark.results.read.runs import all_runs
    from benchmark.scheduling.decisions.reuse import decide

    recorded = _recorded(opened, cell)
    decision = decide(list(planned.values()), cell_states.recorded(opened, options.machine), options)[cell.cell_id]
    executions = queries.cell_detail(opened, cell.cell_id).executions if cell.cell_id in recorded else []
    runs = all_runs(opened)
    near = [] if executions else nearest(cell, recorded, planned, is_recorded=False)
    return _document(cell, decision, near, history_of(executions, runs))


def _of_recorded(opened: Database, text: str, planned: Mapping[str, Cell], path: str) -> dict[str, Any]:
    """A cell that the matrix has no more: what has become of it there."""
    from benchmark.cli.cell_lookup import find_cell
    from benchmark.cli.texts.why_text import history_of, nearest
    from benchmark.reporting.rows.latest import cell_of
    from benchmark.results.read.runs import all_runs
    from benchmark.scheduling.decisions.reuse import Decision

    detail = find_cell(opened, text)
    runs = all_runs(opened)
    cell = cell_of(detail.cell)
    near = nearest(cell, _recorded(opened, cell), planned, is_recorded=True)
    where = f"{path} does not have it any more" if planned else f"there is no {path} here to have it"
    answer = _document(cell, Decision(Outlook.SETTLED, where), near, history_of(detail.executions, runs))
    return {**answer, "nearest_is": "planned"}


def _recorded(opened: Database, cell: Cell) -> dict[str, Cell]:
    """The recorded cells with the same names, and the ancestors of all of them."""
    from benchmark.cli.texts.why_text import cells_of
    from benchmark.results.read.queries import cell_specs

    cells = cells_of(cell_specs(opened, dataset=cell.dataset, model=cell.model, strategy=cell.strategy))
    # by its id too: a cell keeps it when only its names are other ones today
    missing = {cell.cell_id, *(each.parent_cell_id for each in cells.values())} - cells.keys() - {None}
    while missing:
        more = cells_of(cell_specs(opened, cell_id=sorted(missing)))
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


def _print(answer: Mapping[str, Any]) -> None:
    output.write_line(f"{short_id(answer['cell_id'])} {answer['label']}", "bold")
    output.write_line(f"{answer['decision']}: {answer['reason']}")
    for each in answer["nearest"]:
        output.write_line()
        output.write_line(f"nearest {answer['nearest_is']} cell: {short_id(each['cell_id'])} {each['label']}")
        output.write_table(each["changed"], CHANGE_COLUMNS)
    if answer["executions"]:
        output.write_line()
        output.write_table(answer["executions"], EXECUTION_COLUMNS)
