"""`bench prepare`: datasets and published weights made ready before a run, as a step of its own."""

from __future__ import annotations

import contextlib
import selectors
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark import layout, units
from benchmark.cli import verbosity
from benchmark.cli.options import MatrixRequest, matrix_options, verb
from benchmark.cli.start_run import display, run_options
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.matrix.plan import Plan
    from benchmark.scheduling.run_options import RunOptions


@verb("prepare")
@matrix_options
@click.option(
    "--manual-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Take original files that you put here, instead of downloading them; their digests are verified.",
)
@click.option("--offline", is_flag=True, help="Never download anything: only prepare what is here already.")
def command(matrix: MatrixRequest, manual_dir: Path | None, offline: bool) -> None:
    """Download and prepare the datasets and ImageNet weights that a matrix needs, into the caches that all runs share.

    `bench run` does the same for what is missing; this makes it a step of its own, for machines that train offline.
    """
    plan = matrix.load()
    options = run_options(layout.DATABASE, None, offline=offline, manual_directory=manual_dir)
    problems, datasets, weights = _prepare(plan, options)
    if problems:
        raise UserError("\n".join(problems))
    and_weights = f" and {units.plural(weights, 'weights file')}" if weights else ""
    verbosity.inform(f"{units.plural(datasets, 'dataset')}{and_weights} ready")


def _prepare(plan: Plan, options: RunOptions) -> tuple[list[str], int, int]:
    """Make ready what is missing, several at once; returns what went wrong, and how many datasets and weights there are."""
    from benchmark import machine
    from benchmark.scheduling.processes.slots import Slots
    from benchmark.scheduling.programs.preparation import PROGRESS_SECONDS, Preparations

    problems: list[str] = []
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        preparations = Preparations(
            plan.cells,
            options,
            selector,
            lambda _, problem: problems.append(problem),
            lambda name: verbosity.inform(f"ready: {name}"),
        )
        stack.callback(preparations.close)
        with display() as shown:
            slots = Slots(machine.available_cores(), (), None)
            preparations.start(slots, verbosity.inform)
            while selector.get_map():
                for key, _ in selector.select(PROGRESS_SECONDS):
                    key.data()
                preparations.start(slots, verbosity.inform)
                preparations.report(shown.preparing)
    return list(filter(None, problems)), preparations.datasets, preparations.weights
