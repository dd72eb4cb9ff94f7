"""Starts cells: an attempt is recorded, then it gets a process; when none can be had, it waits for one."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from benchmark import layout, machine
from benchmark.control_groups import oom_kills
from benchmark.errors import StorageError
from benchmark.matrix.cell import Cell
from benchmark.results.records import AttemptStart
from benchmark.scheduling.decisions.cell_decisions import Beginning
from benchmark.scheduling.loop.attempt import Attempt, PendingLaunch
from benchmark.scheduling.loop.context import RunContext
from benchmark.scheduling.loop.disturbance import EpochWatch
from benchmark.scheduling.loop.finish import fail_launch, interrupt_pending
from benchmark.scheduling.loop.stall import StallDetector
from benchmark.scheduling.processes.guarded_process import GuardedProcess
from benchmark.scheduling.processes.slots import Grant
from benchmark.scheduling.processes.worker_order import worker_order
from benchmark.units import plural

LAUNCHES = 3
"""How often an attempt is launched in vain before the run gives up."""

RELAUNCH_SECONDS = 0.5


def start_ready(run: RunContext) -> None:
    """Starts preparations and cells until nothing more is free, ready, or possible."""
    if time.monotonic() < run.start_not_before:
        return
    try:
        run.preparations.start(run.slots, run.note)
    except OSError as error:
        _wait_for_processes(run, str(error))
    pending, run.pending = run.pending, []
    for launch in pending:
        _launch(run, launch)
    while not run.pending and run.recorder.error is None and not run.recorder.is_waiting:
        # The template first: its imports and the preparation of data then overlap.
        chosen = run.decider.next(
            lambda cell: run.launcher.is_ready(cell) and run.preparations.is_ready(cell), run.slots.take
        )
        if chosen is None:
            break
        _begin(run, *chosen)


def relaunch(run: RunContext, attempt: Attempt) -> None:
    """No guardian came of this attempt: its template died, or no process was left. It is not the cell's fault."""
    beginning = run.decider.beginning(attempt.cell)
    launch = PendingLaunch(attempt.cell, attempt.start, attempt.grant, beginning, attempt.launches, is_brought=True)
    run.pending.append(launch)
    if launch.launches >= LAUNCHES:
        _wait_for_processes(run, "its guardian ended before it began")


def _begin(run: RunContext, cell: Cell, grant: Grant) -> None:
    beginning = run.decider.beginning(cell)
    run.recorder.start_attempt(
        cell,
        partial(_begun, run, cell, grant, beginning),
        isolation=run.launcher.isolation_of(cell),
        grant=grant,
        neighbours=len(run.running),
        fresh=beginning.fresh,
    )


def _begun(run: RunContext, cell: Cell, grant: Grant, beginning: Beginning, start: AttemptStart | None) -> None:
    """The attempt is recorded, maybe long after it was asked for; None when nothing can be recorded any more."""
    if start is None:
        run.slots.give(grant)
        return
    run.decider.begin(cell)
    launch = PendingLaunch(cell, start, grant, beginning)
    if run.stopped is None:
        _launch(run, launch)
    else:
        run.pending.append(launch)


def _launch(run: RunContext, launch: PendingLaunch) -> None:
    """Gives the attempt its folder and its process; it stays pending when it cannot have them now."""
    cell, beginning = launch.cell, launch.beginning
    directory = _directory(run, cell, launch.start.attempt_id)
    problem = _make_directory(directory, run.options.artifacts_root)
    if problem is not None:
        run.pending.append(launch)
        run.recorder.error = StorageError(problem)
        return
    earlier = [_directory(run, cell, number) for number in launch.start.earlier_attempt_ids]
    if run.copies is not None and not launch.is_brought:
        run.copies.bring(launch, earlier, partial(_take_in, run, launch))
        return
    try:
        order = worker_order(
            cell,
            launch.grant,
            directory,
            data_directory=run.preparations.directory(cell),
            isolation=run.launcher.isolation_of(cell),
            pins_cores=run.pins_cores,
            allow_plugins=run.options.allow_plugins,
            every_state=run.options.every_state,
            attempt_id=launch.start.attempt_id,
            earlier_directories=earlier,
            parent_weights=beginning.parent_weights,
            shared_stages=beginning.shared_stages,
            stored_stages=beginning.stored_stages,
        )
        process = run.launcher.launch(cell, order) if run.launcher.is_ready(cell) else None
    except OSError as error:
        run.pending.append(launch)
        _wait_for_processes(run, str(error))
        return
    if process is None:
        run.pending.append(launch)
    else:
        _watch(run, launch, directory, process)


