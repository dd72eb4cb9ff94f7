"""Writes what happens in a run into the database at once, or as soon as it can be written again.

A full disk, or a server that does not answer, may be cured in a minute: what is to be written waits in memory, in its
order, and is tried again, ever less often. Meanwhile nothing starts, but workers go on and are heard, limits are enforced
and signals obeyed. What is not cured, or cannot be (a file that was taken away, a lock that is kept), ends the run, but
not at once: workers are asked to save their states, and what they tell meanwhile is told again when the next run resumes
them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from benchmark import faults, machine
from benchmark.errors import DiskError, ServerError, StorageError
from benchmark.events import EpochFinished, Event, Progress
from benchmark.matrix.cell import Cell
from benchmark.results.records import AttemptStart
from benchmark.results.write.recorder import Recorder
from benchmark.scheduling.decisions.verdicts import Verdict
from benchmark.scheduling.processes.slots import Grant

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long a disk or a server has to recover before it ends the run."""

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 1.0
"""A server that is back is written to before another run takes its lock."""

MOST_WAITING_EPOCHS = 10_000
"""With so many in memory nobody is heard any more: workers go on until their pipes are full, and then wait."""

_PASSING = (DiskError, ServerError)


@dataclass(slots=True)
class _Write:
    """Something that waits to be written.

    Attributes:
        action: Writes it.
        again: Does so once `action` has failed.
        then: Called with the answer, or with None when it cannot be written any more.
        epoch: Attempt and epoch, where it is one.
    """

    action: Callable[[], Any]
    again: Callable[[], Any]
    then: Callable[[Any], object]
    epoch: tuple[int, EpochFinished] | None = None


