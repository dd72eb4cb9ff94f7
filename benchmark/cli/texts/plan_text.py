"""What `bench plan` and `bench run --dry-run` print: what becomes of each cell and why, and a forecast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from benchmark import units
from benchmark.catalog.cache import data_notes
from benchmark.cli.cell_names import NAMES, setting_text, short_id
from benchmark.cli.runs.run_forecast import Expectation, History, expect
from benchmark.cli.terminal import output
from benchmark.forecast.simulation import Room
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.matrix.selection import NAME_KEYS
from benchmark.matrix.settings import SEEDS, cell_settings, names_of, setting_of
from benchmark.scheduling.decisions.reuse import Decision, decide
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import Outlook, Status

if TYPE_CHECKING:
    from benchmark.cli.runs.resolve_forecast import Prospect

SHOWN_CELLS = 200
"""The table shows so many cells; JSON and CSV show all."""

SHOWN_REASONS = 10


def show_plan(
    plan: Plan,
    known: History,
    options: RunOptions,
    output_format: str,
    *,
    budget: float | None,
    prospect: Prospect | None,
    room: Room | None,
    obstacles: Iterable[str] = (),
) -> None:
    """Print on stdout what a run with these options does with each cell of a plan, and a forecast.

    With a `budget` it says also what can be done in so many seconds; `obstacles` would end the run before it begins;
    a `prospect` is what `--resolve` will about need; `room` is what the nodes of a cluster have, instead of this machine.
    """
    decisions = decide(plan.cells, known.recorded, options)
    to_do = [cell for cell in plan.cells if decisions[cell.cell_id].will_run]
    expected = expect(to_do, known, options, budget, room=room)
    remarkable = data_notes(dict.fromkeys(cell.data for cell in plan.cells), options.directories)
    notes = [*plan.notes, *remarkable, *obstacles, *_too_long(expected, options.timeout_seconds)]
    statuses = known.statuses
    rows = _rows(plan.cells, statuses, decisions, expected)
    counts = Counter(statuses.get(cell.cell_id, Status.PENDING) for cell in plan.cells)
    if output_format == "csv":
        output.write_csv_rows(rows)
    elif output_format == "json":
        output.write_json(
            {
                "matrix": plan.path,
                "name": plan.name,
                "counts": dict(counts),
                "cells": rows,
                "left_out": [{key: getattr(left, key) for key in (*NAMES, "reason")} for left in plan.left_out],
                "notes": notes,
                "forecast": expected.totals(),
                **({} if prospect is None else {"resolve": prospect.record()}),
            }
        )
    else:
        lines = [*(f"note: {note}" for note in notes), *_reasons(plan, known, decisions)]
        _print(plan, rows, counts, decisions, lines, expected)
        for line in prospect.lines() if prospect else ():
            output.write_line(line)


def _too_long(expected: Expectation, timeout_seconds: float | None) -> Iterator[str]:
    if timeout_seconds is None:
        return
    if count := sum(estimate.seconds > timeout_seconds for estimate in expected.estimates.values()):
        longer = f"{'is' if count == 1 else 'are'} expected to take longer than --timeout allows"
        yield f"{units.plural(count, 'cell')} {longer}: {units.seconds(timeout_seconds)}"


def _rows(
    cells: Iterable[Cell], statuses: Mapping[str, str], decisions: Mapping[str, Decision], expected: Expectation
) -> Iterator[dict[str, Any]]:
    """Cells as flat records. Cells that share their parts share the settings too, which are collected once."""
    scalars = attrgetter(*sorted(names_of("cell") - {*SEEDS}))
    own = {"cell_id", *NAMES, *SEEDS, "status", "parent_cell_id"}
    shared: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in cells:
        weights = (cell.weights.origin, cell.weights.path)
        key = (id(cell.data), id(cell.architecture), *map(id, cell.stages), *scalars(cell), *weights)
        if key not in shared:
            shared[key] = {name: value for name, value in cell_settings(cell).items() if name not in own}
        yield {
            "cell_id": cell.cell_id,
            **{name: getattr(cell, name) for name in NAMES},
            **{seed: setting_of(cell, seed) for seed in SEEDS},
            **shared[key],
            "status": statuses.get(cell.cell_id, Status.PENDING),
            **decisions[cell.cell_id].record(),
            "parent_cell_id": cell.parent_cell_id,
            **expected.of_cell(cell.cell_id),
        }


def _print(
    plan: Plan,
    rows: Iterator[dict[str, Any]],
    counts: Mapping[str, int],
    decisions: Mapping[str, Decision],
    lines: list[str],
    expected: Expectation,
) -> None:
    if len(plan.cells) > SHOWN_CELLS:
        output.write_table(_grouped(plan, decisions, expected), GROUP_COLUMNS)
    elif plan.cells:
        epochs = ["+".join(str(stage.epochs) for stage in cell.stages) for cell in plan.cells]
        shown = [{**row, "epochs": text} for row, text in zip(rows, epochs, strict=True)]
        output.write_table(shown, _columns(plan, expected))
    for reason, count in Counter(left.reason for left in plan.left_out).items():
        output.write_line(f"left out: {units.plural(count, 'cell')}: {reason}")
    for text in lines:
        output.write_line(text)
    listed = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    left_out = f"; {len(plan.left_out):,} left out" if plan.left_out else ""
    output.write_line(f"{units.plural(len(plan.cells), 'cell')}: {listed or 'none'}{left_out}", style="bold")
    if len(plan.cells) > expected.cells:
        outlooks = Counter(decision.outlook for decision in decisions.values())
        listed = ", ".join(f"{outlooks[outlook]:,} {outlook}" for outlook in Outlook if outlooks[outlook])
        output.write_line(f"{units.plural(expected.cells, 'cell')} to do: {listed}")
    for text in expected.in_words():
        output.write_line(text)


def _reasons(plan: Plan, known: History, decisions: Mapping[str, Decision]) -> Iterator[str]:
    """A line for each cell whose decision needs a reason: neither reused as it is, nor resumed, nor new."""
    lines = [
        f"{short_id(cell.cell_id)} {decision.outlook}: {decision.reason}"
        for cell in plan.cells
        if (decision := decisions[cell.cell_id]).outlook in {Outlook.SETTLED, Outlook.BLOCKED}
        or (decision.will_run and decision.outlook is not Outlook.RESUMES and cell.cell_id in known.recorded.states)
        or decision.unprepared
        or decision.stands_with is not None
    ]
    yield from lines[:SHOWN_REASONS]
    if len(lines) > SHOWN_REASONS:
        yield f"and {len(lines) - SHOWN_REASONS} more; `bench why CELL` and --format json say why"


FORECAST = output.Column("forecast_seconds", "forecast", show=units.seconds, right=True)
GROUP_COLUMNS = (
    *map(output.Column, NAME_KEYS),
    output.Column("cells", right=True),
    output.Column("to_do", "to do", right=True),
    FORECAST,
)


def _grouped(plan: Plan, decisions: Mapping[str, Decision], expected: Expectation) -> list[dict[str, Any]]:
    """One row for each dataset, model and strategy, for matrices too large to list."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.dataset, cell.model, cell.strategy), []).append(cell.cell_id)
    estimates = expected.estimates
    return [
        {
            **dict(zip(NAME_KEYS, group, strict=True)),
            "cells": len(ids),
            "to_do": sum(decisions[cell_id].will_run for cell_id in ids),
            "forecast_seconds": sum(estimates[cell_id].seconds for cell_id in ids if cell_id in estimates) or None,
        }
        for group, ids in groups.items()
    ]


def _columns(plan: Plan, expected: Expectation) -> list[output.Column]:
    """Names, the settings that are axes, and what is known of each cell."""
    fits = [] if expected.budget is None else [output.Column("fits", show=lambda fits: "yes" if fits else "no")]
    return [
        output.Column("cell_id", "cell", show=short_id, style="dim"),
        *output.NAME_COLUMNS,
        *(output.Column(axis, show=setting_text) for axis in plan.axes if axis not in {*NAMES, "epochs"}),
        output.Column("epochs", right=True),
        output.Column("decision"),
        FORECAST,
        output.Column("forecast_basis", "forecast by", style="dim"),
        *fits,
        output.Column("parent_cell_id", "starts from", show=short_id, style="dim"),
    ]
