"""`bench run`: runs the matrix, and says at the end what to look at next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from benchmark import units
from benchmark.cli.options import (
    Duration,
    MatrixRequest,
    database_option,
    executor_option,
    format_option,
    machine_option,
    matrix_options,
    verb,
    worker_options,
)
from benchmark.cli.reports.judging_options import resolve_options
from benchmark.cli.terminal import output
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.cli.runs.cluster_run import OpenedCluster
    from benchmark.matrix.plan import Plan
    from benchmark.scheduling.run_options import RunOptions

MANY_CELLS = 10_000
"""Above so many cells a run wants to hear their number once more: a comma too many can cost a month."""

SHOWN_REASONS = 5

SHORTEST_LEASE_SECONDS = 2


@verb(
    "run",
    "bench run",
    "bench run --select dataset=digits,seed=0 --set epochs=2",
    'bench run --jobs 2 --timeout 15m --name "first try"',
    "bench run --resolve scratch,regularized --margin 0.5pp --max-seeds 20",
)
@matrix_options
@database_option
@machine_option("the host name")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run at most this many cells at once.  [default: as cores allow]",
)
@click.option(
    "--gpu-share",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Run at most this many cells on one GPU at once; timings of cells that share a GPU do not count.",
)
@executor_option
@click.option(
    "--artifacts",
    metavar="PLACE",
    help="Folder or URL for artifacts, such as s3://bucket/folder; all nodes of a cluster must be able to write to it.",
)
@click.option(
    "--lease",
    type=Duration(),
    envvar="BENCH_LEASE",
    show_envvar=True,
    default="60",
    metavar="TIME",
    help="How long a node may be silent before its cells continue elsewhere.  [default: 60s; at least 2s]",
)
@click.option(
    "--wait-for-nodes",
    type=Duration(),
    metavar="TIME",
    help="Wait up to this long for nodes that can run all cells, and for another one when none is left.",
)
@click.option("--name", metavar="TEXT", help="Name of this run, for lists and reports.")
@click.option("--rerun", is_flag=True, help="Run finished cells again, as new executions.")
@click.option(
    "--retime",
    is_flag=True,
    help="Run finished cells whose timings do not count once more, one at a time, only to time them.",
)
@click.option(
    "--prove-resume",
    metavar="CELL",
    help="Run only CELL, once in full and once killed and resumed, in a temporary folder, and compare the results.",
)
@click.option("--retry-failed", is_flag=True, help="Try again cells that failed earlier.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first cell that fails.")
@click.option(
    "--timeout", type=Duration(), metavar="TIME", help="Time limit of one attempt, such as 90, 45s, 15m or 2h."
)
@click.option(
    "--exclusive",
    is_flag=True,
    help="Run one cell at a time on each computer, so that no other cell disturbs its timings.",
)
@worker_options("each")
@click.option("--wait", is_flag=True, help="Wait while another run uses the database, instead of exiting with 75.")
@resolve_options
@click.option(
    "--budget",
    type=Duration(),
    metavar="TIME",
    help="Run only the cells that fit into this time, such as 45s, 15m or 2h.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done with these options, and do nothing.")
@click.option(
    "--yes-n-cells",
    type=int,
    metavar="N",
    help=f"Confirm a matrix of more than {MANY_CELLS:,} cells by giving its number of cells.",
)
@format_option()
def command(matrix: MatrixRequest, database: str, machine: str | None, output_format: str, **given: Any) -> int:
    """Run the matrix: finished cells are skipped, interrupted ones continue where they stopped.

    Ctrl-C stops the run cleanly: running cells save their state, and the next `bench run` continues from there. A
    second Ctrl-C kills them. Progress goes to stderr; --format applies to --dry-run, --resolve and --prove-resume.

    With --resolve, pairs of seeds of two strategies are added, the cheapest first, until one is better, both are
    equivalent within --margin, or --max-seeds is reached. The verdict holds however often you look: every look is
    recorded, and reports mention it.
    """
    from benchmark.cli.runs.cluster_run import opened_cluster, require_cluster
    from benchmark.cli.runs.start_run import run_options
    from benchmark.results.schema.reproductions import is_reproducing
    from benchmark.results.store.lock import lock_database

    _check_together(given)
    if is_reproducing(given["name"]):
        raise UserError(
            f"--name {given['name']!r}: expected another name: names of runs that check or time others begin so"
        )
    plan = matrix.load()
    asked = _RunRequest(*(given.pop(each.name) for each in fields(_RunRequest)))
    executor, node_seconds, proven = (given.pop(name) for name in ("executor", "wait_for_nodes", "prove_resume"))
    if given["lease"] < SHORTEST_LEASE_SECONDS:
        raise UserError(f"--lease: expected at least {SHORTEST_LEASE_SECONDS} s, got {given['lease']:g} s")
    on_cluster = require_cluster(executor, database)
    if on_cluster and proven:
        raise UserError(
            f"--executor {executor}: --prove-resume kills its cell on this computer, in a temporary place; leave --executor out: "
            "nodes run the same workers, so that what it proves holds there, too"
        )
    options = run_options(
        database,
        machine,
        reads_only=asked.dry_run,
        timeout_seconds=given.pop("timeout"),
        lease_seconds=given.pop("lease"),
        node_seconds=node_seconds or 0.0,
        **given,
    )
    if proven is not None:
        from benchmark.cli.runs.resume_proof import prove_resume

        _require_consent(plan, options)
        return prove_resume(plan, proven, options, output_format)
    if not on_cluster:
        return _run(asked, matrix, plan, database, options, output_format)
    # no agent of this run is placed beside those of another one
    lock = nullcontext() if asked.dry_run else lock_database(database, wait=asked.wait)
    with lock, opened_cluster(executor, matrix, plan, options, node_seconds) as opened:
        return _run(asked, opened.matrix, opened.plan, database, options, output_format, opened)


def _check_together(given: Mapping[str, Any]) -> None:
    """Refuses options that exclude each other."""
    if given["retime"] and (given["rerun"] or given["retry_failed"]):
        raise UserError("--retime runs finished cells for their timings alone; leave --rerun and --retry-failed out")
    if given["retime"] and given["resolve"]:
        raise UserError("--retime runs finished cells alone; leave --resolve out")
    if given["resolve"] and given["rerun"]:
        raise UserError("--resolve: it adds seeds to what there is; leave --rerun out")


@dataclass(frozen=True, slots=True)
class _RunRequest:
    """Options of this command that say what is done, and not how cells are run."""

    resolve: tuple[str, ...]
    max_seeds: int
    margin: float | None
    budget: float | None
    retime: bool
    dry_run: bool
    wait: bool
    yes_n_cells: int | None


def _run(
    asked: _RunRequest,
    matrix: MatrixRequest,
    plan: Plan,
    database: str,
    options: RunOptions,
    output_format: str,
    cluster: OpenedCluster | None = None,
) -> int:
    """Does it here, or on the nodes of a cluster for which the plan is."""
    from benchmark.cli.runs.retiming import compare_digests, retiming
    from benchmark.cli.runs.run_forecast import history, within_budget
    from benchmark.cli.runs.start_run import run_plan
    from benchmark.cli.texts.plan_text import show_plan

    room, executor = (None, None) if cluster is None else (cluster.room, cluster.executor)
    run = partial(run_plan, database=database, wait=asked.wait, executor=executor)
    if asked.retime:
        again = retiming(plan, database, options)
        if again is None:
            return 0
        plan, options = again
        if not asked.dry_run:
            _require_consent(plan, options)
            code = run(plan, options=options)
            compare_digests(database, options)
            return code
    if not asked.dry_run:
        _require_consent(plan, options)
        if cluster is None:
            plan = _with_threads(matrix, plan, database, options, wait=asked.wait)
        confirm_size(plan, asked.yes_n_cells)
    if not (asked.resolve or asked.dry_run or asked.budget is not None):
        return run(plan, options=options)
    known, prospect = history(database, options), None
    if asked.resolve:
        from benchmark.cli.runs.dispute import dispute_of
        from benchmark.cli.runs.resolve_forecast import prospect_of
        from benchmark.cli.runs.resolving import resolve

        dispute = dispute_of(
            matrix, plan, asked.resolve, known, options, most=asked.max_seeds, margin=asked.margin, database=database
        )
        if not asked.dry_run:
            answer = resolve(dispute, database, options, budget=asked.budget, wait=asked.wait, executor=executor)
            _print_answer(answer.record(dispute), answer.lines(dispute), output_format)
            return answer.exit_code
        prospect = prospect_of(dispute, known, database, options, asked.budget, room)
        plan = prospect.plan
    if asked.dry_run:
        obstacles = _obstacles(plan, options, asked.yes_n_cells)
        show_plan(
            plan,
            known,
            options,
            output_format,
            budget=asked.budget,
            prospect=prospect,
            room=room,
            obstacles=obstacles,
        )
        return 0
    assert asked.budget is not None
    return run(within_budget(plan, known, options, asked.budget, room), options=options)


def _with_threads(matrix: MatrixRequest, plan: Plan, database: str, options: RunOptions, *, wait: bool) -> Plan:
    if not plan.undecided:
        return plan
    from benchmark.cli.runs.measuring import decide_threads
    from benchmark.results.store.lock import lock_database

    # no other run of this database may disturb the measurement
    with lock_database(database, wait=wait):
        return decide_threads(matrix, plan, database, options)


def _print_answer(record: dict[str, Any], lines: Sequence[str], output_format: str) -> None:
    if output_format == "json":
        output.write_json(record)
    elif output_format == "csv":
        output.write_csv_rows(iter([record]))
    else:
        for number, line in enumerate(lines):
            output.write_line(line, style=None if number else "bold")


def _require_consent(plan: Plan, options: RunOptions) -> None:
    from benchmark.matrix.trust import require_consent

    require_consent(plan.cells, options.command.replace(" --dry-run", ""), allowed=options.allow_plugins)


def _obstacles(plan: Plan, options: RunOptions, confirmed: int | None) -> Iterator[str]:
    """What would end the run before it begins."""
    checks = (partial(_require_consent, plan, options), partial(confirm_size, plan, confirmed))
    for check in checks:
        try:
            check()
        except UserError as error:
            yield f"`bench run` would be refused: {error}"


def confirm_size(plan: Plan, confirmed: int | None) -> None:
    """Let a matrix pass that has cells, and a large one only when their number was named.

    Raises:
        UserError: All cells are left out, or the number is missing or another one.
    """
    count = len(plan.cells)
    if not count:
        reasons = Counter(left.reason for left in plan.left_out)
        shown = [f"{units.plural(number, 'cell')}: {reason}" for reason, number in reasons.most_common(SHOWN_REASONS)]
        more = [f"and {len(reasons) - len(shown)} more reasons"] if len(reasons) > len(shown) else []
        raise UserError(f"{plan.path}: expected at least one cell, all are left out: {'; '.join([*shown, *more])}")
    if confirmed is not None and confirmed != count:
        raise UserError(f"--yes-n-cells says {confirmed} cells, {plan.path} has {count}; check with `bench plan`")
    if count > MANY_CELLS and confirmed is None:
        raise UserError(
            f"{plan.path} has {count} cells, more than {MANY_CELLS}; if you mean that, add --yes-n-cells {count}, "
            "or take fewer with --select"
        )
