"""`bench status`: how far the current or last run is, as the database knows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from benchmark import units
from benchmark.cli.cell_names import short_id
from benchmark.cli.options import database_option, format_option, verb
from benchmark.cli.terminal import output, streams
from benchmark.cli.terminal.output import NAME_COLUMNS, Column
from benchmark.errors import NotFoundError, UserError
from benchmark.results.read.alive import is_alive
from benchmark.status import READING_ORDER, UNFINISHED, Status
from benchmark.text import headline

if TYPE_CHECKING:
    from rich.text import Text

    from benchmark.results.read.runs import RunProgress

FOLLOW_SECONDS = 1.0
SHOWN_FAILURES = 10
BAR_COLUMNS = 24

RUNNING_COLUMNS = (
    Column("cell_id", Status.RUNNING, show=short_id, style="dim"),
    *NAME_COLUMNS,
    Column("epoch", right=True),
    Column("since"),
)

FAILED_COLUMNS = (
    Column("cell_id", "cell", show=short_id, style="red"),
    *NAME_COLUMNS,
    Column("cause"),
    Column("detail", show=headline),
)


@verb("status", "bench status", "bench status --follow")
@database_option
@click.option("--run", "run_id", type=int, metavar="N", help="Of this run; see `bench list runs`.  [default: the last]")
@click.option("--follow", is_flag=True, help="Keep showing it until the run ends.")
@format_option()
def command(database: str, run_id: int | None, follow: bool, output_format: str) -> None:
    """Show the progress of the current or last run, read from the database, from any terminal.

    CSV has one row for each cell of the run.
    """
    if follow and output_format != "table":
        raise UserError("--follow shows a table; leave out --format, or ask again and again with --format json")
    if follow:
        _follow(lambda: _load(database, run_id))
        return
    progress, alive = _load(database, run_id)
    if output_format == "csv":
        output.write_rows(progress.cells, [Column("cell_id")], "csv")
    elif output_format == "json":
        known = {"run": progress.run, "alive": alive, "counts": progress.counts}
        output.write_json({**known, Status.RUNNING: progress.running, "cells": progress.cells})
    else:
        streams.out().print(picture(progress, alive=alive), soft_wrap=True)


def _load(database: str, run_id: int | None) -> tuple[RunProgress, bool]:
    """The progress of the run, and whether its process is there."""
    from benchmark.results.read.runs import run_progress
    from benchmark.results.store.database import open_database

    with open_database(database, mode="read") as opened:
        progress = run_progress(opened, run_id)
    if progress is None:
        raise NotFoundError(f"{database}: no run yet; begin one with: bench run")
    return progress, is_alive(progress.run, served="://" in database and not database.startswith("sqlite"))


def _follow(load: Callable[[], tuple[RunProgress, bool]]) -> None:
    """Show the progress anew until the run ends; Ctrl-C ends the showing, not the run."""
    console = streams.out()
    if console.is_terminal and not console.is_dumb_terminal:
        from rich.live import Live

        progress, alive = load()
        with Live(picture(progress, alive=alive), console=console, auto_refresh=False) as live:
            while alive:
                time.sleep(FOLLOW_SECONDS)
                progress, alive = load()
                live.update(picture(progress, alive=alive), refresh=True)
        return
    shown = ""
    while True:
        progress, alive = load()
        if shown != (shown := _counts(progress)):
            console.print(f"{time.strftime('%H:%M:%S')} {shown}", soft_wrap=True)
        if not alive:
            return
        time.sleep(FOLLOW_SECONDS)


def picture(progress: RunProgress, *, alive: bool) -> Text:
    """The whole answer."""
    from rich.text import Text

    total = sum(count for status, count in progress.counts.items() if status != Status.SKIPPED)
    done = total - sum(progress.counts.get(status, 0) for status in UNFINISHED)
    bar = "━" * (BAR_COLUMNS * done // max(total, 1))
    parts = [
        output.sentence(_headline(progress.run, alive=alive), "bold"),
        output.sentence(f"{bar} {done}/{total} cells: {_counts(progress)}".lstrip()),
    ]
    if progress.running and alive:
        parts.append(output.table([_running(row) for row in progress.running], RUNNING_COLUMNS))
    failed = [row for row in progress.cells if row["status"] in {Status.FAILED, Status.BLOCKED}]
    if failed:
        parts.append(output.table(failed[:SHOWN_FAILURES], FAILED_COLUMNS))
    if len(failed) > SHOWN_FAILURES:
        parts.append(
            output.sentence(f"and {len(failed) - SHOWN_FAILURES} more; `bench list cells --select status=failed`")
        )
    return Text("\n").join(parts)


def _headline(run: Mapping[str, Any], *, alive: bool) -> str:
    name = f" {run['name']!r}" if run["name"] else ""
    state = run["state"]
    if state == Status.RUNNING and not alive:
        state = "died without a word; `bench run` goes on from where it was"
    elif run["finished_utc"] is not None:
        state = f"{state} in {_time_between(run['started_utc'], run['finished_utc'])}"
    elif state == Status.RUNNING:
        state = f"running for {_time_between(run['started_utc'])}"
    return f"run {run['run_id']}{name} on {run['machine']}: {state}"


def _counts(progress: RunProgress) -> str:
    known = [status for status in READING_ORDER if progress.counts.get(status)]
    return ", ".join(
        f"{progress.counts[status]:,} {'left out' if status == Status.SKIPPED else status}" for status in known
    )


def _running(row: Mapping[str, Any]) -> dict[str, Any]:
    epoch = f"{row['epochs'] or 0}/{row['epochs_planned']}"
    return {**row, "epoch": epoch, "since": _time_between(row["started_utc"])}


def _time_between(start: str, end: str | None = None) -> str:
    """The time from one moment to another, or to now, in words."""
    last = datetime.now(UTC) if end is None else datetime.fromisoformat(end)
    return units.seconds(max((last - datetime.fromisoformat(start)).total_seconds(), 0.0))
