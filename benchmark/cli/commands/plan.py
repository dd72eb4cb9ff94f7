"""`bench plan`: what `bench run` would do."""

from __future__ import annotations

import click

from benchmark.cli.options import (
    Duration,
    MatrixRequest,
    database_option,
    executor_option,
    format_option,
    machine_option,
    matrix_options,
    verb,
)
from benchmark.cli.reports.judging_options import resolve_options
from benchmark.errors import UserError


@verb(
    "plan",
    "bench plan",
    "bench plan --select model=resnet* --set epochs=2",
    "bench plan --budget 2h --jobs 4",
    "bench plan --probe",
    "bench plan --resolve scratch,regularized --max-seeds 20",
)
@matrix_options
@database_option
@machine_option("the host name")
@executor_option
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Forecast for this many cells at once.")
@click.option(
    "--probe", is_flag=True, help="First try one cell of each kind that this machine has never run, for a few seconds."
)
@click.option(
    "--budget", type=Duration(), metavar="TIME", help="Show which cells fit into this time, such as 45s, 15m or 2h."
)
@resolve_options
@format_option()
def command(
    matrix: MatrixRequest,
    database: str,
    machine: str | None,
    executor: str,
    jobs: int | None,
    probe: bool,
    budget: float | None,
    resolve: tuple[str, ...],
    max_seeds: int,
    margin: float | None,
    output_format: str,
) -> None:
    """Show what `bench run` would do: the cells, what is already done, what is left out and why, and a forecast.

    The forecast of time, memory and disk space is based on what this machine has recorded: the same cell, similar cells
    or a short trial (--probe). Without these it is estimated from what the network has to compute, at the speed
    recorded so far, which is right within a factor of about two. With --executor it is the forecast for the nodes that
    are there now. With --budget the plan says which cells will have ended by then. With --resolve it shows about how
    many pairs of seeds the comparison will need, and which. Nothing is written except the measurements of --probe,
    which are kept in the cache; no database is created.
    """
    from benchmark.cli.runs.cluster_run import opened_cluster, require_cluster
    from benchmark.cli.runs.run_forecast import history
    from benchmark.cli.runs.start_run import run_options
    from benchmark.cli.texts.plan_text import show_plan

    plan = matrix.load()
    on_cluster = require_cluster(executor, database)
    if on_cluster and probe:
        raise UserError(f"--executor {executor}: --probe tries cells on this computer alone; leave one of them out")
    options = run_options(database, machine, reads_only=not probe, jobs=jobs)
    if probe:
        from benchmark.cli.runs import measuring
        from benchmark.scheduling.decisions.reuse import decide

        plan = measuring.decide_threads(matrix, plan, database, options)
        known = history(database, options)
        decisions = decide(plan.cells, known.recorded, options)
        measuring.probe([cell for cell in plan.cells if decisions[cell.cell_id].will_run], known, options)
    known, prospect, room = history(database, options), None, None
    if on_cluster:
        with opened_cluster(executor, matrix, plan, options) as opened:
            matrix, plan, room = opened.matrix, opened.plan, opened.room
    if resolve:
        from benchmark.cli.runs.dispute import dispute_of
        from benchmark.cli.runs.resolve_forecast import prospect_of

        dispute = dispute_of(
            matrix, plan, resolve, known, options, most=max_seeds, margin=margin, database=database, only_plans=True
        )
        prospect = prospect_of(dispute, known, database, options, budget, room)
        plan = prospect.plan
    show_plan(plan, known, options, output_format, budget=budget, prospect=prospect, room=room)
