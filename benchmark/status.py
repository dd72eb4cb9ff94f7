"""How a cell, an attempt or a run stands: the words that are recorded, shown and compared, written nowhere else.

A cell has a `Status` on each machine. A `Cause` says why an attempt did not complete; the status of the cell follows
from it. The state of an attempt is `running`, `completed` or a cause, that of a run one of `RUN_STATES`.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a cell stands on one machine."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    DIVERGED = "diverged"
    """Its loss became NaN or infinite: a result, not a failure of the program."""
    BLOCKED = "blocked"
    """Its parent has no weights to begin with."""
    SKIPPED = "skipped"
    """Left out of the plan, with a reason."""
    INTERRUPTED = "interrupted"
    """Asked to stop; the next run goes on."""

    @property
    def is_final(self) -> bool:
        """Whether the result is recorded for good; triggers of the database refuse to change it."""
        return self in FINAL


class Outlook(StrEnum):
    """What the next run does with a cell; `scheduling/decisions/reuse.py` decides it."""

    RUNS = "runs"
    """It trains from its beginning."""
    RESUMES = "resumes"
    """It goes on with an execution that was begun, from its last saved state."""
    WAITS = "waits"
    """It trains once another cell, which it starts from, is done."""
    REUSED = "reused"
    """Its finished result is taken."""
    SETTLED = "settled"
    """It has failed, and is not retried; or nothing asks for it any more."""
    BLOCKED = "blocked"
    """Its parent has no weights to begin with."""

    @property
    def will_run(self) -> bool:
        """Whether the cell is expected to train."""
        return self in {Outlook.RUNS, Outlook.RESUMES, Outlook.WAITS}


class Cause(StrEnum):
    """Why an attempt did not complete, or a cell has no result."""

    FAILED = "failed"
    DIVERGED = "diverged"
    TIMEOUT = "timeout"
    OOM = "oom"
    CRASHED = "crashed"
    DATA_ERROR = "data_error"
    DEVICE_LOST = "device_lost"
    INTERRUPTED = "interrupted"
    ABANDONED = "abandoned"
    """The run that had begun it was killed, or its node was lost."""
    PARENT = "parent"
    """Of a blocked cell alone: no attempt was made."""
    PROTOCOL = "protocol"
    """The worker sent what is no event."""


FINAL = (Status.COMPLETED, Status.DIVERGED)
UNFINISHED = frozenset({Status.PENDING, Status.RUNNING, Status.INTERRUPTED})
READING_ORDER = (
    *(Status.COMPLETED, Status.DIVERGED, Status.FAILED, Status.BLOCKED),
    *(Status.INTERRUPTED, Status.RUNNING, Status.PENDING, Status.SKIPPED),
)
"""The order in which counts of all statuses are shown."""

RUN_STATES = (Status.RUNNING, Status.COMPLETED, Status.INTERRUPTED, Status.FAILED, Cause.ABANDONED)
ATTEMPT_STATES = (Status.RUNNING, Status.COMPLETED, *(cause for cause in Cause if cause is not Cause.PARENT))


def status_of(state: str, *, will_retry: bool = False) -> tuple[Status, str | None]:
    """Status and cause of the cell whose last attempt ended in `state`.

    Args:
        state: How the attempt ended: one of `ATTEMPT_STATES` but `running`.
        will_retry: Whether a failed cell is tried again in the same run.
    """
    if state == Status.COMPLETED:
        return Status.COMPLETED, None
    if state == Cause.DIVERGED:
        return Status.DIVERGED, state
    if state in {Cause.INTERRUPTED, Cause.ABANDONED}:
        return Status.INTERRUPTED, state
    return Status.PENDING if will_retry else Status.FAILED, state


def with_cause(status: str, cause: str | None) -> str:
    """`failed (timeout)`: the status, and its cause where that says more."""
    return f"{status} ({cause})" if cause and cause != status else status


DISTURBED = "timing disturbed: "
"""How the detail of a completed execution begins whose timings do not count; what disturbed them follows."""
