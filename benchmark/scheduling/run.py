"""Runs a matrix from beginning to end: what is there already, what is left to do, and how it went."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
from benchmark import faults, git_repository, machine
from benchmark.catalog.backends import trains
from benchmark.errors import BusyError, CellsFailedError, NodeLostError, StorageError, exhaustion
from benchmark.files import make_own_folder
from benchmark.forecast.estimate import Durations, run_seconds
from benchmark.forecast.remaining import Remaining
from benchmark.forecast.simulation import Room
from benchmark.forecast.trial_store import TrialStore
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.results.artifacts.artifact_folder import claim, release
from benchmark.results.artifacts.artifact_place import claim_url, release_url, remember_folder
from benchmark.results.read.cell_states import recorded
from benchmark.results.read.durations import efforts, starts, totals
from benchmark.results.records import Recorded
from benchmark.results.store.database import Database
from benchmark.results.write.recorder import Recorder
from benchmark.scheduling.cluster.cluster_context import ClusterRun
from benchmark.scheduling.cluster.driver import run_on_nodes
from benchmark.scheduling.cluster.placement import data_key, room_of_nodes
from benchmark.scheduling.decisions.assignment import Assignment, assign
from benchmark.scheduling.decisions.cell_decisions import CellDecisions, name_of
from benchmark.scheduling.decisions.reuse import Decision, decide
from benchmark.scheduling.decisions.shared_stages import SharedStages
from benchmark.scheduling.decisions.turns import turns
from benchmark.scheduling.executors.executor_registry import LOCAL
from benchmark.scheduling.executors.separate_executor import SeparateExecutor
from benchmark.scheduling.loop.context import RunContext
from benchmark.scheduling.loop.loop import run_cells
from benchmark.scheduling.loop.retrying_recorder import RetryingRecorder
from benchmark.scheduling.loop.scratch import scratch_folder
from benchmark.scheduling.processes.environment import require_backends
from benchmark.scheduling.processes.leftover_processes import kill_leftovers
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.processes.slots import slots_of
from benchmark.scheduling.programs.freshness import refresh
from benchmark.scheduling.run_options import GuardedObserver, Observer, RunOptions, RunSummary
from benchmark.status import Status

_OF_MACHINE = ("python_version", "os", "cpu_model", "cpu_cores", "memory_bytes", "gpu_driver", "boot_id")
"""Facts of the machine that a run records under the same names."""


def run_matrix(
    plan: Plan, database: Database, options: RunOptions, observer: Observer, executor: SeparateExecutor | None = None
) -> RunSummary:
    """Runs every cell of the plan that has no result yet, and tells the observer as it goes.

    The caller holds `lock_database` and has opened the database for writing.

    Args:
        plan: The cells, parents before children.
        database: Where everything is recorded; this is the only writer.
        options: How to run.
        observer: Whom to tell.
        executor: The engine that places agents on the nodes of a cluster; None runs the cells here.

    Returns:
        How the run ended. Interrupted runs end here too, with exit code 130 or 143.

    Raises:
        StorageError: The database or the artifacts folder cannot be written (any more).
        UserError: A cell needs a backend that is not installed.

    Side effects: starts and ends processes, writes the database and the artifacts folder, and handles SIGINT, SIGTERM
    and SIGHUP while it runs. Nothing that it started is alive when it returns or raises.
    """
    if executor is not None or options.artifacts_url is None:
        return _run_matrix(plan, database, options, observer, executor)
    # files are made here, and go to the URL from here
    with scratch_folder(options.cache_root) as scratch:
        return _run_matrix(plan, database, replace(options, artifacts_root=scratch), observer, None)


def _run_matrix(
    plan: Plan, database: Database, options: RunOptions, observer: Observer, executor: SeparateExecutor | None
) -> RunSummary:
    begun = time.monotonic()
    guarded = GuardedObserver(observer)
    faults.point("expand")
    require_backends(plan.cells)
    _check_place(options)
    options = _with_own_place(options, database)

    # what earlier runs have left: processes are ended, results are reused
    recorder = Recorder(database)
    killed = kill_leftovers(recorder.sweep())
    before = recorded(database, options.machine)
    assignment = _assignment(plan.cells, before, options, guarded, executor)
    measured = totals(database, options.machine), efforts(database, options.machine)
    known = Durations(*measured, TrialStore(options.cache_root).find, starts(database, options.machine))
    to_train = [cell for cell in assignment.run if cell.cell_id not in assignment.idle]
    room = room_of(options, executor)
    forecast_seconds = run_seconds(to_train, known, room)
    run_id = recorder.begin_run(
        {**_facts(plan, options, forecast_seconds, database.path), "executor": executor.name if executor else LOCAL}
    )
    try:
        # a new database is known by its first run
        options = _with_own_place(options, database)
        recorder.register(run_id, plan.cells, plan.left_out, assignment.reused)
        # until here Ctrl-C ends the command at once, for there is nothing to save; from here on stop signals are counted
        with StopSignals() as signals:
            # whoever has asked the run to stop does not want to wait for another program's lock as well
            database.busy_timeout.is_hurried = lambda: signals.count > 0
            retrying = RetryingRecorder(recorder, run_id, options.machine, guarded.note, signals.wait)
            begun_cells = {name for name, state in before.states.items() if state.epochs} - assignment.again
            with _exhaustion_named():
                shared = SharedStages(plan.cells, begun_cells, assignment.again, options.artifacts_root, options.store)
                in_turn = partial(turns, order=plan.order, report=plan.report)
                decider = CellDecisions(assignment, options, guarded, known, shared, retrying.block, in_turn)
                run: RunContext | ClusterRun
                if executor is None:
                    run = RunContext(decider, assignment.run, options, guarded, signals, retrying, slots_of(options))
                else:
                    prints = _fingerprints(plan.cells, before)
                    run = ClusterRun(decider, executor, database, options, guarded, signals, retrying, prints)
                with contextlib.closing(run):
                    remaining = Remaining(decider.durations, run.unfinished_cells, lambda: run.room)
                    guarded.tell("run_started", run_id, plan, assignment.idle, remaining)
                    if killed:
                        run.note(f"ended {killed} worker processes that an earlier run had left")
                    decider.tell_beginning()
                    if isinstance(run, ClusterRun):
                        run_on_nodes(run)
                    else:
                        run_cells(run)
                    decider.tidy()
            if retrying.error is not None:
                raise retrying.error
            statuses = {**assignment.settled, **decider.statuses}
            state, exit_code = _end_of(run, statuses.values())
            faults.point("report")
            retrying.finish_run(state, exit_code)
            _release_place(options, database)
    except BaseException as error:
        # a lock that has ended the run is not waited for once more
        database.busy_timeout.is_hurried = lambda: True
        asked = isinstance(error, KeyboardInterrupt)
        # the database says so itself to the next run, which finds this one unfinished
        with contextlib.suppress(StorageError, BusyError, NodeLostError):
            recorder.finish_run(
                run_id, Status.INTERRUPTED if asked else Status.FAILED, 130 if asked else getattr(error, "exit_code", 1)
            )
        raise
    counts = Counter(statuses.get(cell.cell_id, Status.PENDING) for cell in plan.cells)
    seconds = time.monotonic() - begun
    summary = RunSummary(run_id, dict(counts), assignment.reused, exit_code, run.stopped, seconds, forecast_seconds)
    guarded.tell("run_finished", summary)
    return summary


def room_of(options: RunOptions, executor: SeparateExecutor | None) -> Room:
    """What cells can share now: on the nodes of a cluster, or here."""
    return slots_of(options).room if executor is None else room_of_nodes(executor.slots(), options)


def _check_place(options: RunOptions) -> None:
    """Makes the artifacts folder, or tries the URL, before anything is trained for nothing.

    Raises:
        StorageError: It cannot be made, or not be written.
    """
    folder = options.artifacts_root
    if options.store is not None:
        options.store.check()
        return
    try:
        make_own_folder(folder, adopt=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: expected a folder for artifacts that can be made, got: {error.strerror}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"{folder}: expected a folder for artifacts that can be written; change its permissions")


def _with_own_place(options: RunOptions, database: Database) -> RunOptions:
    if options.artifacts_url is not None:
        with database.transaction() as connection:
            url = claim_url(database.location, connection, options.artifacts_url)
        return replace(options, artifacts_url=url)
    with database.reading() if database.path is not None else database.transaction() as connection:
        root = claim(database.location, connection, options.artifacts_root)
    if database.path is not None:
        remember_folder(database, root)
    return options if root == options.artifacts_root else replace(options, artifacts_root=root)


def _release_place(options: RunOptions, database: Database) -> None:
    with contextlib.suppress(StorageError), database.reading() as connection:
        if options.artifacts_url is None:
            release(database.location, connection, options.artifacts_root)
        else:
            release_url(database.location, connection, options.artifacts_url)


def _assignment(
    cells: Sequence[Cell],
    before: Recorded,
    options: RunOptions,
    observer: GuardedObserver,
    executor: SeparateExecutor | None,
) -> Assignment:
    """The work of the run; data that are not here are looked at where cells run."""
    if executor is None:
        decisions = _decide(cells, before, options, observer)
    else:
        decisions = decide(cells, before, options, compared=True)
    assignment = assign(cells, decisions, before, options.artifacts_root, from_recorded=options.retime)
    for cell in assignment.run:
        if executor is None and trains(cell.backend):
            options.directories.of(cell.data)
    return assignment


def _decide(
    cells: Sequence[Cell], before: Recorded, options: RunOptions, observer: GuardedObserver
) -> dict[str, Decision]:
    """What becomes of each cell, once data that have to be looked at for it are prepared; says which begin anew."""
    decisions = decide(cells, before, options)
    if unprepared := [cell for cell in cells if decisions[cell.cell_id].unprepared]:
        refresh(unprepared, options, observer)
        decisions = decide(cells, before, options, compared=True)
    for cell in cells:
        decision = decisions[cell.cell_id]
        asked = options.rerun or cell.cell_id in options.rerun_cells
        if options.retime and asked and not decision.will_run:
            observer.note(f"{name_of(cell)}: {decision.reason}")
        if decision.fresh and decision.will_run and not asked:
            observer.note(f"{name_of(cell)} runs again: {decision.reason}")
    return decisions


@contextlib.contextmanager
def _exhaustion_named() -> Iterator[None]:
    """A system that gives no more descriptors, processes, memory or disk is no defect of ours."""
    try:
        yield
    except (OSError, MemoryError) as error:
        named = exhaustion(error)
        if named is None:
            raise
        raise named from error


def _fingerprints(cells: Sequence[Cell], before: Recorded) -> dict[Hashable, str]:
    """Of the data that finished cells have had."""
    known = {}
    for cell in cells:
        state = before.states.get(cell.cell_id)
        if state is not None and state.status == Status.COMPLETED and state.data_fingerprint is not None:
            known[data_key(cell)] = state.data_fingerprint
    return known


def _end_of(run: RunContext | ClusterRun, statuses: Collection[str]) -> tuple[str, int]:
    """State and exit code of a run that was not broken off."""
    if run.signals.count:
        return Status.INTERRUPTED, run.signals.exit_code
    if run.stopped is not None:
        return Status.FAILED, CellsFailedError.exit_code
    return Status.COMPLETED, CellsFailedError.exit_code if {Status.FAILED, Status.BLOCKED} & set(statuses) else 0


def _facts(plan: Plan, options: RunOptions, forecast_seconds: float | None, database: Path | None) -> dict[str, Any]:
    here = machine.facts()
    commit, dirty = git_repository.git_state(Path.cwd(), apart_from=database)
    versions = machine.package_versions(["tensorflow", "keras", "numpy"])
    return {
        "machine": options.machine,
        "name": options.name,
        "matrix_name": plan.name,
        "matrix_path": plan.path,
        "matrix_text": plan.text,
        "command": options.command,
        "jobs": options.jobs_at_once,
        "package_version": benchmark.__version__,
        "git_commit": commit,
        "git_dirty": dirty,
        **{name: getattr(here, name) for name in _OF_MACHINE},
        "backend_version": versions.get("tensorflow"),
        "keras_version": versions.get("keras"),
        "numpy_version": versions.get("numpy"),
        "gpu_names": ", ".join(gpu.name for gpu in here.gpus) or None,
        "pid": os.getpid(),
        "process_start_ticks": machine.process_start_ticks(os.getpid()),
        "forecast_seconds": forecast_seconds,
    }
