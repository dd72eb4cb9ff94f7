"""`bench why CELL`: why a cell ran again, or would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from benchmark import units
from benchmark.cli.cell_names import short_id
from benchmark.cli.completions import complete_selection
from benchmark.cli.options import MatrixRequest, database_option, format_option, machine_option, matrix_options, verb
from benchmark.cli.terminal import output
from benchmark.cli.terminal.output import Column
from benchmark.errors import NotFoundError

CHANGE_COLUMNS = (
    Column("key"),
    Column("recorded", show=units.number, stays=True),
    Column("now", show=units.number, stays=True),
)
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


@verb("why", "bench why aac7", "bench why model=simple_cnn,strategy=scratch,seed=0")
@click.argument("cell", shell_complete=complete_selection)
@matrix_options
@database_option
@machine_option("the host name")
@format_option()
def command(cell: str, matrix: MatrixRequest, database: str, machine: str | None, output_format: str) -> None:
    """Explain why a cell ran again, or what the next `bench run` would do with it and why.

    CELL is the beginning of a cell's id, or a selection that matches one cell of the matrix or, failing that, of the
    database. If the cell was never recorded, the most similar cells with the same names are shown, with the settings
    that differ.
    """
    from benchmark.cli.runs.start_run import run_options
    from benchmark.cli.texts.why_text import why

    options = run_options(database, machine, reads_only=True)
    try:
        planned = {each.cell_id: each for each in matrix.load().cells}
    except NotFoundError:
        # of a cell that is recorded something can be said without a matrix too
        planned = {}
    answer = why(cell, planned, matrix.path, database, options)
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


def _print(answer: Mapping[str, Any]) -> None:
    output.write_line(f"{short_id(answer['cell_id'])} {answer['label']}", "bold")
    output.write_line(f"{answer['decision']}: {answer['reason']}")
    for each in answer["nearest"]:
        output.write_line()
        output.write_line(f"nearest {answer['nearest_is']} cell: {short_id(each['cell_id'])} {each['label']}")
        output.write_table([_readable(row) for row in each["changed"]], CHANGE_COLUMNS)
    if answer["executions"]:
        output.write_line()
        output.write_table(answer["executions"], EXECUTION_COLUMNS)


def _readable(changed: Mapping[str, Any]) -> dict[str, Any]:
    """A changed key with its tables and lists as a report writes them."""
    from benchmark.reporting.rows.flat_settings import describe

    return {key: describe(value) if isinstance(value, list | tuple) else value for key, value in changed.items()}