def _take_in(run: RunContext, launch: PendingLaunch, error: StorageError | None) -> None:
    """What an attempt starts from is here, or cannot be had."""
    launch.is_brought = True
    if error is not None and run.stopped is None:
        fail_launch(run, launch, str(error))
        return
    run.pending.append(launch)
    if run.stopped is not None:
        interrupt_pending(run)


def _make_directory(directory: Path, root: Path) -> str | None:
    """What keeps the folder of an attempt from being made; None when it is there."""
    target = directory.resolve()
    if not target.is_relative_to(root.resolve()):
        return (
            f"{directory}: expected a folder inside the artifacts folder, found a link that leads to {target}. "
            "Nothing was written there; delete the link"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{directory}: expected a folder that can be made, got: {error.strerror}"
    return None


def _directory(run: RunContext, cell: Cell, attempt_id: int) -> Path:
    return layout.attempt_folder(run.options.artifacts_root.absolute(), cell.cell_id, attempt_id)


def _watch(run: RunContext, launch: PendingLaunch, directory: Path, process: GuardedProcess) -> None:
    now = time.monotonic()
    attempt = Attempt(
        cell=launch.cell,
        start=launch.start,
        grant=launch.grant,
        directory=directory,
        process=process,
        stall=StallDetector(run.options, now),
        started=now,
        watch=EpochWatch(run.meter.read(), run.meter, partial(_strangers, run, launch)),
        oom_kills=oom_kills(),
        stages=launch.beginning.shared_stages,
        earlier=[_directory(run, launch.cell, number) for number in launch.start.earlier_attempt_ids],
        launches=launch.launches + 1,
    )
    run.running[attempt.attempt_id] = attempt
    process.listen(run.selector, attempt)
    if attempt.launches == 1:
        run.decider.launched(launch.cell, launch.start.number)


def _strangers(run: RunContext, launch: PendingLaunch) -> str | None:
    """What else than cells of this run uses the GPU of an attempt, in words; None for nothing."""
    gpu = launch.grant.gpu
    if gpu is None:
        return None
    others = (each for each in run.running.values() if each.attempt_id != launch.start.attempt_id)
    # the attempt itself counts also when it has just ended: the driver may not have noticed yet
    own = 1 + sum(each.grant.gpu == gpu for each in others)
    strangers = (machine.gpu_processes(gpu) or 0) - own
    return f"{plural(strangers, 'other program')} used its GPU" if strangers > 0 else None


def _wait_for_processes(run: RunContext, reason: str) -> None:
    """No process could be made: while others run it will be possible later; alone, only a few more tries."""
    run.start_not_before = time.monotonic() + RELAUNCH_SECONDS
    # one that was launched and has no guardian yet is no sign that processes can be had
    others = any(attempt.process.launched is not None for attempt in run.running.values())
    run.failed_launches = 0 if others else run.failed_launches + 1
    if run.failed_launches >= LAUNCHES:
        run.recorder.error = StorageError(
            f"no worker process can be started: {reason}. Raise the limits of this shell (ulimit -n, ulimit -u) "
            "or stop other programs, and run again: nothing that was recorded is lost"
        )
