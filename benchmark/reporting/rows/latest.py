"""Chooses the executions of a report: the latest of each cell, on one machine, because machines are never mixed.

Its timings are those of a later execution that `bench run --retime` made, where its own do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from benchmark import units
from benchmark.machine import libraries_of
from benchmark.matrix.cell import Cell
from benchmark.reporting.rows.audited_fields import AUDITED
from benchmark.reporting.rows.metrics import has_valid_timing
from benchmark.reporting.table import Advised
from benchmark.status import UNFINISHED, Status

ResultRow: TypeAlias = Mapping[str, Any]
"""A row of the view `results`, with the cell in `spec` and, where known, the environment of its run (`with_environment`)."""


def cell_of(row: ResultRow) -> Cell:
    """The cell of a row whose `spec` (`Cell.to_dict()`, or that as JSON text) is there."""
    spec = row["spec"]
    return Cell.from_dict({"cell_id": row["cell_id"], **(json.loads(spec) if isinstance(spec, str) else spec)})


def has_several_labels(row: ResultRow) -> bool:
    """Whether an image of the row's data may have several labels; where the `spec` is not known, no."""
    spec = row.get("spec") or {}
    spec = json.loads(spec) if isinstance(spec, str) else spec
    return bool(spec.get("data", {}).get("multi_label"))


def with_environment(rows: Sequence[ResultRow], runs: Sequence[Mapping[str, Any]]) -> list[ResultRow]:
    """The rows with the versions and hardware of their run added; columns that a row has itself stay.

    The device is a setting; the variables that chose libraries for it (`machine.library_variables`) are hardware.
    """
    environments = {
        run["run_id"]: {each.name: run[each.name] for each in AUDITED if each.of_run and each.name in run}
        for run in runs
    }
    libraries = cache(lambda device: device and (libraries_of(device) or "none preloaded"))
    added: list[ResultRow] = []
    for row in rows:
        facts = environments.get(row.get("run_id") or 0, {})
        # a copy that is added to takes half of the time of a merged dictionary, of which a large report has many
        whole = dict(row)
        whole.update((name, value) for name, value in facts.items() if name not in row)
        whole.setdefault("libraries", libraries(row.get("device_name")))
        added.append(whole)
    return added


def choose_machine(rows: Sequence[ResultRow], asked: str | None, last: str | None) -> str | None:
    """The machine asked for, else that of the last run where it has rows, else that of the newest run."""
    if asked is not None:
        return asked
    if last is not None and any(row.get("machine") == last for row in rows):
        return last
    return max(rows, key=lambda row: row.get("run_id") or 0)["machine"] if rows else last


def latest_executions(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """One row for each cell and machine: its latest execution.

    An execution that has not come to an end yet does not take the place of an earlier one that completed (`--rerun`
    that is still going on); one that failed or diverged does. Those of `bench reproduce` never do, and of those of
    `bench run --retime` the timings alone are taken (`with_timings`).
    """
    retimed: dict[tuple[Any, Any], list[ResultRow]] = {}
    latest: dict[tuple[Any, Any], ResultRow] = {}
    # oldest first; ids decide, never clocks: a clock may have been set back
    for row in sorted(rows, key=lambda row: (row.get("execution_id") or 0, row.get("run_id") or 0)):
        key = row.get("machine"), row["cell_id"]
        if row.get("is_reproduction"):
            if row.get("is_retiming"):
                retimed.setdefault(key, []).append(row)
            continue
        before = latest.get(key)
        if before is not None and before["status"] == Status.COMPLETED and row["status"] in UNFINISHED:
            continue
        latest[key] = row
    return [with_timings(row, retimed.get(key, ())) for key, row in latest.items()]


TIMINGS = (
    "fit_seconds", "total_seconds", "images_per_second", "setup_seconds", "first_epoch_seconds", "evaluate_seconds",
    "features", "features_seconds", "features_alone_seconds", "shared_epochs", "shared_seconds",
    "steady_seconds_per_epoch", "disturbed_epochs", "lost_seconds", "peak_rss_bytes", "peak_device_bytes",
    "timing_valid", "resumed", "neighbours",
)  # fmt: skip
"""The columns that are taken from an execution that timed a result again; accuracies and all others never are."""


_SPEED = ("cpu_model", "gpu_names")
"""What timings depend on, of the hardware of a node."""


def with_timings(result: ResultRow, retimed: Sequence[ResultRow]) -> ResultRow:
    """The row of a result with the timings that count: its own, else those of the newest that timed it again.

    Args:
        result: The execution whose numbers count.
        retimed: Later or earlier executions of `bench run --retime` of the same cell and machine, oldest first. One counts
            that began after the result, has valid timings, trained as many epochs, and ran on the same hardware: nodes of
            a cluster may differ.
    """
    if result["status"] != Status.COMPLETED or has_valid_timing(result):
        return result
    later = [
        row
        for row in retimed
        if (row.get("execution_id") or 0) > (result.get("execution_id") or 0)
        and row["status"] == Status.COMPLETED
        and has_valid_timing(row)
        and all(row.get(name) == result.get(name) for name in ("epochs", *_SPEED))
    ]
    if not later:
        return result
    where = {"timing_run_id": later[-1].get("run_id"), "timing_started_utc": later[-1].get("started_utc")}
    return {**result, **{name: later[-1][name] for name in TIMINGS if name in later[-1]}, **where}


def timed_in(row: ResultRow) -> Any:
    """The run in which a row's timings were measured."""
    return row.get("timing_run_id") or row.get("run_id")


def note_on_other_machines(rows: Sequence[ResultRow], machine: str | None) -> list[Advised]:
    """A note that counts the results of other machines, which the tables leave out; none where there are none."""
    counts: dict[str, set[str]] = {}
    for row in rows:
        if row.get("machine") != machine:
            counts.setdefault(str(row.get("machine")), set()).add(row["cell_id"])
    if not counts:
        return []
    others = ", ".join(f"{name} ({units.plural(len(cells), 'cell')})" for name, cells in counts.items())
    note = f"These are the results of machine {machine} alone. The database also holds: {others}"
    return [Advised(f"{note}.", f"{note}; see --machine.")]
