"""`bench run`: runs the matrix, and says at the end what to look at next."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli import output, streams, verbosity
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
from benchmark.cli.progress.run_summary import conclude, without_password
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.cli.progress.log import PlainLog
    from benchmark.cli.progress.terminal import LiveDisplay
    from benchmark.matrix.plan import Plan
    from benchmark.scheduling.options import RunOptions

MANY_CELLS = 10_000
"""Above so many cells a run wants to hear their number once more: a comma too many can cost a month."""


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: `90`, `45s`, `15m`, `2h`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value))
        seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no duration above zero; write seconds, or 45s, 15m, 2h", param, ctx)
        return seconds


@click.command(
    "run",
    context_settings=CONTEXT,
    epilog=examples(
        "bench run",
        "bench run --select dataset=digits,seed=0 --set epochs=2",
        'bench run --jobs 2 --timeout 15m --name "first try"',
    ),
)
@matrix_options
@database_option
@machine_option
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="At most so many cells at once.  [default: as cores allow]"
)
@click.option(
    "--gpu-share",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="At most so many cells on one GPU at once; timings of more than one do not count.",
)
@click.option("--executor", type=click.Choice(["local"]), default="local", show_default=True, help="Where cells run.")
@click.option("--name", metavar="TEXT", help="Name of this run, for lists and reports.")
@click.option("--rerun", is_flag=True, help="Run finished cells again, as new executions.")
@click.option("--retry-failed", is_flag=True, help="Go on with cells that failed earlier.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first cell that fails.")
@click.option("--timeout", type=Duration(), metavar="TIME", help="Longest time of one attempt: 90, 45s, 15m, 2h.")
@click.option("--exclusive", is_flag=True, help="One cell at a time, so that timings have no neighbours.")
@click.option(
    "--isolation",
    type=click.Choice(["auto", "fork", "spawn"]),
    default="auto",
    show_default=True,
    help="How each worker process is made.",
)
@click.option("--offline", is_flag=True, help="Never download anything.")
@click.option(
    "--allow-plugins", is_flag=True, help="Let the Python files of [plugins] run that you have not trusted for good."
)
@click.option("--wait", is_flag=True, help="Wait while another run holds the database, instead of ending with 75.")
@click.option("--dry-run", is_flag=True, help="Only show the plan, as `bench plan` does.")
@click.option(
    "--yes-n-cells",
    type=int,
    metavar="N",
    help=f"Confirm a matrix of more than {MANY_CELLS:,} cells by its number of cells.",
)
@format_option()
@common_options
def command(matrix: MatrixRequest, database: str, machine: str | None, output_format: str, **given: Any) -> int:
    """Run the matrix: finished cells are skipped, unfinished ones go on where they stopped.

    Ctrl-C stops gracefully: running cells save their state, and the next `bench run` goes on. Progress goes to stderr;
    `--format` is for `--dry-run`.
    """
    from benchmark.matrix.trust import require_consent

    plan = matrix.load()
    if given["dry_run"]:
        from benchmark.cli.commands.plan import show_plan

        show_plan(plan, database, machine, given["jobs"], output_format)
        return 0
    require_consent(plan.cells, command_line(), allowed=given["allow_plugins"])
    options = _options(database, machine, given)
    if plan.undecided:
        plan = _decided(matrix, plan, database, options, wait=given["wait"])
    confirm_size(plan, given["yes_n_cells"])
    return run(plan, database, options, wait=given["wait"])


def _decided(matrix: MatrixRequest, plan: Plan, database: str, options: RunOptions, *, wait: bool) -> Plan:
    """The plan once the machine has been measured for `threads = "auto"`, while no other run of this database is."""
    from benchmark.cli.thread_measuring import decide_threads
    from benchmark.results.store.lock import lock_database

    with lock_database(database, wait=wait):
        return decide_threads(matrix, plan, database, options)


def confirm_size(plan: Plan, confirmed: int | None) -> None:
    """Let a large matrix pass only when its number of cells was named.

    Raises:
        UserError: The number is missing or another one.
    """
    count = len(plan.cells)
    if confirmed is not None and confirmed != count:
        raise UserError(
            f"--yes-n-cells says {confirmed} cells, {plan.path} has {count}; look at `bench plan` once more"
        )
    if count > MANY_CELLS and confirmed is None:
        raise UserError(
            f"{plan.path} has {count} cells, more than {MANY_CELLS}; if that is meant, add --yes-n-cells {count}, "
            "or take fewer with --select"
        )


def run(plan: Plan, database: str, options: RunOptions, *, wait: bool = False) -> int:
    """Run a plan under the display that suits stderr, and say how it went.

    Returns:
        The exit code.

    Side effects: everything that a run does; see `benchmark/scheduling/run.py`.
    """
    from benchmark.results.store.database import open_database
    from benchmark.results.store.lock import lock_database
    from benchmark.scheduling.run import run_matrix

    _announce(plan)
    with lock_database(database, wait=wait), open_database(database, mode="write") as opened, _display() as display:
        summary = run_matrix(plan, opened, options, display)
    conclude(display.board, summary, options.command, database)
    return summary.exit_code


def _announce(plan: Plan) -> None:
    left_out = f", {len(plan.left_out):,} left out" if plan.left_out else ""
    verbosity.inform(f"{plan.path}: {output.plural(len(plan.cells), 'cell')}{left_out}")
    for note in plan.notes:
        verbosity.inform(f"note: {note}", "dim")


def _display() -> LiveDisplay | PlainLog:
    console = streams.err()
    if console.is_terminal and not console.is_dumb_terminal and not verbosity.is_quiet():
        from benchmark.cli.progress.terminal import LiveDisplay

        return LiveDisplay(console)
    from benchmark.cli.progress.log import PlainLog

    return PlainLog()


def _options(database: str, machine: str | None, given: dict[str, Any]) -> RunOptions:
    from benchmark.catalog.cache import default_cache_root
    from benchmark.machine import default_machine_name
    from benchmark.results.store.location import artifacts_root
    from benchmark.scheduling.options import RunOptions

    return RunOptions(
        machine=machine or default_machine_name(),
        artifacts_root=artifacts_root(database),
        cache_root=default_cache_root(),
        name=given["name"],
        jobs=given["jobs"],
        gpu_share=given["gpu_share"],
        exclusive=given["exclusive"],
        rerun=given["rerun"],
        retry_failed=given["retry_failed"],
        fail_fast=given["fail_fast"],
        timeout_seconds=given["timeout"],
        isolation=given["isolation"],
        command=command_line(),
        offline=given["offline"],
        allow_plugins=given["allow_plugins"],
    )


def command_line() -> str:
    """What the user typed, for the record; passwords in URLs are hidden."""
    return without_password(shlex.join(["bench", *sys.argv[1:]]))
