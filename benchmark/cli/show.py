"""`bench show CELL`: everything that is recorded about one cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from benchmark.cli import output
from benchmark.cli.names import short_id
from benchmark.cli.options import CONTEXT, common_options, database_option, examples, format_option, machine_option
from benchmark.cli.portrait import EPOCH_COLUMNS, portray

ENVIRONMENT = (
    "machine", "os", "cpu_model", "cpu_cores", "memory_bytes", "gpu_names", "gpu_driver", "python_version",
    "backend_version", "keras_version", "numpy_version", "package_version", "git_commit", "git_dirty", "matrix_path",
    "command",
)  # fmt: skip


@click.command(
    "show",
    context_settings=CONTEXT,
    epilog=examples("bench show 3f2a", "bench show model=resnet18,strategy=scratch,seed=0"),
)
@click.argument("cell")
@database_option
@machine_option
@format_option()
@common_options
def command(cell: str, database: str, machine: str | None, output_format: str) -> None:
    """Show everything about one cell: settings, epochs, environment, attempts, artifacts, log and traceback.

    CELL is the beginning of a cell's id (four digits or more), or a selection that matches one cell. Of several
    executions the newest is shown in full, on --machine if one is named. CSV has one row for each epoch.
    """
    record = _load(database, cell, machine)
    if output_format == "json":
        output.write_json(record)
    elif output_format == "csv":
        output.write_rows(record["epochs"], EPOCH_COLUMNS, "csv")
    else:
        portray(record, database)


def _load(database: str, meant: str, machine: str | None) -> dict[str, Any]:
    """The newest execution of the cell with all that belongs to it, and the others in short."""
    from benchmark.cli.recorded import find_cell
    from benchmark.matrix.cell import Cell
    from benchmark.matrix.settings import cell_settings
    from benchmark.results import queries
    from benchmark.results.database import open_database

    with open_database(database, mode="read") as opened:
        detail = queries.cell_detail(opened, find_cell(opened, meant))
        runs = {row["run_id"]: row for row in queries.runs(opened)}
    chosen = _choose(detail.executions, machine, detail.cell["cell_id"])
    run = runs.get(chosen["run_id"], {}) if chosen else {}
    return {
        "cell": {key: value for key, value in detail.cell.items() if key != "spec"},
        "settings": cell_settings(Cell.from_dict(json.loads(detail.cell["spec"]))),
        "execution": chosen,
        "attempts": _of(detail.attempts, chosen),
        "epochs": _of(detail.epochs, chosen),
        "artifacts": _of(detail.artifacts, chosen),
        "environment": {key: run.get(key) for key in ENVIRONMENT},
        "executions": detail.executions,
    }


def _of(rows: Sequence[dict[str, Any]], execution: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [row for row in rows if execution is not None and row["execution_id"] == execution["execution_id"]]


def _choose(executions: Sequence[dict[str, Any]], machine: str | None, cell_id: str) -> dict[str, Any] | None:
    from benchmark.errors import NotFoundError

    there = [row for row in executions if machine is None or row["machine"] == machine]
    if machine is not None and not there:
        known = ", ".join(sorted({row["machine"] for row in executions})) or "none"
        raise NotFoundError(f"cell {short_id(cell_id)} has no execution on machine {machine!r}; it has on: {known}")
    return max(there, key=lambda row: row["execution_id"]) if there else None
