"""Running a matrix from beginning to end: what is there already, what is left, and how it went."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import benchmark
from benchmark import faults, machine
from benchmark.errors import StorageError, exhaustion
from benchmark.forecast.estimate import Durations, run_seconds
from benchmark.forecast.trial_store import TrialStore
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import Plan
from benchmark.results.read.cell_states import recorded
from benchmark.results.read.durations import efforts, starts
from benchmark.results.read.queries import durations
from benchmark.results.records import CellState, Recorded, RunFacts
from benchmark.results.store.database import Database
from benchmark.results.write.recorder import Recorder
from benchmark.scheduling.decisions.assignment import Assignment, assign
from benchmark.scheduling.decisions.reuse import Decision, decide
from benchmark.scheduling.decisions.shared_stages import Sharing
from benchmark.scheduling.loop.context import lay_out, name_of, slots_of
from benchmark.scheduling.loop.loop import Dispatcher
from benchmark.scheduling.loop.retrying_recorder import Book
from benchmark.scheduling.options import GuardedObserver, Observer, RunOptions, RunSummary
from benchmark.scheduling.processes.environment import require_backends
from benchmark.scheduling.processes.leftover_processes import kill_leftovers
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.programs.freshness import refresh
from benchmark.status import Cause, Status

FAILED_EXIT_CODE = 3


def run_matrix(plan: Plan, database: Database, options: RunOptions, observer: Observer) -> RunSummary:
    """Runs every cell of the plan that has no result yet, and tells the observer as it goes.

    The caller holds `lock_database` and has opened the database for writing.

    Args:
        plan: The cells, parents before children.
        database: Where everything is recorded; this is the only writer.
        options: How to run.
        observer: Whom to tell.

    Returns:
        How the run ended. Interrupted runs end here too, with exit code 130 or 143.

    Raises:
        StorageError: The database or the artifacts folder cannot be written (any more).
        UserError: A cell needs a backend that is not installed.

    Side effects: starts and ends processes, writes the database and the artifacts folder, and handles SIGINT, SIGTERM
    and SIGHUP while it runs. Nothing that it started is alive when it returns or raises.
    """
    begun = time.monotonic()
    told = GuardedObserver(observer)
    with StopSignals() as signals:
        # whoever has asked the run to stop does not want to wait for another program's lock as well
        database.busy_timeout.is_hurried = lambda: signals.count > 0
        faults.point("expand")
        _check_folder(options.artifacts_root)
        require_backends(plan.cells)
        recorder = Recorder(database)
        killed = kill_leftovers(recorder.sweep())
        known_cells = recorded(database, options.machine)
        decisions = _decided(plan.cells, known_cells, options, told, signals)
        assignment = assign(plan.cells, decisions, known_cells, options.artifacts_root)
        known = Durations(
            durations(database, options.machine),
            efforts(database, options.machine),
            TrialStore(options.cache_root).find,
            starts(database, options.machine),
        )
        to_do = [cell for cell in assignment.run if cell.cell_id not in assignment.idle]
        expected = run_seconds(to_do, known, slots_of(options).room)
        run_id = recorder.begin_run(_facts(plan, options, expected))
        finish = _Finish(recorder, run_id)
        try:
            recorder.register(run_id, plan.cells, plan.left_out, assignment.reused)
            book = Book(recorder, run_id, options.machine, lambda text: told.tell("note", text), signals.wait)
            with _exhaustion_named():
                sharing = _sharing(plan.cells, known_cells.states, assignment, options)
                dispatcher = Dispatcher(lay_out(assignment, book, options, told, known, sharing), signals)
                try:
                    told.tell("run_started", run_id, plan, assignment.idle, dispatcher.forecast)
                    _tell_beginning(assignment, killed, told, book)
                    dispatcher.run()
                finally:
                    dispatcher.close()
            if book.error is not None:
                raise book.error
        except BaseException as error:
            # a lock that has ended the run is not waited for once more
            database.busy_timeout.is_hurried = lambda: True
            finish.badly(error)
            raise
        code = signals.exit_code if signals.count else _exit_code(assignment, dispatcher)
        faults.point("report")
        finish.well(code, stopped=dispatcher.stopped is not None)
    seconds = time.monotonic() - begun
    summary = _summary(plan.cells, assignment, dispatcher, run_id, code, seconds, expected)
    told.tell("run_finished", summary)
    return summary


def _decided(
    cells: Sequence[Cell], known: Recorded, options: RunOptions, told: GuardedObserver, signals: StopSignals
) -> dict[str, Decision]:
    """What becomes of each cell, once data that have to be looked at for it are prepared; says which begin anew."""
    decisions = decide(cells, known, options)
    if unprepared := [cell for cell in cells if decisions[cell.cell_id].unprepared]:
        refresh(unprepared, options, lambda text: told.tell("note", text), signals)
        decisions = decide(cells, known, options, compared=True)
    for cell in cells:
        decision = decisions[cell.cell_id]
        asked = options.rerun or cell.cell_id in options.rerun_cells
        if decision.fresh and decision.will_run and not asked:
            told.tell("note", f"{name_of(cell)} runs again: {decision.reason}")
    return decisions


def _sharing(
    cells: Sequence[Cell], before: Mapping[str, CellState], assignment: Assignment, options: RunOptions
) -> Sharing:
    begun = {name for name, past in before.items() if past.epochs and name not in assignment.again}
    return Sharing(cells, begun, assignment.again, options.artifacts_root)


class _Finish:
    """Enters the end of the run, whichever way it came."""

    def __init__(self, recorder: Recorder, run_id: int) -> None:
        self._recorder = recorder
        self._run_id = run_id

    def well(self, code: int, *, stopped: bool) -> None:
        state = Status.INTERRUPTED if code in {130, 143} else Status.FAILED if stopped else Status.COMPLETED
        self._recorder.finish_run(self._run_id, state, code)

    def badly(self, error: BaseException) -> None:
        try:
            self._recorder.finish_run(self._run_id, Status.FAILED, getattr(error, "exit_code", 1))
        except StorageError:
            # The database says so itself to the next run: it finds this one unfinished.
            return


@contextmanager
def _exhaustion_named() -> Iterator[None]:
    """A system that gives no more descriptors, processes, memory or disk is no defect of ours."""
    try:
        yield
    except (OSError, MemoryError) as error:
        named = exhaustion(error)
        if named is None:
            raise
        raise named from error


def _check_folder(folder: Path) -> None:
    """Makes the artifacts folder, before anything is trained for nothing.

    Raises:
        StorageError: It cannot be made, or not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: expected a folder for artifacts that can be made, got: {error.strerror}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"{folder}: expected a folder for artifacts that can be written; change its permissions")


