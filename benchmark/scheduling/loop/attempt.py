"""One running attempt as the scheduler sees it: its pipes, its signs of life, what it has told so far."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import layout
from benchmark.events import (
    ArtifactWritten,
    Completed,
    Diverged,
    Event,
    Exited,
    Failed,
    Interrupted,
    Launched,
    Predicted,
    ProtocolError,
    from_line,
)
from benchmark.matrix.cell import Cell
from benchmark.results.records import AttemptStart
from benchmark.scheduling.decisions.verdicts import Evidence, Result
from benchmark.scheduling.loop.disturbance import Reading
from benchmark.scheduling.loop.stall import Liveness
from benchmark.scheduling.processes import guardian
from benchmark.scheduling.processes.launcher import Lines
from benchmark.scheduling.processes.slots import Grant

DUMP_SECONDS = 1.0
"""How long a stalled worker may take to write its stacks to the log before it is killed."""

FORCE_SECONDS = 3.0
"""How long a guardian may take to obey a kill before its group is killed without it."""

LEAVE_SECONDS = 10.0
"""How long a worker may live on after its last word."""

LOG_TAIL_BYTES = 64 << 10


@dataclass(slots=True)
class Attempt:
    """The attempt and everything that is known of it.

    Attributes:
        started: Monotonic seconds.
        kill_at, force_at: When the worker, and when the whole group, is killed unless it is gone by then.
        launches: How often it was launched, because no guardian came of it before.
        stopping: Whether the run asked it to stop.
        reading, oom_kills: The machine's load, and processes killed for memory, when it began.
    """

    cell: Cell
    start: AttemptStart
    grant: Grant
    directory: Path
    lines: Lines
    liveness: Liveness
    started: float
    reading: Reading
    oom_kills: int
    launches: int = 1
    launched: Launched | None = None
    exited: Exited | None = None
    result: Result | None = None
    protocol: str | None = None
    overdue: str | None = None
    stopping: bool = False
    kill_at: float | None = None
    force_at: float | None = None
    artifacts: list[ArtifactWritten] = field(default_factory=list)
    predicted: Predicted | None = None

    @property
    def attempt_id(self) -> int:
        return self.start.attempt_id

    @property
    def is_over(self) -> bool:
        """Whether the guardian has reported the end, or is gone itself."""
        return self.exited is not None or self.lines.report.closed

    @property
    def error(self) -> Failed | None:
        return self.result if isinstance(self.result, Failed) else None

    def hear_guardian(self) -> list[Event]:
        """What the guardian has said; its record of the end closes the attempt."""
        said: list[Event] = []
        for line in self.lines.report.read():
            event = from_line(line)
            said.append(event)
            if isinstance(event, Launched):
                self.launched = event
            elif isinstance(event, Exited):
                self.exited = event
        return said

    def hear_worker(self, now: float) -> list[Event]:
        """What the worker has said by now, in order. After a protocol error it is heard no more, and killed."""
        if self.protocol is not None:
            self.lines.events.discard()
            return []
        said: list[Event] = []
        try:
            for line in self.lines.events.read():
                event = worker_event(line)
                said.append(event)
                self._take_in(event, now)
        except ProtocolError as error:
            self.break_off(str(error), now)
        return said

    def break_off(self, reason: str, now: float) -> None:
        """The worker said something that cannot be: it is heard no more, and killed."""
        self.protocol = reason
        self.kill(now)

    def _take_in(self, event: Event, now: float) -> None:
        self.liveness.note(event, now)
        if isinstance(event, Completed | Diverged | Interrupted | Failed):
            self.result = event
            self.kill_at = min(now + LEAVE_SECONDS, self.kill_at or now + LEAVE_SECONDS)
        elif isinstance(event, ArtifactWritten):
            self.artifacts.append(event)
        elif isinstance(event, Predicted):
            self.predicted = event

    def stop(self, now: float, grace: float) -> None:
        """Asks the worker to save its state and stop; kills it when the grace is over."""
        self.stopping = True
        self.lines.order(guardian.TERMINATE)
        self.kill_at = now + grace

    def kill(self, now: float) -> None:
        """Kills the worker; its guardian then reports and ends the group."""
        self.lines.order(guardian.KILL)
        self.kill_at = None
        self.force_at = now + FORCE_SECONDS

    def enforce(self, now: float) -> None:
        """Applies the limits that are over at monotonic time `now`."""
        if self.force_at is not None and now >= self.force_at:
            self._kill_group()
        elif self.kill_at is not None and now >= self.kill_at:
            self.kill(now)
        elif self.kill_at is None and self.force_at is None:
            self.overdue = self.liveness.overdue(now)
            if self.overdue is not None:
                self.lines.order(guardian.DUMP)
                self.kill_at = now + DUMP_SECONDS

    def deadline(self) -> float:
        """When `enforce` has something to do next, if nothing happens before."""
        if self.force_at is not None:
            return self.force_at
        return self.kill_at if self.kill_at is not None else self.liveness.deadline()

    def _kill_group(self) -> None:
        # The guardian does not obey: stopped itself, perhaps. It is alive, for its pipe is open, so its group is its own.
        if self.launched is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.launched.guardian_pid, signal.SIGKILL)
        # only marked: the loop still has its descriptor registered
        self.lines.report.closed = True

    def evidence(self, oom_kills: int, memory_bytes: int | None) -> Evidence:
        return Evidence(
            result=self.result,
            exited=self.exited,
            protocol=self.protocol,
            overdue=self.overdue,
            missing=None if self.protocol is not None else self._missing(),
            stopping=self.stopping,
            oom_kills=oom_kills - self.oom_kills,
            memory_bytes=memory_bytes,
        )

    def _missing(self) -> str | None:
        for artifact in self.artifacts:
            try:
                size = (self.directory / artifact.name).stat().st_size
            except OSError as error:
                return f"{artifact.name} was written and cannot be found: {error.strerror}"
            if size != artifact.size_bytes:
                return f"{artifact.name}: expected {artifact.size_bytes} bytes, found {size}"
        return None

    def log_tail(self) -> str | None:
        """The end of the worker's output; None when it said nothing."""
        tail = b""
        for name in (layout.LOG, layout.OLD_LOG):
            with contextlib.suppress(OSError):
                tail = _tail(self.directory / name, LOG_TAIL_BYTES - len(tail)) + tail
        return tail.decode(errors="replace") or None

    def close(self) -> None:
        """Lets go of the pipes; a guardian that died first leaves grandchildren, which are killed here."""
        if self.exited is None and self.launched is not None:
            self._kill_group()
        self.lines.close()


def worker_event(line: bytes) -> Event:
    """What a worker may say.

    Raises:
        ProtocolError: It is no event, or one that only the guardian can know.
    """
    event = from_line(line)
    if isinstance(event, Launched | Exited):
        raise ProtocolError(f"{type(event).__name__} is for the guardian to say")
    return event


def _tail(path: Path, size: int) -> bytes:
    if size <= 0:
        return b""
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - size))
        return log.read(size)
