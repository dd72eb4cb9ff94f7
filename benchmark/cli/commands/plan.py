"""`bench plan`: what `bench run` would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli import output, streams
from benchmark.cli.cell_names import short_id
from benchmark.cli.commands.run import Duration
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
from benchmark.cli.texts.forecast_text import Expectation, History, expect, history
from benchmark.status import Status
from benchmark.text import printable

if TYPE_CHECKING:
    from benchmark.matrix.cell import Cell
    from benchmark.matrix.plan import LeftOut, Plan

SHOWN_CELLS = 200
"""The table shows so many cells; JSON and CSV show all."""


@click.command(
    "plan",
    context_settings=CONTEXT,
    epilog=examples(
        "bench plan",
        "bench plan --select model=resnet* --set epochs=2",
        "bench plan --budget 2h --jobs 4",
        "bench plan --probe",
    ),
)
@matrix_options
@database_option
@machine_option
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Forecast for so many cells at once.")
@click.option(
    "--probe", is_flag=True, help="First try a cell of each kind that this machine has never run, for a few seconds."
)
@click.option("--budget", type=Duration(), metavar="TIME", help="Say which cells fit into it: 90, 45s, 15m, 2h.")
@format_option()
@common_options
def command(
    matrix: MatrixRequest,
    database: str,
    machine: str | None,
    jobs: int | None,
    probe: bool,
    budget: float | None,
    output_format: str,
) -> None:
    """Show what `bench run` would do: cells, what is done already, what is left out and why, and a forecast.

    The forecast of time, memory and disk goes by what this machine has recorded: the same cell, cells like it, a trial
    of a few steps (--probe), or else what the network has to compute, at the speed recorded so far: right within a
    factor of about two. With --budget the plan says which cells will have ended by then. Nothing is written but what
    --probe measures, which is kept in the cache; no database is made.
    """
    plan = matrix.load()
    if probe:
        plan = _probed(matrix, plan, database, machine, jobs)
    show_plan(plan, database, machine, jobs, output_format, budget)


def _probed(matrix: MatrixRequest, plan: Plan, database: str, machine: str | None, jobs: int | None) -> Plan:
    """The plan once the machine has been measured for it; see `measuring.py`."""
    from benchmark.catalog.cache import default_cache_root
    from benchmark.cli.commands.run import command_line
    from benchmark.cli.thread_measuring import decide_threads, probe
    from benchmark.machine import default_machine_name
    from benchmark.results.store.location import artifacts_root
    from benchmark.scheduling.options import RunOptions

    options = RunOptions(
        machine=machine or default_machine_name(),
        artifacts_root=artifacts_root(database),
        cache_root=default_cache_root(),
        jobs=jobs,
        command=command_line(),
    )
    plan = decide_threads(matrix, plan, database, options)
    probe(plan.cells, history(database, options.machine), options)
    return plan


def show_plan(
    plan: Plan,
    database: str,
    machine: str | None,
    jobs: int | None,
    output_format: str,
    budget: float | None = None,
) -> None:
    """Print a plan on stdout, with the status that each cell has on this machine, and a forecast."""
    from benchmark.machine import default_machine_name

    known = history(database, machine or default_machine_name())
    expected = expect(plan.cells, known, jobs, budget)
    row = _Rows(known.statuses).row
    rows = ({**row(cell), **expected.of_cell(cell.cell_id)} for cell in plan.cells)
    if output_format == "csv":
        output.write_csv_rows(rows)
    elif output_format == "json":
        output.write_json(_document(plan, rows, known, expected))
    else:
        _print(plan, rows, known, expected)


class _Rows:
    """Cells as flat records. Cells that share their parts share the settings too, which are collected once."""

    def __init__(self, statuses: Mapping[str, str]) -> None:
        from benchmark.matrix.settings import names_of

        self._statuses = statuses
        self._scalars = attrgetter(*sorted(names_of("cell") - {"seed"}))
        self._shared: dict[tuple[Any, ...], dict[str, Any]] = {}

    def row(self, cell: Cell) -> dict[str, Any]:
        return {
            "cell_id": cell.cell_id,
            "dataset": cell.dataset,
            "model": cell.model,
            "strategy": cell.strategy,
            "seed": cell.seed,
            **self._settings(cell),
            "status": self._statuses.get(cell.cell_id, Status.PENDING),
            "parent_cell_id": cell.parent_cell_id,
        }

    def _settings(self, cell: Cell) -> dict[str, Any]:
        from benchmark.matrix.settings import cell_settings

        weights = (cell.weights.origin, cell.weights.path)
        key = (id(cell.data), id(cell.architecture), *map(id, cell.stages), *self._scalars(cell), *weights)
        if key not in self._shared:
            own = {"cell_id", "dataset", "model", "strategy", "seed", "status", "parent_cell_id"}
            self._shared[key] = {name: value for name, value in cell_settings(cell).items() if name not in own}
        return self._shared[key]


def _document(plan: Plan, rows: Iterator[dict[str, Any]], known: History, expected: Expectation) -> dict[str, Any]:
    return {
        "matrix": plan.path,
        "name": plan.name,
        "counts": dict(Counter(_statuses(plan, known))),
        "cells": rows,
        "left_out": [_left_out(left) for left in plan.left_out],
        "notes": list(plan.notes),
        "forecast": expected.totals(),
    }


def _statuses(plan: Plan, known: History) -> Iterator[str]:
    return (known.statuses.get(cell.cell_id, Status.PENDING) for cell in plan.cells)


def _left_out(left: LeftOut) -> dict[str, Any]:
    keys = ("dataset", "model", "strategy", "seed", "reason")
    return {key: getattr(left, key) for key in keys}


def _print(plan: Plan, rows: Iterator[dict[str, Any]], known: History, expected: Expectation) -> None:
    if len(plan.cells) > SHOWN_CELLS:
        columns = [*map(output.Column, GROUP), *(output.Column(key, right=True) for key in ("cells", Status.PENDING))]
        output.write_table(_grouped(plan, known, expected), [*columns, FORECAST])
    elif plan.cells:
        output.write_table(list(rows), _columns(plan, expected))
    for reason, count in Counter(left.reason for left in plan.left_out).items():
        _line(f"left out: {output.plural(count, 'cell')}: {reason}")
    for note in plan.notes:
        _line(f"note: {note}")
    counts = ", ".join(f"{count:,} {status}" for status, count in Counter(_statuses(plan, known)).items())
    left_out = f"; {len(plan.left_out):,} left out" if plan.left_out else ""
    _line(f"{output.plural(len(plan.cells), 'cell')}: {counts or 'none'}{left_out}", style="bold")
    for text in expected.in_words():
        _line(text)


def _line(text: str, style: str | None = None) -> None:
    streams.out().print(printable(text), style=style, soft_wrap=True)


GROUP = ("dataset", "model", "strategy")
FORECAST = output.Column("forecast_seconds", "forecast", show=output.seconds, right=True)


def _grouped(plan: Plan, known: History, expected: Expectation) -> list[dict[str, Any]]:
    """One row for each dataset, model and strategy, for matrices too large to list."""
    groups = [(cell.dataset, cell.model, cell.strategy) for cell in plan.cells]
    pending = Counter(
        group for group, status in zip(groups, _statuses(plan, known), strict=True) if status == Status.PENDING
    )
    seconds = dict.fromkeys(groups, 0.0)
    for cell, group in zip(plan.cells, groups, strict=True):
        if (estimate := expected.estimates.get(cell.cell_id)) is not None:
            seconds[group] += estimate.seconds
    return [
        {
            **dict(zip(GROUP, group, strict=True)),
            "cells": count,
            Status.PENDING: pending[group],
            "forecast_seconds": seconds[group] or None,
        }
        for group, count in Counter(groups).items()
    ]


def _columns(plan: Plan, expected: Expectation) -> list[output.Column]:
    """Names, the settings that are axes, and what is known of each cell."""
    first = ("dataset", "model", "strategy", "seed")
    fits = [] if expected.budget is None else [output.Column("fits", show=lambda fits: "yes" if fits else "no")]
    axes = [axis for axis in plan.axes if axis not in first]
    return [
        output.Column("cell_id", "cell", show=short_id, style="dim"),
        *(output.Column(key, right=key == "seed") for key in first),
        *(output.Column(axis, show=str) for axis in axes),
        output.Column("epochs", right=True, show=epochs_in_words),
        output.Column("status"),
        FORECAST,
        output.Column("forecast_basis", "by", style="dim"),
        *fits,
        output.Column("parent_cell_id", "starts from", show=short_id, style="dim"),
    ]


def epochs_in_words(epochs: Any) -> str:
    """`10`, or `3+2` for stages of different length."""
    return "+".join(map(str, epochs)) if isinstance(epochs, list) else str(epochs)
