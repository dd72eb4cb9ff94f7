"""What a run is asked to do, and doing it: shared by `run`, `plan`, `why`, `reproduce` and `prepare`."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import units
from benchmark.catalog.cache import default_cache_root
from benchmark.catalog.prepared_size_limit import prepared_limit_gib
from benchmark.cli.progress.plain_log import PlainLog
from benchmark.cli.progress.run_summary import conclude
from benchmark.cli.terminal import streams, verbosity
from benchmark.errors import UserError
from benchmark.machine import default_machine_name
from benchmark.matrix.plan import Plan
from benchmark.results.artifacts.artifact_place import place_named, place_of
from benchmark.results.store.database import open_database
from benchmark.results.store.location import locate
from benchmark.results.store.lock import lock_database
from benchmark.results.store.reference import begin_anew
from benchmark.scheduling.run_options import RunOptions, RunSummary
from benchmark.text import one_line

if TYPE_CHECKING:
    from benchmark.cli.progress.board import Board
    from benchmark.cli.progress.live_display import LiveDisplay
    from benchmark.scheduling.executors.separate_executor import SeparateExecutor


def run_options(
    database: str, machine: str | None, *, reads_only: bool = False, artifacts: str | None = None, **given: Any
) -> RunOptions:
    """How a matrix is run: what was given, beside the places and the command line, which are found here.

    Args:
        database: Path or URL.
        machine: As given with `--machine`; None for the host name.
        artifacts: Folder or URL for artifacts; None for the place that belongs to the database.
        reads_only: Nothing will be written, so that a user without a home folder needs no cache.
        **given: Other fields of `RunOptions`.

    Raises:
        UserError: There is no place for the cache, or what it may hold is no number.
    """
    prepared_limit_gib()
    try:
        cache_root = default_cache_root()
    except UserError:
        if not reads_only:
            raise
        # nothing lies there
        cache_root = Path(os.devnull)
    place = place_of(database) if artifacts is None else place_named(artifacts)
    return RunOptions(
        machine=machine or default_machine_name(),
        artifacts_root=place.root,
        artifacts_url=place.url,
        cache_root=cache_root,
        command=streams.command_line(),
        **given,
    )


def run_plan(
    plan: Plan, database: str, options: RunOptions, *, wait: bool = False, executor: SeparateExecutor | None = None
) -> int:
    """Run a plan under the display that suits stderr, and say how it went.

    Args:
        plan: The cells.
        database: Path or URL.
        options: How to run.
        wait: Whether to wait for another run that holds the database.
        executor: The engine of a cluster, whose caller holds `lock_database`; None runs the cells here.

    Returns:
        The exit code.

    Side effects: everything that a run does; see `benchmark/scheduling/run.py`.
    """
    with lock_database(database, wait=wait) if executor is None else nullcontext():
        summary, board = run_held(plan, database, options, executor)
    conclude(board, summary, options.command, database)
    return summary.exit_code


def run_held(
    plan: Plan, database: str, options: RunOptions, executor: SeparateExecutor | None
) -> tuple[RunSummary, Board]:
    """As `run_plan`, for a caller that holds `lock_database` and says itself how it went."""
    from benchmark.scheduling.run import run_matrix

    left_out = f", {len(plan.left_out):,} left out" if plan.left_out else ""
    verbosity.inform(f"{one_line(plan.path)}: {units.plural(len(plan.cells), 'cell')}{left_out}")
    for note in plan.notes:
        verbosity.inform(one_line(f"note: {note}"), "dim")
    if begin_anew(locate(database)):
        verbosity.inform(
            f"note: {database} held the reference results and now starts empty; `bench report --reference` shows them",
            "dim",
        )
    with open_database(database, mode="write") as opened, display(has_machine=executor is None) as shown:
        summary = run_matrix(plan, opened, options, shown, executor)
    return summary, shown.board


def display(*, has_machine: bool = True) -> AbstractContextManager[LiveDisplay | PlainLog]:
    """What shows how work goes on, and on this computer how busy it is: a picture on a terminal, lines elsewhere."""
    console = streams.err()
    if streams.can_draw(console) and not verbosity.is_quiet():
        from benchmark.cli.progress.live_display import LiveDisplay

        return LiveDisplay(console, has_machine=has_machine)
    return nullcontext(PlainLog())
