"""`bench prepare`: datasets made ready before a run, as a step of its own."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

import click

from benchmark.cli import output, verbosity
from benchmark.cli.options import CONTEXT, MatrixRequest, common_options, matrix_options
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.matrix.plan import Plan


@click.command("prepare", context_settings=CONTEXT)
@matrix_options
@click.option("--offline", is_flag=True, help="Never download anything: only prepare what is here already.")
@common_options
def command(matrix: MatrixRequest, offline: bool) -> None:
    """Download and prepare the datasets that a matrix needs, into the cache that all runs share.

    `bench run` does the same for what is missing; this makes it a step of its own, for machines that train offline.
    """
    plan = matrix.load()
    problems = prepare(plan, offline=offline)
    if problems:
        raise UserError("\n".join(problems))
    count = len({(cell.data.source, cell.data.image_size, cell.data.color) for cell in plan.cells})
    verbosity.inform(f"{output.plural(count, 'dataset')} ready")


def prepare(plan: Plan, *, offline: bool) -> list[str]:
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
