"""What `bench run --retime` does: which results have timings that do not count, and how those came out that ran again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmark import units
from benchmark.cli.cell_names import short_id
from benchmark.cli.terminal import verbosity
from benchmark.matrix.plan import Plan
from benchmark.reporting.rows.latest import latest_executions
from benchmark.reporting.rows.metrics import has_valid_timing, invalid_timing
from benchmark.results.read import queries
from benchmark.results.schema.reproductions import retiming_run_name
from benchmark.results.store.database import open_database
from benchmark.scheduling.run_options import RunOptions
from benchmark.status import Status


def retiming(plan: Plan, database: str, options: RunOptions) -> tuple[Plan, RunOptions] | None:
    """The plan of the cells whose timings do not count, with their parents, and how they are run; None without any."""
    wanted = {cell.cell_id: cell for cell in plan.cells}
    with open_database(database, mode="read") as opened:
        rows = latest_executions(queries.results(opened, spec=True, machine=options.machine))
    done = [row for row in rows if row["status"] == Status.COMPLETED and row["cell_id"] in wanted]
    again = {row["cell_id"]: invalid_timing(row) for row in done if not has_valid_timing(row)}
    verbosity.inform(
        f"{units.plural(len(done), 'finished cell')} on {options.machine}, the timings of {len(again)} do not count"
    )
    if not again:
        return None
    parents = {wanted[cell_id].parent_cell_id for cell_id in again}
    cells = tuple(cell for cell in plan.cells if cell.cell_id in again or cell.cell_id in parents)
    how = replace(options, retime=True, rerun_cells=frozenset(again), name=retiming_run_name(options.name))
    return replace(plan, cells=cells, left_out=()), how


def compare_digests(database: str, options: RunOptions) -> list[str]:
    """Says of each cell that was timed again whether it came to the same numbers; the ids of those that did not."""
    with open_database(database, mode="read") as opened:
        rows = queries.results(opened, spec=True, machine=options.machine)
    rows = [row for row in rows if row["cell_id"] in options.rerun_cells]
    differing = [row["cell_id"] for row in latest_executions(rows) if _differs(row, rows)]
    for cell_id in differing:
        verbosity.inform(
            f"WARNING: cell {short_id(cell_id)} gave other numbers when it was timed again: its digests differ. Its "
            "accuracies stay those of the result; see: bench reproduce, bench doctor --noise",
            "bold red",
        )
    timed = sum(has_valid_timing(row) for row in latest_executions(rows))
    rest = "" if timed == len(options.rerun_cells) else "; run --retime once more when this machine is idle"
    verbosity.inform(f"{timed} of {units.plural(len(options.rerun_cells), 'cell')} have timings that count now{rest}")
    return differing


def _differs(result: dict[str, Any] | Any, rows: Sequence[dict[str, Any]]) -> bool:
    retimed = [row for row in rows if row["is_retiming"] and row["cell_id"] == result["cell_id"] and row["digest"]]
    return bool(retimed) and retimed[-1]["digest"] != result["digest"]
