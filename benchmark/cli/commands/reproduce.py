"""`bench reproduce CELL`: runs a cell again, and says whether it came out the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from benchmark import layout
from benchmark.cli.cell_names import short_id
from benchmark.cli.completions import complete_selection
from benchmark.cli.options import database_option, format_option, machine_option, verb, worker_options
from benchmark.cli.terminal import output
from benchmark.errors import INTERRUPTED_EXIT_CODES, CellsFailedError, NotFoundError, UserError
from benchmark.matrix.cell import Cell
from benchmark.matrix.identity import cell_id_of
from benchmark.matrix.plan import Plan
from benchmark.reporting.comparing.reproduction import Reproduction, compare_executions
from benchmark.status import FINAL

if TYPE_CHECKING:
    from benchmark.results.read.queries import CellDetail
    from benchmark.results.store.database import Database

DIFFERENT_EXIT_CODE = 3
STYLES = {"identical": "bold green", "within seed noise": "bold yellow", "different": "bold red"}

CHANGE_COLUMNS = tuple(output.Column(key, stays=True) for key in ("area", "name", "before", "now"))
ROW_COLUMNS = tuple(map(output.Column, ("cell_id", "verdict", "reason", "difference", "spread", "seeds", "changed")))
SHOWN = (
    "execution_id", "run_id", "machine", "status", "cause", "detail", "epochs", "test_accuracy", "test_loss", "digest",
)  # fmt: skip
"""What JSON has of an execution."""


@verb("reproduce", "bench reproduce aac7", "bench reproduce model=simple_cnn,strategy=scratch,seed=0")
@click.argument("cell", shell_complete=complete_selection)
@database_option
@machine_option("the host name")
@worker_options("the")
@format_option()
def command(
    cell: str,
    database: str,
    machine: str | None,
    isolation: str,
    offline: bool,
    allow_plugins: bool,
    output_format: str,
) -> int:
    """Run a cell again from its record in the database, and check whether the result is the same.

    CELL is the beginning of a cell's id, or a selection that matches one cell. It runs as a new execution, as with
    --rerun, from the kept weights of its parent. The answer is `identical` (equal to the bit), `within seed noise` (the
    test accuracy differs by no more than that of two of its seeds in 95 % of cases) or `different`, with what has
    changed: code, versions, hardware, data, settings. The exit code is 3 if it is different.
    """
    from benchmark.cli.runs.start_run import run_options, run_plan
    from benchmark.machine import default_machine_name
    from benchmark.matrix.trust import require_consent
    from benchmark.results.schema.reproductions import run_name

    here = machine or default_machine_name()
    plan, before, seeds = _load(database, cell, here)
    cell_id = plan.cells[-1].cell_id
    options = run_options(
        database,
        here,
        name=run_name(cell_id),
        rerun_cells=frozenset({cell_id}),
        isolation=isolation,
        offline=offline,
        allow_plugins=allow_plugins,
    )
    # what a database calls a plug-in is no more trusted than what a matrix does
    require_consent(plan.cells, options.command, allowed=allow_plugins)
    code = run_plan(plan, database, options)
    if code in INTERRUPTED_EXIT_CODES:
        return code
    now = _outcome(database, cell_id, here, before)
    result = compare_executions(before, now, seeds)
    _print(cell_id, result, before, now, output_format)
    return DIFFERENT_EXIT_CODE if result.verdict == "different" else 0


def _load(database: str, text: str, here: str) -> tuple[Plan, dict[str, Any], tuple[float, ...]]:
    """The cell and its ancestors as a matrix, the execution to compare with, and the test accuracies of all seeds."""
    from benchmark.cli.cell_lookup import find_cell
    from benchmark.reporting.rows.latest import cell_of
    from benchmark.results.read import queries
    from benchmark.results.read.runs import all_runs
    from benchmark.results.schema.reproductions import run_name
    from benchmark.results.store.database import open_database

    with open_database(database, mode="read") as opened:
        detail = find_cell(opened, text)
        cell_id = detail.cell["cell_id"]
        runs = all_runs(opened)
        # an earlier reproduction is not what is to be reproduced
        finished = [
            row
            for row in detail.executions
            if row["status"] in FINAL and runs[row["first_run_id"]]["name"] != run_name(cell_id)
        ]
        if not finished:
            raise NotFoundError(
                f"cell {short_id(cell_id)}: expected a finished execution to compare with, found none. "
                "Run it first: bench run"
            )
        chosen = max(finished, key=lambda row: (row["machine"] == here, row["execution_id"]))
        # the cell as it was recorded, and before it those whose weights it starts from
        chain = [cell_of(detail.cell)]
        while (parent := chain[0].parent_cell_id) is not None:
            chain.insert(0, cell_of(queries.cell_detail(opened, parent).cell))
        seeds = _seeds(opened, cell_id, chosen["machine"])
        # the last matrix stays the one that reports take their comparisons from
        path, matrix = queries.latest_matrix_text(opened) or (layout.MATRIX, "")
    for member in chain:
        _check_identity(member, runs.get(chosen["run_id"], {}).get("package_version"))
    return Plan(name=None, path=path, text=matrix, cells=tuple(chain)), _record(detail, chosen, runs), seeds


def _check_identity(cell: Cell, version: str | None) -> None:
    """Refuse a cell that would be another one today: training code that gives other numbers has other ids."""
    if cell_id_of(cell) != cell.cell_id:
        made = f"bench {version}" if version else "the bench that made it"
        raise UserError(
            f"cell {short_id(cell.cell_id)}: expected a cell of this bench's training version, found one that would have "
            f"another id today: its training code has changed. Reproduce it with {made}"
        )


def _seeds(database: Database, cell_id: str, machine: str) -> tuple[float, ...]:
    from benchmark.reporting.rows.grouping import group_cells
    from benchmark.reporting.rows.latest import latest_executions
    from benchmark.results.read import queries

    rows = latest_executions(queries.results(database, spec=True, machine=machine))
    for group in group_cells(rows):
        if any(row["cell_id"] == cell_id for row in group.cells):
            values = (row["test_accuracy"] for row in group.cells)
            return tuple(value for value in values if value is not None)
    return ()


def _record(detail: CellDetail, execution: Mapping[str, Any], runs: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """An execution with what its run knew, and what its last attempt saw."""
    attempts = [row for row in detail.attempts if row["execution_id"] == execution["execution_id"]]
    known = {key: value for key, value in (attempts[-1] if attempts else {}).items() if value is not None}
    return {**runs.get(execution["run_id"], {}), **known, **execution}


def _outcome(database: str, cell_id: str, here: str, before: Mapping[str, Any]) -> dict[str, Any]:
    from benchmark.results.read import queries
    from benchmark.results.read.runs import all_runs
    from benchmark.results.store.database import open_database

    with open_database(database, mode="read") as opened:
        detail = queries.cell_detail(opened, cell_id)
        runs = all_runs(opened)
    newest = max(detail.executions, key=lambda row: (row["machine"] == here, row["execution_id"]))
    # numbers begin at 1 again where the original stands in the reference results
    if all(newest[key] == before[key] for key in ("execution_id", "started_utc")):
        raise CellsFailedError(
            f"cell {short_id(cell_id)} was not run: nothing on this machine can run it. `bench doctor` shows what is here"
        )
    return _record(detail, newest, runs)


def _print(
    cell_id: str, result: Reproduction, before: Mapping[str, Any], now: Mapping[str, Any], output_format: str
) -> None:
    changes = [asdict(change) for change in result.changes]
    if output_format == "json":
        verdict = {key: value for key, value in asdict(result).items() if key != "changes"}
        shown = {name: {key: record.get(key) for key in SHOWN} for name, record in (("before", before), ("now", now))}
        output.write_json({"cell_id": cell_id, **verdict, "changes": changes, **shown})
    elif output_format == "csv":
        changed = " ".join(change.name for change in result.changes)
        row = {"cell_id": cell_id, **asdict(result), "changed": changed}
        output.write_rows([{column.key: row[column.key] for column in ROW_COLUMNS}], ROW_COLUMNS, "csv")
    else:
        output.write_line(f"{result.verdict}: {result.reason}", STYLES[result.verdict])
        output.write_line(f"before: {_result_of(before)}; now: {_result_of(now)}")
        if changes:
            output.write_table(changes, CHANGE_COLUMNS, "what was different")
        else:
            output.write_line("nothing that is recorded was different: code, versions, hardware, data, settings")


def _result_of(record: Mapping[str, Any]) -> str:
    accuracy = record.get("test_accuracy")
    shown = f"test accuracy {accuracy:.4f}" if accuracy is not None else str(record["status"])
    return f"{shown} in run {record['run_id']} on {record['machine']}"
