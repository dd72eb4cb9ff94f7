"""One attempt as the scheduler sees it: its process, its limits, what its worker has told so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import events, layout
from benchmark.matrix.cell import Cell
from benchmark.results.records import AttemptStart
from benchmark.scheduling.decisions.cell_decisions import Beginning
from benchmark.scheduling.decisions.verdicts import Evidence, Result
from benchmark.scheduling.loop.disturbance import EpochWatch
from benchmark.scheduling.loop.stall import StallDetector
from benchmark.scheduling.processes import guardian
from benchmark.scheduling.processes.guarded_process import GuardedProcess, log_tail
from benchmark.scheduling.processes.slots import Grant

DUMP_SECONDS = 1.0
"""How long a stalled worker may take to write its stacks to the log before it is killed."""

FORCE_SECONDS = 3.0
"""How long a guardian may take to obey a kill before its group is killed without it."""

LEAVE_SECONDS = 10.0
"""How long a worker may live on after its last word."""

LOG_TAIL_BYTES = 64 << 10


@dataclass(slots=True)
class PendingLaunch:
    """An attempt that is recorded and has no process yet.

    Attributes:
        launches: How often it was launched in vain.
        is_brought: Whether what it starts from has been fetched, where artifacts lie below a URL.
    """

    cell: Cell
    start: AttemptStart
    grant: Grant
    beginning: Beginning
    launches: int = 0
    is_brought: bool = False


@dataclass(slots=True)
class Attempt:
    """An attempt that has a process, and everything that is known of it.

    Attributes:
        started: Monotonic seconds.
        watch: What disturbs its epochs.
        oom_kills: Processes killed for memory when it began.
        earlier: Folders of earlier attempts of its execution, newest first.
        stages: Folders of the states at the ends of stages that it shares, by the number of stages.
        launches: How often it was launched; more than once when no guardian came of it before.
        result: The worker's last word.
        protocol: What was wrong with a message of the worker; None while nothing was.
        overdue: Which time limit it broke; None for none.
        stopping: Whether the run asked it to stop.
        refused: Why the run would not have it; None when it would.
        uncopied: Why a file that it has written is not below the URL of artifacts; None while nothing went wrong.
        kill_at, force_at: When the worker, and when the whole group, is killed unless it is gone by then.
    """

    cell: Cell
    start: AttemptStart
    grant: Grant
    directory: Path
    process: GuardedProcess
    stall: StallDetector
    started: float
    watch: EpochWatch
    oom_kills: int
    stages: Mapping[int, Path] = field(default_factory=dict)
    earlier: Sequence[Path] = ()
    launches: int = 1
    result: Result | None = None
    protocol: str | None = None
    overdue: str | None = None
    stopping: bool = False
    refused: str | None = None
    uncopied: str | None = None
    kill_at: float | None = None
    force_at: float | None = None
    artifacts: list[events.ArtifactWritten] = field(default_factory=list)
    predicted: dict[str, events.Predicted] = field(default_factory=dict)

    @property
    def attempt_id(self) -> int:
        return self.start.attempt_id

    @property
    def error(self) -> events.Failed | None:
        return self.result if isinstance(self.result, events.Failed) else None

    def hear_worker(self, now: float) -> list[events.Event]:
        """What the worker has said by now, in order. After a protocol error it is heard no more, and killed."""
        if self.protocol is not None:
            self.process.events.discard()
            return []
        said: list[events.Event] = []
        try:
            for event in self.process.hear_worker():
                said.append(event)
                self._take_in(event, now)
        except events.ProtocolError as error:
            self.break_off(str(error), now)
        return said

    def break_off(self, reason: str, now: float) -> None:
        """The worker said something that cannot be: it is heard no more, and killed."""
        self.protocol = reason
        self.kill(now)

    def refuse(self, reason: str, now: float) -> None:
        """The run will not have its result: it is killed."""
        self.refused = reason
        self.kill(now)

    def _take_in(self, event: events.Event, now: float) -> None:
        self.stall.note(event, now)
        if isinstance(event, events.Completed | events.Diverged | events.Interrupted | events.Failed):
            self.result = event
            self.kill_at = min(now + LEAVE_SECONDS, self.kill_at or now + LEAVE_SECONDS)
        elif isinstance(event, events.ArtifactWritten):
            self.artifacts.append(event)
        elif isinstance(event, events.Predicted):
            self.predicted[event.name] = event.joined(self.predicted.get(event.name))

    def stop(self, now: float, grace: float) -> None:
        """Asks the worker to save its state and stop; kills it when the grace is over."""
        self.stopping = True
        self.process.order(guardian.TERMINATE)
        self.kill_at = now + grace

    def kill(self, now: float) -> None:
        """Kills the worker; its guardian then reports and ends the group."""
        self.process.order(guardian.KILL)
        self.kill_at = None
        self.force_at = now + FORCE_SECONDS

    def enforce(self, now: float) -> None:
        """Applies the limits that are over at monotonic time `now`."""
        if self.force_at is not None and now >= self.force_at:
            # the guardian does not obey: stopped itself, perhaps; it is alive, for its pipe is open
            self.process.kill_group()
        elif self.kill_at is not None and now >= self.kill_at:
            self.kill(now)
        elif self.kill_at is None and self.force_at is None:
            self.overdue = self.stall.overdue(now)
            if self.overdue is not None:
                self.process.order(guardian.DUMP)
                self.kill_at = now + DUMP_SECONDS

    def deadline(self) -> float:
        """When `enforce` has something to do next, if nothing happens before."""
        if self.force_at is not None:
            return self.force_at
        return self.kill_at if self.kill_at is not None else self.stall.deadline()

    def evidence(self, oom_kills: int, memory_bytes: int | None) -> Evidence:
        return Evidence(
            result=self.result,
            exited=self.process.exited,
            protocol=self.protocol,
            overdue=self.overdue,
            missing=None if self.protocol is not None else self._missing(),
            stopping=self.stopping,
            refused=self.refused,
            oom_kills=oom_kills - self.oom_kills,
            memory_bytes=memory_bytes,
        )

    def _missing(self) -> str | None:
        if self.uncopied is not None:
            return self.uncopied
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
        tail = log_tail(self.directory / layout.LOG, LOG_TAIL_BYTES)
        tail = log_tail(self.directory / layout.OLD_LOG, LOG_TAIL_BYTES - len(tail)) + tail
        return tail.decode(errors="replace") or None

    def close(self) -> None:
        """Lets go of the pipes; a guardian that died first leaves grandchildren, which are killed here."""
        if self.process.exited is None:
            self.process.kill_group()
        self.process.close()