class RetryingRecorder:
    """Writes what happens in one run.

    Args:
        recorder: Of the open database.
        run_id: Of this run.
        machine: Whose timings these are.
        note: Told why writing pauses.
        wait: Waits for so many seconds; answers whether the user will not wait any longer.

    Attributes:
        error: Why nothing is written any more; None while all is well.
    """

    def __init__(
        self,
        recorder: Recorder,
        run_id: int,
        machine: str,
        note: Callable[[str], None] = lambda _: None,
        wait: Callable[[float], bool] = lambda _: True,
    ) -> None:
        self._recorder = recorder
        self.run_id = run_id
        self._machine = machine
        self._note = note
        self._wait = wait
        self._waiting: deque[_Write] = deque()
        self._waiting_epochs = 0
        self._since = self._next_try = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._has_paused = False
        self.error: StorageError | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether something is not in the database yet, because the database cannot be written for now."""
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nobody should be heard."""
        return self.is_waiting and self._waiting_epochs + self._recorder.pending_epochs >= MOST_WAITING_EPOCHS

    def start_attempt(
        self,
        cell: Cell,
        then: Callable[[AttemptStart | None], object],
        *,
        isolation: str,
        grant: Grant,
        neighbours: int,
        fresh: bool,
    ) -> None:
        """Enters an attempt as running; calls `then` with it, or with None when nothing can be written any more."""
        action = partial(
            self._recorder.start_attempt,
            *(self.run_id, cell.cell_id, self._machine),
            isolation=isolation,
            cores=grant.cores,
            gpu=grant.gpu,
            neighbours=neighbours,
            boot_id=machine.boot_id(),
            fresh=fresh,
        )
        self._write(action, then)

    def record(self, attempt_id: int, event: Event) -> None:
        """Enters what a worker or its guardian has told.

        Raises:
            ProtocolError: The event cannot be.
        """
        if isinstance(event, Progress):
            return
        self._recorder.check(event)
        epoch = (attempt_id, event) if isinstance(event, EpochFinished) else None
        # an epoch that could not be written waits in the recorder, and must not be told to it twice
        again = None if epoch is None else self._recorder.flush
        self._write(partial(self._recorder.record, attempt_id, event), again=again, epoch=epoch)
        if isinstance(event, EpochFinished):
            faults.point("commit")

    def finish_attempt(
        self, attempt_id: int, verdict: Verdict, then: Callable[[bool | None], object] = lambda _: None, **facts: Any
    ) -> None:
        """Enters how an attempt ended, with the further facts that `Recorder.finish_attempt` takes.

        Calls `then` when that is written, or with None when nothing can be written any more.
        """
        known = {"state": verdict.state, "detail": verdict.detail, **facts}
        self._write(partial(self._recorder.finish_attempt, attempt_id, **known), then)

    def block(self, cell: Cell, reason: str) -> None:
        """Enters that a cell cannot run, because its parent has no weights."""
        self._write(partial(self._recorder.block, self.run_id, cell, self._machine, reason))

    def give_up(self, cell: Cell, cause: str, reason: str) -> None:
        """Enters that a cell has failed, though none of its attempts could say so."""
        self._write(lambda: self._recorder.give_up(self.run_id, cell, self._machine, cause, reason))

    def do(self, action: Callable[[], T]) -> T | None:
        """Does something else with the database, and waits while that is away; None when nothing can be done any more.

        The action may be done twice: where the answer to a commit was lost.
        """
        answers: list[T | None] = []
        self._write(action, answers.append)
        self._await_writing()
        return answers[0]

    def finish_run(self, state: str, exit_code: int) -> None:
        """Ends the run; waits while the database cannot be written.

        Raises:
            StorageError: It could not be written.
        """
        self.do(partial(self._recorder.finish_run, self.run_id, state, exit_code))
        if self.error is not None:
            raise self.error

    def flush(self, *, is_hurried: bool = False) -> None:
        """Writes what waits, when it is time to: short epochs that are written together, and all after a failure.

        Args:
            is_hurried: Whether nobody is going to wait: it is tried once more, and then given up.
        """
        if not self._waiting:
            self._write(partial(self._recorder.flush, due_only=True))
        elif is_hurried or time.monotonic() >= self._next_try:
            self._write_waiting(is_last=is_hurried or time.monotonic() >= self._since + PATIENCE_SECONDS)

    def seconds_to_flush(self) -> float | None:
        """When `flush` has something to do; None while nothing waits."""
        if self._waiting:
            return max(0.0, self._next_try - time.monotonic())
        return None if self.error is not None else self._recorder.seconds_to_flush()

    def has_paused(self) -> bool:
        """Whether trying has taken time since this was asked last: what was not heard meanwhile is nobody's fault."""
        paused, self._has_paused = self._has_paused, False
        return paused or self.is_full

    def _write(
        self,
        action: Callable[[], T],
        then: Callable[[T | None], object] = lambda _: None,
        *,
        again: Callable[[], object] | None = None,
        epoch: tuple[int, EpochFinished] | None = None,
    ) -> None:
        """Does `action`, and `then` with its answer; when it cannot be done now, later and after what waits already."""
        if self.error is not None:
            then(None)
            return
        write = _Write(action, again or action, then, epoch)
        if self._waiting:
            self._append(write)
            return
        try:
            answer = action()
        except _PASSING as error:
            write.action = write.again
            self._append(write)
            self._note(f"{error}; trying again for {PATIENCE_SECONDS:g} s")
            self._try_later(anew=True)
        except StorageError as error:
            self._give_up(error)
            then(None)
        else:
            then(answer)

    def _await_writing(self) -> None:
        while self._waiting:
            is_hurried = self._wait(max(0.0, self._next_try - time.monotonic()))
            self.flush(is_hurried=is_hurried)

    def _append(self, write: _Write) -> None:
        self._waiting.append(write)
        self._waiting_epochs += write.epoch is not None

    def _write_waiting(self, *, is_last: bool) -> None:
        """Writes what waits, in its order, as far as it can be written now."""
        answers = False
        try:
            while self._waiting:
                write = self._waiting[0]
                answer = self._write_first(answers=answers)
                answers = True
                self._waiting.popleft()
                self._waiting_epochs -= write.epoch is not None
                write.then(answer)
        except _PASSING as error:
            if is_last and not answers:
                self._give_up(error)
            else:
                self._try_later(anew=answers)
        except StorageError as error:
            self._give_up(error)
        else:
            self._note("the database can be written again; the run continues")

    def _write_first(self, *, answers: bool) -> Any:
        """Does the first action that waits; epochs that follow each other become one transaction, once the database answers."""
        write = self._waiting[0]
        if answers and write.epoch is not None and len(self._waiting) > 1 and self._waiting[1].epoch is not None:
            self._recorder.record(*write.epoch, hold=True)
            return None
        try:
            return write.action()
        except StorageError:
            write.action = write.again
            raise

    def _try_later(self, *, anew: bool) -> None:
        self._has_paused = True
        if anew:
            self._since, self._pause = time.monotonic(), FIRST_PAUSE_SECONDS
        self._next_try = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _give_up(self, error: StorageError) -> None:
        """Nothing is written any more."""
        self.error = error
        waiting, self._waiting = self._waiting, deque()
        for write in waiting:
            write.then(None)
