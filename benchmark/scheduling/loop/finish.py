"""What follows when an attempt is over: the verdict, the record, and the retry; what follows for its cell is decided elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from benchmark import layout
from benchmark.control_groups import oom_kills
from benchmark.errors import StorageError, says_full_disk
from benchmark.events import Failed
from benchmark.files import sha256_of
from benchmark.matrix.cell import Cell
from benchmark.results.records import AttemptStart, PredictionRow
from benchmark.scheduling.decisions.cell_decisions import Ending, name_of
from benchmark.scheduling.decisions.verdicts import Verdict, judge, retries
from benchmark.scheduling.loop.attempt import Attempt, PendingLaunch
from benchmark.scheduling.loop.context import RunContext
from benchmark.scheduling.loop.disturbance import in_words
from benchmark.scheduling.processes.slots import Grant
from benchmark.status import DISTURBED, Cause, Status
from benchmark.text import headline

LOST_DEVICES = 2
"""After so many losses of a GPU nothing runs on it any more in this run."""


def conclude(run: RunContext, attempt: Attempt) -> None:
    """Judges an attempt that is over, records it, and tries the cell again or settles it."""
    cell = attempt.cell
    run.meter.count_ended(attempt.process.exited)
    run.decider.end_attempt(cell)
    run.cell_seconds[cell.cell_id] += time.monotonic() - attempt.started
    verdict = _given_back(run, cell, judge(attempt.evidence(oom_kills(), run.memory_bytes)))
    run.failures[cell.cell_id, verdict.state] += 1
    again = run.stopped is None and retries(verdict.state, run.failures[cell.cell_id, verdict.state])
    _record(run, attempt, verdict, partial(_concluded, run, attempt, verdict, again), again=again)


def _concluded(run: RunContext, attempt: Attempt, verdict: Verdict, again: bool, recorded: bool | None) -> None:
    """The end of an attempt is recorded, maybe long after it was over; None when nothing can be recorded any more."""
    cell = attempt.cell
    run.slots.give(attempt.grant)
    if verdict.state == Cause.DEVICE_LOST and attempt.grant.gpu is not None:
        run.gpu_losses[attempt.grant.gpu] += 1
        if run.gpu_losses[attempt.grant.gpu] == LOST_DEVICES:
            run.slots.quarantine(attempt.grant.gpu)
            run.note(f"GPU {attempt.grant.gpu} was lost {LOST_DEVICES} times; nothing more runs on it in this run")
    seconds = run.cell_seconds[cell.cell_id]
    if run.copies is not None and recorded and verdict.state == Status.COMPLETED:
        run.copies.forget([attempt.directory, *attempt.earlier])
    if recorded is None:
        # Not in the database, so not true: the next run resumes it and is told everything again.
        run.decider.settle(cell, Ending(Status.INTERRUPTED, verdict.detail, seconds))
    elif again and run.slots.possible(cell):
        run.note(f"{name_of(cell)} {verdict.state} ({verdict.detail}); it continues from its last saved state")
        run.decider.retry(cell)
    else:
        weights = [(attempt.directory / file.name, file.sha256) for file in attempt.artifacts if file.kind == "weights"]
        kept = weights[-1] if weights else None
        run.decider.settle(cell, Ending(verdict.state, verdict.detail, seconds, attempt.error, kept))
    if verdict.state == Cause.DEVICE_LOST:
        drop_impossible(run)


def _given_back(run: RunContext, cell: Cell, verdict: Verdict) -> Verdict:
    """The verdict; where a disk of this node has no room it is not the fault of the cell, which goes on elsewhere."""
    detail = verdict.detail or ""
    if verdict.state not in {Cause.FAILED, Cause.DATA_ERROR} or not says_full_disk(detail):
        return verdict
    return Verdict(Cause.INTERRUPTED, detail) if run.decider.give_back(cell, detail) else verdict


def fail_unprepared(run: RunContext) -> None:
    """Cells whose data or weights could not be prepared end here, each with an attempt that says so."""
    if run.recorder.is_waiting:
        return
    unprepared, run.unprepared = run.unprepared, []
    if run.stopped is not None:
        return
    for cell_ids, problem in unprepared:
        for cell in list(run.decider.unfinished_cells()):
            if cell.cell_id in cell_ids:
                run.recorder.start_attempt(
                    cell,
                    partial(_fail, run, cell, problem),
                    isolation=run.launcher.isolation,
                    grant=Grant((), None),
                    neighbours=0,
                    fresh=run.decider.beginning(cell).fresh,
                )


def _fail(run: RunContext, cell: Cell, problem: str, start: AttemptStart | None) -> None:
    if start is not None and cell.cell_id in run.decider.unfinished:
        reason = headline(problem)
        error = Failed(Cause.DATA_ERROR, "PreparationError", reason, problem)
        verdict = _given_back(run, cell, Verdict(Cause.DATA_ERROR, reason))
        run.recorder.finish_attempt(start.attempt_id, verdict, error=error)
        run.decider.settle(cell, Ending(verdict.state, reason))


def fail_launch(run: RunContext, launch: PendingLaunch, reason: str) -> None:
    """An attempt for which what it starts from could not be fetched ends before it has a process."""
    error = Failed(Cause.FAILED, StorageError.__name__, reason, "")
    verdict = _given_back(run, launch.cell, Verdict(Cause.FAILED, reason))
    run.decider.end_attempt(launch.cell)
    run.recorder.finish_attempt(launch.start.attempt_id, verdict, error=error)
    run.slots.give(launch.grant)
    run.decider.settle(launch.cell, Ending(verdict.state, reason, error=error))


def interrupt_pending(run: RunContext) -> None:
    """Attempts that still wait for a process will get none in this run."""
    pending, run.pending = run.pending, []
    for launch in pending:
        run.recorder.finish_attempt(
            launch.start.attempt_id, Verdict(Cause.INTERRUPTED, "the run ended before it began")
        )
        run.decider.settle(launch.cell, Ending(Status.INTERRUPTED))


def drop_impossible(run: RunContext) -> None:
    """Cells for which no GPU is left stay pending; running ones still hold theirs."""
    busy = {attempt.cell.cell_id for attempt in run.running.values()} | (run.copies.cells if run.copies else set())
    for cell in list(run.decider.unfinished_cells()):
        if cell.cell_id not in busy and not run.slots.possible(cell):
            run.decider.leave_pending(cell)


def disturbed_epochs(run: RunContext, attempt: Attempt) -> dict[int, str]:
    """What has disturbed the epochs of an attempt so far, as in `EpochWatch.disturbed`."""
    watch = attempt.watch
    watch.judge()
    if attempt.grant.gpu is not None and run.slots.gpu_share > 1:
        watch.disturbed = dict.fromkeys([0, *watch.trained], "other cells may have used its GPU")
    if run.decider.has_disturbed_stages(attempt.cell):
        watch.disturbed |= dict.fromkeys(watch.taken, "epochs that it shares were disturbed")
    return watch.disturbed


def _record(
    run: RunContext, attempt: Attempt, verdict: Verdict, then: Callable[[bool | None], object], *, again: bool
) -> None:
    completed = verdict.state == Status.COMPLETED
    disturbed = disturbed_epochs(run, attempt)
    if completed and disturbed:
        epochs = (*attempt.watch.taken, *attempt.watch.trained)
        verdict = replace(verdict, detail=f"{DISTURBED}{in_words(disturbed, epochs)}")
    run.recorder.finish_attempt(
        attempt.attempt_id,
        verdict,
        then,
        exited=attempt.process.exited,
        error=attempt.error,
        log_tail=None if completed else attempt.log_tail(),
        disturbed=bool(disturbed),
        disturbed_epochs=sorted(disturbed.keys() - {0}),
        will_retry=again,
        predictions=list(_predictions(run, attempt)) if completed else (),
    )


def _predictions(run: RunContext, attempt: Attempt) -> Iterator[PredictionRow]:
    """What the worker predicted for test and validation images, from its folder into the database."""
    digests = {file.name: file.sha256 for file in attempt.artifacts}
    for split, name in layout.PREDICTIONS.items():
        predicted, sha256 = attempt.predicted.get(name), digests.get(name)
        if predicted is None or sha256 is None:
            continue
        try:
            content = (attempt.directory / name).read_bytes()
            if (actual := sha256_of(content)) != sha256:
                raise OSError(f"expected the sha256 {sha256}, got {actual}")
        except OSError as error:
            # the result stands without them; the next run finds the damaged artifact and does the cell again
            run.note(f"{name_of(attempt.cell)}: its {split} predictions cannot be read: {error}")
        else:
            yield PredictionRow(predicted.examples, predicted.class_names, sha256, content, split)
