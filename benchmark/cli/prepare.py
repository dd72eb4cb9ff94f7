"""`bench prepare`: datasets made ready before a run, as a step of its own."""

from __future__ import annotations

import selectors
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli import output, verbosity
from benchmark.cli.options import CONTEXT, MatrixRequest, common_options, matrix_options
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.matrix.plan import Plan


@click.command("prepare", context_settings=CONTEXT)
@matrix_options
@click.option(
    "--manual-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Take original files that you put here, instead of downloading them; their digests are verified.",
)
@click.option("--offline", is_flag=True, help="Never download anything: only prepare what is here already.")
@common_options
def command(matrix: MatrixRequest, manual_dir: Path | None, offline: bool) -> None:
    """Download and prepare the datasets that a matrix needs, into the cache that all runs share.

    `bench run` does the same for what is missing; this makes it a step of its own, for machines that train offline.
    """
    plan = matrix.load()
    problems = prepare(plan, offline=offline, manual_directory=manual_dir)
    if problems:
        raise UserError("\n".join(problems))
    needed = [cell.data for cell in plan.cells if cell.backend != "fake"]
    count = len({(data.source, data.image_size, data.color) for data in needed})
    verbosity.inform(f"{output.plural(count, 'dataset')} ready")


def prepare(plan: Plan, *, offline: bool = False, manual_directory: Path | None = None) -> list[str]:
    """Prepare every dataset of the plan that is not ready, several at once.

    Returns:
        What went wrong, a text for each dataset that could not be prepared.

    Side effects: starts a process for each; fills `$BENCH_CACHE`.
    """
    from benchmark import machine
    from benchmark.catalog.cache import default_cache_root
    from benchmark.results.location import artifacts_root
    from benchmark.scheduling.options import RunOptions
    from benchmark.scheduling.preparation import Preparations
    from benchmark.scheduling.resources import Slots

    problems: list[str] = []
    options = RunOptions(
        machine=machine.default_machine_name(),
        artifacts_root=artifacts_root("results.sqlite"),
        cache_root=default_cache_root(),
        offline=offline,
        manual_directory=manual_directory,
    )

    def ended(_cells: set[str], problem: str) -> None:
        if problem:
            problems.append(problem)

    with selectors.DefaultSelector() as selector:
        preparations = Preparations(plan.cells, options, selector, ended)
        slots = Slots(machine.available_cores(), (), None)
        try:
            preparations.start(slots, verbosity.inform)
            while selector.get_map():
                for key, _ in selector.select():
                    key.data()
                preparations.start(slots, verbosity.inform)
        finally:
            preparations.close()
    return problems