def _tell_beginning(assignment: Assignment, killed: int, told: GuardedObserver, book: Book) -> None:
    if killed:
        told.tell("note", f"ended {killed} worker processes that an earlier run had left")
    for cell, reason in assignment.blocked:
        book.block(cell, reason)
        told.tell("cell_finished", cell, Status.BLOCKED, Cause.PARENT, 0.0, reason)


def _exit_code(assignment: Assignment, dispatcher: Dispatcher) -> int:
    statuses = {*assignment.settled.values(), *dispatcher.outcomes.statuses.values()}
    return FAILED_EXIT_CODE if statuses & {Status.FAILED, Status.BLOCKED} or dispatcher.stopped is not None else 0


def _summary(
    cells: Sequence[Cell],
    assignment: Assignment,
    dispatcher: Dispatcher,
    run_id: int,
    code: int,
    seconds: float,
    forecast_seconds: float | None,
) -> RunSummary:
    statuses = {**assignment.settled, **dispatcher.outcomes.statuses}
    counts = Counter(statuses.get(cell.cell_id, Status.PENDING) for cell in cells)
    return RunSummary(run_id, dict(counts), assignment.reused, code, dispatcher.stopped, seconds, forecast_seconds)


def _facts(plan: Plan, options: RunOptions, forecast_seconds: float | None) -> RunFacts:
    here = machine.facts()
    git = machine.git_state(Path.cwd())
    versions = machine.package_versions(["tensorflow", "keras", "numpy"])
    return RunFacts(
        machine=options.machine,
        name=options.name,
        matrix_name=plan.name,
        matrix_path=plan.path,
        matrix_text=plan.text,
        command=options.command,
        jobs=1 if options.exclusive else options.jobs,
        package_version=benchmark.__version__,
        git_commit=git.commit,
        git_dirty=git.dirty,
        python_version=here.python_version,
        backend_version=versions.get("tensorflow"),
        keras_version=versions.get("keras"),
        numpy_version=versions.get("numpy"),
        os=here.os,
        cpu_model=here.cpu_model,
        cpu_cores=here.cpu_cores,
        memory_bytes=here.memory_bytes,
        gpu_names=", ".join(gpu.name for gpu in here.gpus) or None,
        gpu_driver=here.gpu_driver,
        pid=os.getpid(),
        boot_id=here.boot_id,
        process_start_ticks=machine.process_start_ticks(os.getpid()),
        forecast_seconds=forecast_seconds,
    )
