"""`bench list`: what is recorded, and what can be named in a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli import output
from benchmark.cli.names import short_id
from benchmark.cli.options import (
    CONTEXT,
    common_options,
    database_option,
    examples,
    format_option,
    machine_option,
    selection_options,
)
from benchmark.cli.output import Column

if TYPE_CHECKING:
    from benchmark.matrix.definitions import Definition

FAMILIES = {"datasets": "dataset", "models": "model", "strategies": "strategy"}
KINDS = ("cells", "runs", *FAMILIES, "presets")

CELL_COLUMNS = (
    Column("cell_id", "cell", show=short_id, style="dim"),
    Column("dataset"),
    Column("model"),
    Column("strategy"),
    Column("seed", right=True),
    Column("machine"),
    Column("status"),
    Column("cause"),
    Column("epochs", right=True),
    Column("test_accuracy", show=output.fraction, right=True),
    Column("total_seconds", "time", show=output.seconds, right=True),
)

RUN_COLUMNS = (
    Column("run_id", "run", right=True),
    Column("name"),
    Column("machine"),
    Column("matrix_path", "matrix"),
    Column("started_utc", "started (UTC)", show=lambda text: str(text)[:16].replace("T", " ")),
    Column("state"),
    Column("planned", right=True),
    Column("reused", right=True),
    Column("left_out", right=True),
    Column("exit_code", "exit", right=True),
)


@click.command(
    "list",
    context_settings=CONTEXT,
    epilog=examples("bench list cells --select model=resnet*,status=failed", "bench list runs", "bench list models"),
)
@click.argument("kind", type=click.Choice(KINDS))
@click.option(
    "--matrix", default="matrix.toml", show_default=True, metavar="PATH", help="Also list what this file defines."
)
@database_option
@machine_option
@selection_options
@format_option()
@common_options
def command(
    kind: str,
    matrix: str,
    database: str,
    machine: str | None,
    select: Sequence[str],
    exclude: Sequence[str],
    output_format: str,
) -> None:
    """List what is recorded (cells, runs) or what a matrix can name (datasets, models, strategies, presets).

    For cells the newest execution on each machine is shown; --select, --exclude and --machine are for cells.
    """
    if kind == "cells":
        rows = _cells(database, machine, select, exclude)
        output.write_rows(rows, CELL_COLUMNS, output_format, empty="no recorded cell matches")
    elif kind == "runs":
        output.write_rows(_runs(database), RUN_COLUMNS, output_format, empty="no runs yet")
    else:
        rows = _presets() if kind == "presets" else _definitions(FAMILIES[kind], matrix)
        columns = [Column(key, style="bold" if key == "name" else "") for key in rows[0]]
        output.write_rows(rows, columns, output_format)


def _cells(database: str, machine: str | None, select: Sequence[str], exclude: Sequence[str]) -> list[dict[str, Any]]:
    from benchmark.cli.recorded import selected_results
    from benchmark.results.database import open_database

    with open_database(database, mode="read") as opened:
        rows = selected_results(opened, select, exclude, newest=True, machine=machine)
    return [{key: value for key, value in row.items() if key != "spec"} for row in rows]


def _runs(database: str) -> list[dict[str, Any]]:
    from benchmark.results import queries
    from benchmark.results.database import open_database

    with open_database(database, mode="read") as opened:
        return queries.runs(opened)


def _presets() -> list[dict[str, Any]]:
    from benchmark.catalog.library import preset_names, preset_summary

    return [{"name": name, "summary": preset_summary(name)} for name in preset_names()]


def _definitions(family: str, matrix: str) -> list[dict[str, Any]]:
    """What is built in, and what the matrix file defines itself."""
    from benchmark.matrix.builtin import builtin_definitions

    own = _own_definitions(family, matrix)
    builtin = [one for one in builtin_definitions()[family] if one.name not in {other.name for other in own}]
    rows = [
        {
            "name": one.name,
            "extends": one.extends,
            "summary": _summary(one),
            "defined_in": "bench" if one.builtin else matrix,
        }
        for one in [*builtin, *own]
    ]
    return [*rows, *_packaged()] if family == "model" else rows


def _summary(definition: Definition) -> Any:
    """In its own words, else what it is made of."""
    keys = ("summary", "label", "source", "architecture")
    return next((definition.own[key] for key in keys if key in definition.own), "")


def _packaged() -> list[dict[str, Any]]:
    """Models of installed packages, as a definition names them."""
    from benchmark.catalog.facts import PLUGIN
    from benchmark.matrix.plugins import entry_points

    return [
        {
            "name": f"{PLUGIN}{point.name}",
            "extends": None,
            "summary": f'for architecture = "{PLUGIN}{point.name}" in a definition',
            "defined_in": f"{point.dist.name} {point.dist.version}" if point.dist else point.value,
        }
        for point in entry_points()
    ]


def _own_definitions(family: str, matrix: str) -> Sequence[Definition]:
    from benchmark.matrix.definitions import read_definitions
    from benchmark.matrix.problems import Problems
    from benchmark.matrix.source import parse_toml, read_text

    if not Path(matrix).exists():
        return []
    # mistakes inside definitions are for `bench plan` to tell; here what can be read is listed
    return read_definitions(parse_toml(read_text(matrix), matrix), Problems(), builtin=False)[family]
