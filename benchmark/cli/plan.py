"""`bench plan`: what `bench run` would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli import output, streams
from benchmark.cli.expectation import History, expect, history
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
    rows = (_row(cell, known.statuses) for cell in plan.cells)
    if output_format == "csv":
        output.write_csv_rows(rows)
    elif output_format == "json":
        output.write_json(_document(plan, rows, known, jobs))
    else:
        _print(plan, rows, known, jobs)


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


def _document(plan: Plan, rows: Iterator[dict[str, Any]], known: History, jobs: int | None) -> dict[str, Any]:
    return {
        "matrix": plan.path,
        "name": plan.name,
        "counts": dict(Counter(_statuses(plan, known))),
        "cells": rows,
        "left_out": [_left_out(left) for left in plan.left_out],
        "notes": list(plan.notes),
        "forecast": asdict(expect(plan.cells, known, jobs)),
    }


def _statuses(plan: Plan, known: History) -> Iterator[str]:
    return (known.statuses.get(cell.cell_id, "pending") for cell in plan.cells)


def _left_out(left: LeftOut) -> dict[str, Any]:
    keys = ("dataset", "model", "strategy", "seed", "reason")
    return {key: getattr(left, key) for key in keys}


def _print(plan: Plan, rows: Iterator[dict[str, Any]], known: History, jobs: int | None) -> None:
    if len(plan.cells) > SHOWN_CELLS:
        columns = [*map(output.Column, GROUP), *(output.Column(key, right=True) for key in ("cells", "pending"))]
        output.write_table(_grouped(plan, known), columns)
    elif plan.cells:
        output.write_table(list(rows), _columns(plan))
    for reason, count in Counter(left.reason for left in plan.left_out).items():
        _line(f"left out: {output.plural(count, 'cell')}: {reason}")
    for note in plan.notes:
        _line(f"note: {note}")
    counts = ", ".join(f"{count:,} {status}" for status, count in Counter(_statuses(plan, known)).items())
    left_out = f"; {len(plan.left_out):,} left out" if plan.left_out else ""
    _line(f"{output.plural(len(plan.cells), 'cell')}: {counts or 'none'}{left_out}", style="bold")
    _line(expect(plan.cells, known, jobs).in_words())


def _line(text: str, style: str | None = None) -> None:
    streams.out().print(streams.printable(text), style=style, soft_wrap=True)


GROUP = ("dataset", "model", "strategy")


def _grouped(plan: Plan, known: History) -> list[dict[str, Any]]:
    """One row for each dataset, model and strategy, for matrices too large to list."""
    groups = [(cell.dataset, cell.model, cell.strategy) for cell in plan.cells]
    pending = Counter(
        group for group, status in zip(groups, _statuses(plan, known), strict=True) if status == "pending"
    )
    return [
        {**dict(zip(GROUP, group, strict=True)), "cells": count, "pending": pending[group]}
        for group, count in Counter(groups).items()
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
