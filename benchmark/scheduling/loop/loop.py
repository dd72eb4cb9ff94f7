"""The loop of a run: one thread that starts cells, hears workers, enforces limits, and has everything written down."""

from __future__ import annotations

import time
from functools import partial

from benchmark.events import EpochFinished, Launched, ProtocolError
from benchmark.scheduling.loop import finish
from benchmark.scheduling.loop.attempt import Attempt
from benchmark.scheduling.loop.context import RunContext
from benchmark.scheduling.loop.start import relaunch, start_ready
from benchmark.scheduling.processes.signals import waiting_for
from benchmark.scheduling.programs.preparation import PROGRESS_SECONDS
from benchmark.scheduling.run_options import Step

IDLE_SECONDS = 30.0

LAUNCH_SECONDS = 60.0
"""How long a template may take from an order to a guardian."""


def run_cells(run: RunContext) -> None:
    """Goes round until every cell is settled, or until the run was stopped and all workers are gone.

    Side effects: starts and kills processes, writes the database, calls the observer.
    """
    finish.drop_impossible(run)
    while run.is_busy or run.recorder.is_waiting or (run.stopped is None and run.decider.unfinished):
        go_round(run)


def go_round(run: RunContext, longest_seconds: float = IDLE_SECONDS) -> None:
    """One turn of the loop: starts what can start, waits for the next thing to happen, and sees to it.

    Args:
        run: What runs attempts on this machine.
        longest_seconds: How long to wait at most when nothing happens.
    """
    if run.stopped is None:
        start_ready(run)
    if run.recorder.is_full:
        run.signals.wait(_seconds_to_wait(run, longest_seconds))
    else:
        for key, _ in run.selector.select(_seconds_to_wait(run, longest_seconds)):
            if isinstance(key.data, Attempt):
                _hear(run, key.data)
            else:
                key.data()
    finish.fail_unprepared(run)
    run.preparations.report(partial(run.observer.tell, "preparing"))
    run.tell_starting()
    _obey_signals(run)
    # while the database is tried again, or too much waits for it, nobody is heard, which is no worker's fault
    if not run.recorder.has_paused():
        _enforce_limits(run)
    run.recorder.flush(is_hurried=run.signals.count > 0 and (not run.running or run.recorder.is_full))
    if run.stopped is not None:
        finish.interrupt_pending(run)
    reason = run.decider.stop_reason if run.recorder.error is None else str(run.recorder.error)
    if reason is not None:
        stop(run, reason)


def _seconds_to_wait(run: RunContext, longest_seconds: float) -> float:
    """Until the next moment at which there is something to do although nobody says anything."""
    if run.recorder.error is not None and run.stopped is None:
        # met while starting cells: nobody is going to say anything before the run stops for it
        return 0.0
    now = time.monotonic()
    moments = [now + longest_seconds]
    moments += [
        attempt.deadline() if attempt.process.launched else attempt.started + LAUNCH_SECONDS
        for attempt in run.running.values()
    ]
    if (seconds := run.recorder.seconds_to_flush()) is not None:
        moments.append(now + seconds)
    if run.preparations.pids:
        moments.append(now + PROGRESS_SECONDS)
    if run.start_not_before > now:
        moments.append(run.start_not_before)
    return max(0.0, min(moments) - now)


def _hear(run: RunContext, attempt: Attempt) -> None:
    # The selector may hold keys of an attempt that an earlier key of the same turn has concluded.
    if attempt.attempt_id not in run.running:
        return
    for event in attempt.process.hear_guardian():
        if isinstance(event, Launched):
            run.failed_launches = 0
            run.recorder.record(attempt.attempt_id, event)
            attempt.stall.note(event, time.monotonic())
    _hear_worker(run, attempt)
    if attempt.process.is_over:
        _end(run, attempt)
    else:
        attempt.process.ignore_closed()


def _hear_worker(run: RunContext, attempt: Attempt) -> bool:
    """Records and shows what the worker has said; whether it said anything."""
    said = attempt.hear_worker(time.monotonic())
    for event in said:
        try:
            run.recorder.record(attempt.attempt_id, event)
        except ProtocolError as error:
            attempt.break_off(str(error), time.monotonic())
            break
        hear = partial(
            run.decider.hear,
            attempt.cell,
            event,
            time.monotonic() - attempt.started,
            lambda: not attempt.start.earlier_attempt_ids and not finish.disturbed_epochs(run, attempt),
        )
        if run.copies is None:
            hear()
        else:
            run.copies.hear(attempt, event, hear)
        if isinstance(event, Step):
            run.observer.tell("progress", attempt.cell, event)
        elif isinstance(event, EpochFinished):
            attempt.watch.end_epoch(event)
            run.observer.tell("epoch", attempt.cell, event)
    return bool(said)


def _end(run: RunContext, attempt: Attempt) -> None:
    """The attempt is over: what its worker still said is heard before its end is judged."""
    while _hear_worker(run, attempt):
        continue
    attempt.close()
    del run.running[attempt.attempt_id]
    if attempt.process.launched is None and run.stopped is None:
        relaunch(run, attempt)
    elif run.copies is None:
        finish.conclude(run, attempt)
    else:
        run.copies.finish(attempt, partial(finish.conclude, run, attempt))


def _obey_signals(run: RunContext) -> None:
    if run.signals.count >= 1:
        stop(run, run.signals.reason, hint=run.signals.hint)
    if run.signals.count >= 2 and not run.killed:
        run.killed = True
        run.note("killing what still runs")
        for attempt in run.running.values():
            attempt.kill(time.monotonic())
        run.abandon_copies()


def _enforce_limits(run: RunContext) -> None:
    now = time.monotonic()
    run.launcher.enforce(now)
    for attempt in list(run.running.values()):
        if attempt.process.launched is None and now > attempt.started + LAUNCH_SECONDS:
            run.launcher.distrust(attempt.cell.backend)
            attempt.process.kill_group()
        attempt.enforce(now)
        if attempt.process.is_over:
            _end(run, attempt)


def stop(run: RunContext, reason: str, grace_seconds: float | None = None, *, hint: str = "") -> None:
    """Starts nothing more, and asks what runs to save its state within `grace_seconds`, or those of the options."""
    if run.stopped is not None:
        return
    run.stopped = reason
    run.decider.stop()
    run.preparations.close()
    finish.interrupt_pending(run)
    if run.running:
        run.note(f"{reason}: {waiting_for(len(run.running))}{hint}")
    for attempt in run.running.values():
        attempt.stop(time.monotonic(), run.options.grace_seconds if grace_seconds is None else grace_seconds)
