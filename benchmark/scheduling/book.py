"""The record of a run as the loop keeps it: every line goes to the database at once, until the database fails.

A database that cannot be written (a full disk, a file that was taken away) ends the run, but not at once: workers are
asked to save their states, and what they tell meanwhile is told again when the next run resumes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from benchmark import faults, machine
from benchmark.errors import StorageError
from benchmark.events import EpochFinished, Event, Exited, Failed
from benchmark.matrix.cell import Cell
from benchmark.results.recorder import Recorder
from benchmark.results.records import AttemptStart
from benchmark.scheduling.policy import Verdict

T = TypeVar("T")


class Book:
    """Writes what happens in one run.

    Attributes:
        error: Why nothing is written any more; None while all is well.
    """

    def __init__(self, recorder: Recorder, run_id: int, machine: str) -> None:
        self._recorder = recorder
        self.run_id = run_id
        self._machine = machine
        self.error: StorageError | None = None

    def start(
        self,
        cell: Cell,
        *,
        isolation: str,
        cores: tuple[int, ...],
        gpu: int | None,
        neighbours: int,
        fresh: bool,
    ) -> AttemptStart | None:
        """Enters an attempt as running; None when nothing can be written any more."""
        return self._write(
            lambda: self._recorder.start_attempt(
                self.run_id,
                cell.cell_id,
                self._machine,
                isolation=isolation,
                cores=cores,
                gpu=gpu,
                neighbours=neighbours,
                boot_id=machine.boot_id(),
                fresh=fresh,
            )
        )

    def record(self, attempt_id: int, event: Event) -> None:
        self._write(lambda: self._recorder.record(attempt_id, event))
        if isinstance(event, EpochFinished):
            faults.point("commit")

    def finish(
        self,
        attempt_id: int,
        verdict: Verdict,
        *,
        exited: Exited | None = None,
        error: Failed | None = None,
        log_tail: str | None = None,
        disturbed: bool = False,
        will_retry: bool = False,
    ) -> bool | None:
        """Enters how an attempt ended; None when nothing can be written any more."""
        return self._write(
            lambda: self._recorder.finish_attempt(
                attempt_id,
                state=verdict.state,
                detail=verdict.detail,
                exited=exited,
                log_tail=log_tail,
                error=error,
                disturbed=disturbed,
                will_retry=will_retry,
            )
        )

    def block(self, cell: Cell, reason: str) -> None:
        parent = str(cell.parent_cell_id)
        self._write(lambda: self._recorder.block(self.run_id, cell, self._machine, parent, reason))

    def flush(self) -> None:
        """Writes short epochs that have waited long enough to be written together."""
        self._write(lambda: self._recorder.flush(due_only=True))

    def seconds_to_flush(self) -> float | None:
        """When `flush` has something to do; None while nothing waits."""
        return None if self.error is not None else self._recorder.seconds_to_flush()

    def _write(self, action: Callable[[], T]) -> T | None:
        if self.error is None:
            try:
                return action()
            except StorageError as error:
                self.error = error
        return None
