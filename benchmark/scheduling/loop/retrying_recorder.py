"""Writes what happens in a run into the database at once, and tries again for a while when the disk refuses.

A full disk, or one that gives errors, may be cured in a minute: the same line is tried again, ever less often, and
meanwhile nothing starts and nobody is heard; workers go on until their pipes are full and then wait. What is not
cured, or cannot be (a file that was taken away, a lock that is kept), ends the run, but not at once: workers are asked
to save their states, and what they tell meanwhile is told again when the next run resumes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from benchmark import faults, machine
from benchmark.errors import DiskError, StorageError
from benchmark.events import EpochFinished, Event
from benchmark.matrix.cell import Cell
from benchmark.results.records import AttemptStart
from benchmark.results.write.recorder import Recorder
from benchmark.scheduling.decisions.verdicts import Verdict
from benchmark.scheduling.processes.slots import Grant

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long a disk has to recover before it ends the run."""

FIRST_PAUSE_SECONDS = 0.25


class RetryingRecorder:
    """Writes what happens in one run.

    Args:
        recorder: Of the open database.
        run_id: Of this run.
        machine: Whose timings these are.
        note: Told why the run pauses.
        pause: Waits for so many seconds; answers whether the user will not wait any longer.

    Attributes:
        error: Why nothing is written any more; None while all is well.
    """

    def __init__(
        self,
        recorder: Recorder,
        run_id: int,
        machine: str,
        note: Callable[[str], None] = lambda _: None,
        pause: Callable[[float], bool] = lambda _: True,
    ) -> None:
        self._recorder = recorder
        self.run_id = run_id
        self._machine = machine
        self._note = note
        self._pause = pause
        self._has_paused = False
        self.error: StorageError | None = None

    def start_attempt(
        self, cell: Cell, *, isolation: str, grant: Grant, neighbours: int, fresh: bool
    ) -> AttemptStart | None:
        """Enters an attempt as running; None when nothing can be written any more."""
        return self._write(
            lambda: self._recorder.start_attempt(
                self.run_id,
                cell.cell_id,
                self._machine,
                isolation=isolation,
                cores=grant.cores,
                gpu=grant.gpu,
                neighbours=neighbours,
                boot_id=machine.boot_id(),
                fresh=fresh,
            )
        )

    def record(self, attempt_id: int, event: Event) -> None:
        """Enters what a worker or its guardian has told.

        Raises:
            ProtocolError: The event cannot be, after those before it.
        """
        # an epoch that could not be written waits in the recorder, and must not be told to it twice
        again = self._recorder.flush if isinstance(event, EpochFinished) else None
        self._write(lambda: self._recorder.record(attempt_id, event), again)
        if isinstance(event, EpochFinished):
            faults.point("commit")

    def finish_attempt(self, attempt_id: int, verdict: Verdict, **facts: Any) -> bool | None:
        """Enters how an attempt ended, with the further facts that `Recorder.finish_attempt` takes.

        None when nothing can be written any more.
        """
        known = {"state": verdict.state, "detail": verdict.detail, **facts}
        return self._write(lambda: self._recorder.finish_attempt(attempt_id, **known))

    def block(self, cell: Cell, reason: str) -> None:
        """Enters that a cell cannot run, because its parent has no weights."""
        self._write(lambda: self._recorder.block(self.run_id, cell, self._machine, reason))

    def give_up(self, cell: Cell, cause: str, reason: str) -> None:
        """Enters that a cell has failed, though none of its attempts could say so."""
        self._write(lambda: self._recorder.give_up(self.run_id, cell, self._machine, cause, reason))

    def do(self, action: Callable[[], T]) -> T | None:
        """Does something else with the database; None when nothing can be done with it any more."""
        return self._write(action)

    def flush(self) -> None:
        """Writes short epochs that have waited long enough to be written together."""
        self._write(lambda: self._recorder.flush(due_only=True))

    def seconds_to_flush(self) -> float | None:
        """When `flush` has something to do; None while nothing waits."""
        return None if self.error is not None else self._recorder.seconds_to_flush()

    def has_paused(self) -> bool:
        """Whether there was a pause since this was asked last: what was not heard meanwhile is nobody's fault."""
        paused, self._has_paused = self._has_paused, False
        return paused

    def _write(self, action: Callable[[], T], again: Callable[[], T] | None = None) -> T | None:
        """Does `action`; after a pause once more, or `again` in its place."""
        if self.error is not None:
            return None
        try:
            return action()
        except DiskError as error:
            return self._retry(again or action, error)
        except StorageError as error:
            self.error = error
        return None

    def _retry(self, action: Callable[[], T], error: StorageError) -> T | None:
        self._note(f"{error}; trying again for {PATIENCE_SECONDS:g} s")
        self._has_paused = True
        waited, pause = 0.0, FIRST_PAUSE_SECONDS
        while isinstance(error, DiskError) and waited < PATIENCE_SECONDS and not self._pause(pause):
            waited, pause = waited + pause, min(2 * pause, PATIENCE_SECONDS / 8)
            try:
                answer = action()
            except StorageError as still:
                error = still
            else:
                self._note("the database can be written again; the run goes on")
                return answer
        self.error = error
        return None
