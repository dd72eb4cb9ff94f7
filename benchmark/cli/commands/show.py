"""`bench show CELL`: everything that is recorded about one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from benchmark.cli.cell_names import short_id
from benchmark.cli.completions import complete_selection
from benchmark.cli.options import database_option, format_option, machine_option, verb
from benchmark.cli.terminal import output
from benchmark.cli.texts.show_text import EPOCH_COLUMNS, print_cell
from benchmark.errors import NotFoundError
from benchmark.matrix.cell import Cell
from benchmark.reporting.predictions.stored_predictions import Predictions

MOST_CONFUSED = 1000
"""With more classes JSON has no confusion matrix: it would have nothing but zeros, for hundreds of megabytes."""

ENVIRONMENT = (
    "machine", "os", "cpu_model", "cpu_cores", "memory_bytes", "gpu_names", "gpu_driver", "python_version",
    "backend_version", "keras_version", "numpy_version", "package_version", "git_commit", "git_dirty", "matrix_path",
    "command",
)  # fmt: skip


@verb("show", "bench show aac7", "bench show model=resnet18,strategy=scratch,seed=0")
@click.argument("cell", shell_complete=complete_selection)
@database_option
@machine_option("any")
@format_option()
def command(cell: str, database: str, machine: str | None, output_format: str) -> None:
    """Show everything about one cell: settings, epochs, classes, attempts, environment, artifacts, log and traceback.

    CELL is the beginning of a cell's id (four digits or more), or a selection that matches one cell. Of several
    executions the newest is shown in full, or the newest on --machine. CSV has one row per epoch.
    """
    record = _load(database, cell, machine)
    if output_format == "json":
        output.write_json(record)
    elif output_format == "csv":
        output.write_rows(record["epochs"], EPOCH_COLUMNS, "csv")
    else:
        print_cell(record, database)


def _load(database: str, text: str, machine: str | None) -> dict[str, Any]:
    """The newest execution of the cell with all that belongs to it, and the others in short."""
    from benchmark.cli.cell_lookup import find_cell, stored_predictions
    from benchmark.machine import libraries_of
    from benchmark.matrix.settings import cell_settings
    from benchmark.reporting.figures.figure_index import figures_of
    from benchmark.reporting.rows.latest import cell_of
    from benchmark.reporting.rows.phases import phases_of
    from benchmark.results.artifacts.artifact_place import place_of
    from benchmark.results.read.queries import HARDWARE_OF_NODES
    from benchmark.results.read.runs import all_runs
    from benchmark.results.store.database import open_database

    with open_database(database, mode="read") as opened:
        detail = find_cell(opened, text)
        runs = all_runs(opened)
        chosen = _choose(detail.results, machine, detail.cell["cell_id"])
        predicted = stored_predictions(opened)([chosen["execution_id"]]) if chosen else {}
    cell, run = cell_of(detail.cell), runs.get(chosen["run_id"], {}) if chosen else {}
    epochs = _of(detail.epochs, chosen)
    attempts = _of(detail.attempts, chosen)
    # what ran on a node of a cluster did not run on the computer of its run
    if attempts and (facts := detail.nodes.get((attempts[-1]["run_id"], attempts[-1]["node"]))) is not None:
        run = {**run, **{name: facts[name] for name in HARDWARE_OF_NODES}}
    # the variables that chose libraries for the last attempt
    libraries = libraries_of(attempts[-1]["device_name"] or "") if attempts else ""
    # the run knows TensorFlow's version, a worker that of the backend it computed with
    reported = {
        key: row[key] for row in attempts for key in ("backend_version", "keras_version") if row[key] is not None
    }
    return {
        "cell": {key: value for key, value in detail.cell.items() if key != "spec"},
        "settings": cell_settings(cell),
        "model": _model_of(cell),
        "code": _code_of(cell),
        "execution": chosen,
        "attempts": attempts,
        "epochs": epochs,
        "phases": phases_of({**chosen, "framework": detail.cell["framework"]}, epochs) if chosen else {},
        "artifacts": _of(detail.artifacts, chosen),
        **_of_classes(next(iter(predicted.values()), None)),
        "environment": {key: reported.get(key, run.get(key)) for key in ENVIRONMENT}
        | ({"libraries": libraries} if libraries else {}),
        # those that `bench report --figures` and `bench explain` left, where they still are
        "figures": [
            {"kind": figure.kind, "title": figure.title, "path": str(figure.path)}
            for figure in figures_of(place_of(database).root, detail.cell["cell_id"])
        ],
        "executions": detail.executions,
    }


def _model_of(cell: Cell) -> dict[str, Any]:
    """The architecture and its parameters; of a command the program with its arguments."""
    from benchmark.matrix.settings import json_value

    parts = {name: json_value(value) for name, value in cell.architecture.parameters}
    program = {"command": list(cell.architecture.command)} if cell.architecture.command else {}
    return {"architecture": cell.architecture.name, **parts, **program}


def _code_of(cell: Cell) -> dict[str, str]:
    """What the user's own code is known by, as it is in the cell's id: the sha256 of files, or a package with its version."""
    known = {"model": cell.architecture.code, "dataset": cell.data.code}
    for stage in cell.stages:
        name = stage.loss if isinstance(stage.loss, str) else dict(stage.loss)["kind"]
        known |= {f"loss {name}": stage.loss_code, **{f"callback {name}": code for name, code in stage.callback_codes}}
    known |= {f"metric {name}": code for name, code in cell.metric_codes}
    return {name: code for name, code in known.items() if code}


def _of_classes(predictions: Predictions | None) -> dict[str, Any]:
    """The scores of each class, and how often each true class (row) was taken for each class (column), unless too many."""
    from benchmark.reporting.tables.per_class import class_scores, confusion_counts, matrix_of

    if predictions is None:
        return {"classes": [], "confusion": []}
    counts, names = confusion_counts(predictions), predictions.class_names
    return {
        "classes": [asdict(scores) for scores in class_scores(counts, names)],
        "confusion": matrix_of(counts, len(names)) if len(names) <= MOST_CONFUSED else [],
    }


def _of(rows: Sequence[dict[str, Any]], execution: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [row for row in rows if execution is not None and row["execution_id"] == execution["execution_id"]]


def _choose(executions: Sequence[dict[str, Any]], machine: str | None, cell_id: str) -> dict[str, Any] | None:
    candidates = [row for row in executions if machine is None or row["machine"] == machine]
    if machine is not None and not candidates:
        known = ", ".join(sorted({row["machine"] for row in executions})) or "none"
        raise NotFoundError(f"cell {short_id(cell_id)} has no execution on machine {machine!r}; it has on: {known}")
    return max(candidates, key=lambda row: row["execution_id"]) if candidates else None
