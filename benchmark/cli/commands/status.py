"""`bench status`: how far the current or last run is, as the database knows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from benchmark import machine, units
from benchmark.cli.cell_names import short_id
from benchmark.cli.options import database_option, format_option, verb
from benchmark.cli.terminal import output, streams
from benchmark.cli.terminal.output import NAME_COLUMNS, Column
from benchmark.errors import NotFoundError, UserError
from benchmark.status import READING_ORDER, UNFINISHED, Cause, Status
from benchmark.text import headline

if TYPE_CHECKING:
    from rich.text import Text

    from benchmark.cli.progress.live_display import LiveDisplay
    from benchmark.cli.progress.plain_log import PlainLog
    from benchmark.results.read.runs import RunProgress
    from benchmark.results.store.database import Database

FOLLOW_SECONDS = 1.0

UNHELD_SECONDS = 60.0
"""A run on another computer whose lock nobody has held for so long has died without a word."""

SHOWN_FAILURES = 10
BAR_COLUMNS = 24

RUNNING_COLUMNS = (
    Column("cell_id", Status.RUNNING, show=short_id, style="dim"),
    *NAME_COLUMNS,
    Column("epoch", right=True, stays=True),
    Column("since", stays=True),
)

FAILED_COLUMNS = (
    Column("cell_id", Status.FAILED, show=short_id, style="red"),
    *NAME_COLUMNS,
    Column("cause"),
    Column("detail", show=headline),
)


@verb("status", "bench status", "bench status --follow")
@database_option
@click.option(
    "--run", "run_id", type=int, metavar="N", help="Show this run; see `bench list runs`.  [default: the last]"
)
@click.option("--follow", is_flag=True, help="Show what `bench run` shows in its own terminal, until the run ends.")
@format_option()
def command(database: str, run_id: int | None, follow: bool, output_format: str) -> None:
    """Show the progress of the current or last run, read from the database, from any terminal.

    --follow works on every computer that reaches the database; Ctrl-C ends it and leaves the run alone. CSV has one row
    for each cell of the run.
    """
    if follow and output_format != "table":
        raise UserError("--follow shows a table; leave out --format, or call it repeatedly with --format json")
    if follow:
        _follow(database, run_id)
        return
    with _open(database) as opened:
        progress, alive = _load(opened, database, run_id)
    if output_format == "csv":
        output.write_rows(progress.cells, [Column("cell_id")], "csv")
    elif output_format == "json":
        known = {"run": progress.run, "alive": alive, "counts": progress.counts}
        output.write_json({**known, Status.RUNNING: progress.running, "cells": progress.cells})
    else:
        streams.out().print(picture(progress, alive=alive), soft_wrap=True)


def _open(database: str) -> AbstractContextManager[Database]:
    from benchmark.results.store.database import open_database

    return open_database(database, mode="read")


def _load(opened: Database, database: str, run_id: int | None) -> tuple[RunProgress, bool]:
    """The progress of the run, and whether its process is there."""
    from benchmark.results.read.runs import run_progress

    progress = run_progress(opened, run_id)
    if progress is None:
        raise NotFoundError(f"{database}: no run yet; begin one with: bench run")
    return progress, progress.run["state"] == Status.RUNNING


def _follow(database: str, run_id: int | None) -> None:
    """Show the run as it shows itself until it ends; Ctrl-C ends the showing, not the run."""
    from benchmark.scheduling.executors.executor_registry import LOCAL

    with _open(database) as opened:
        progress, alive = _load(opened, database, run_id)
    if alive:
        run_id = progress.run["run_id"]
        is_here = progress.run["boot_id"] == machine.boot_id() and progress.run["executor"] == LOCAL
        with _display(has_machine=is_here) as shown:
            shown.note(f"{_name(progress.run)}: Ctrl-C ends this view, and leaves the run alone")
            _watch(shown, database, progress)
        with _open(database) as opened:
            progress, _ = _load(opened, database, run_id)
    streams.out().print(picture(progress, alive=False), soft_wrap=True)


def _watch(shown: LiveDisplay | PlainLog, database: str, progress: RunProgress) -> None:
    from benchmark.cli.progress.followed_run import FollowedRun
    from benchmark.results.read.run_at_work import is_unheld
    from benchmark.results.read.runs import run_row

    followed, held_at = None, time.monotonic()
    while True:
        # opened anew each time: a run that ends takes the files beside its database away, which nobody may hold
        with _open(database) as opened:
            followed = followed or FollowedRun(shown, opened, progress)
            followed.look(opened)
            alive = run_row(opened, progress.run["run_id"])["state"] == Status.RUNNING
            if not is_unheld(opened):
                held_at = time.monotonic()
        if not alive or time.monotonic() - held_at > UNHELD_SECONDS:
            return
        time.sleep(FOLLOW_SECONDS)


def _display(*, has_machine: bool) -> AbstractContextManager[LiveDisplay | PlainLog]:
    """What `bench run` would show on stderr, here on stdout."""
    console = streams.out()
    if streams.can_draw(console):
        from benchmark.cli.progress.live_display import LiveDisplay

        return LiveDisplay(console, has_machine=has_machine)
    from benchmark.cli.progress.plain_log import PlainLog

    return nullcontext(PlainLog(write=output.write_line))


def picture(progress: RunProgress, *, alive: bool) -> Text:
    """The whole answer."""
    from rich.text import Text

    total = sum(count for status, count in progress.counts.items() if status != Status.SKIPPED)
    done = total - sum(progress.counts.get(status, 0) for status in UNFINISHED)
    bar = "━" * (BAR_COLUMNS * done // max(total, 1))
    parts = [
        output.sentence(_headline(progress.run, alive=alive, is_done=done == total), "bold"),
        output.sentence(f"{bar} {done}/{total} cells: {_counts(progress)}".lstrip()),
    ]
    if progress.running and alive:
        parts += [Text(), output.table([_running(row) for row in progress.running], RUNNING_COLUMNS)]
    failed = [row for row in progress.cells if row["status"] in {Status.FAILED, Status.BLOCKED}]
    if failed:
        parts += [Text(), output.table(failed[:SHOWN_FAILURES], FAILED_COLUMNS)]
    if len(failed) > SHOWN_FAILURES:
        parts.append(
            output.sentence(f"and {len(failed) - SHOWN_FAILURES} more; `bench list cells --select status=failed`")
        )
    return Text("\n").join(parts)


def _headline(run: Mapping[str, Any], *, alive: bool, is_done: bool) -> str:
    state = run["state"]
    if state == Cause.ABANDONED or (state == Status.RUNNING and not alive):
        state = f"{Cause.ABANDONED}, its process is gone"
        state += "" if is_done else "; `bench run` continues from where it stopped"
    elif run["finished_utc"] is not None:
        state = f"{state} in {_time_between(run['started_utc'], run['finished_utc'])}"
    elif state == Status.RUNNING:
        state = f"running for {_time_between(run['started_utc'])}"
    return f"{_name(run)}: {state}"


def _name(run: Mapping[str, Any]) -> str:
    name = f" {run['name']!r}" if run["name"] else ""
    return f"run {run['run_id']}{name} on {run['machine']}"


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
