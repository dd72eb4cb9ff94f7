"""`bench plan`: what `bench run` would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli import output, streams
from benchmark.cli.expectation import Expectation, expect, history
from benchmark.cli.names import short_id
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

if TYPE_CHECKING:
    from benchmark.matrix.cell import Cell
    from benchmark.matrix.plan import LeftOut, Plan

SHOWN_CELLS = 200
"""The table shows so many cells; JSON and CSV show all."""


@click.command(
    "plan",
    context_settings=CONTEXT,
    epilog=examples("bench plan", "bench plan --select model=resnet* --set epochs=2", "bench plan --format json"),
)
@matrix_options
@database_option
@machine_option
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Forecast for so many cells at once.")
@format_option()
@common_options
def command(matrix: MatrixRequest, database: str, machine: str | None, jobs: int | None, output_format: str) -> None:
    """Show what `bench run` would do: cells, what is done already, what is left out and why, and a forecast.

    Nothing is written, and no database is made.
    """
    show_plan(matrix.load(), database, machine, jobs, output_format)


def show_plan(plan: Plan, database: str, machine: str | None, jobs: int | None, output_format: str) -> None:
    """Print a plan on stdout, with the status that each cell has on this machine, and a forecast."""
    from benchmark.machine import default_machine_name

    known = history(database, machine or default_machine_name())
    rows = [_row(cell, known.statuses) for cell in plan.cells]
    if output_format == "csv":
        output.write_rows(rows, _columns(plan), "csv")
        return
    forecast = expect(plan.cells, known, jobs)
    if output_format == "json":
        output.write_json(_document(plan, rows, forecast))
    else:
        _print(plan, rows, forecast)


def _row(cell: Cell, statuses: Mapping[str, str]) -> dict[str, Any]:
    from benchmark.matrix.settings import cell_settings

    named = {"cell_id": cell.cell_id, "dataset": cell.dataset, "model": cell.model, "strategy": cell.strategy}
    return {
        **named,
        "seed": cell.seed,
        **{key: value for key, value in cell_settings(cell).items() if key not in named},
        "status": statuses.get(cell.cell_id, "pending"),
        "parent_cell_id": cell.parent_cell_id,
    }


def _document(plan: Plan, rows: list[dict[str, Any]], forecast: Expectation) -> dict[str, Any]:
    return {
        "matrix": plan.path,
        "name": plan.name,
        "counts": dict(Counter(row["status"] for row in rows)),
        "cells": rows,
        "left_out": [_left_out(left) for left in plan.left_out],
        "notes": list(plan.notes),
        "forecast": asdict(forecast),
    }


def _left_out(left: LeftOut) -> dict[str, Any]:
    keys = ("dataset", "model", "strategy", "seed", "reason")
    return {key: getattr(left, key) for key in keys}


def _print(plan: Plan, rows: list[dict[str, Any]], forecast: Expectation) -> None:
    console = streams.out()
    if len(rows) > SHOWN_CELLS:
        output.write_table(_grouped(rows), [*map(output.Column, ("dataset", "model", "strategy")), *COUNTS])
    elif rows:
        output.write_table(rows, _columns(plan))
    for reason, count in Counter(left.reason for left in plan.left_out).items():
        console.print(streams.printable(f"left out: {output.plural(count, 'cell')}: {reason}"), soft_wrap=True)
    for note in plan.notes:
        console.print(streams.printable(f"note: {note}"), soft_wrap=True)
    counts = Counter(row["status"] for row in rows)
    by_status = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    left_out = f"; {len(plan.left_out):,} left out" if plan.left_out else ""
    console.print(f"{output.plural(len(rows), 'cell')}: {by_status or 'none'}{left_out}", style="bold", soft_wrap=True)
    console.print(forecast.in_words(), soft_wrap=True)


COUNTS = [output.Column("cells", right=True), output.Column("pending", right=True)]


def _grouped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each dataset, model and strategy, for matrices too large to list."""
    keys = ("dataset", "model", "strategy")
    cells = Counter(tuple(row[key] for key in keys) for row in rows)
    pending = Counter(tuple(row[key] for key in keys) for row in rows if row["status"] == "pending")
    return [
        {**dict(zip(keys, group, strict=True)), "cells": n, "pending": pending[group]} for group, n in cells.items()
    ]


def _columns(plan: Plan) -> list[output.Column]:
    """Names, the settings that are axes, and what is known of each cell."""
    first = ("dataset", "model", "strategy", "seed")
    axes = [axis for axis in plan.axes if axis not in first]
    return [
        output.Column("cell_id", "cell", show=short_id, style="dim"),
        *(output.Column(key, right=key == "seed") for key in first),
        *(output.Column(axis, show=str) for axis in axes),
        output.Column("epochs", right=True, show=epochs_in_words),
        output.Column("status"),
        output.Column("parent_cell_id", "starts from", show=short_id, style="dim"),
    ]


def epochs_in_words(epochs: Any) -> str:
    """`10`, or `3+2` for stages of different length."""
    return "+".join(map(str, epochs)) if isinstance(epochs, list) else str(epochs)
