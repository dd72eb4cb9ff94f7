"""Detects stalled workers from the progress of their batches, by a monotonic clock; never by a heartbeat or wall time."""

from __future__ import annotations

from benchmark import events
from benchmark.scheduling.run_options import RunOptions

_BEFORE_TRACING = (
    events.Launched,
    events.Started,
    events.ModelBuilt,
    events.Resumed,
    events.StagesTaken,
    events.StageStored,
    events.StageStarted,
)
_SIGNS = (*_BEFORE_TRACING, events.EpochFinished, events.Evaluated)


class StallDetector:
    """When one attempt must be given up. Times are monotonic seconds.

    A stage's first batch may take long, because it is traced or compiled then; after it, a batch must finish every
    `stall_seconds`. An attempt may also have a limit as a whole.
    """

    def __init__(self, options: RunOptions, started: float) -> None:
        self._options = options
        self._started = started
        self._last_sign = started
        self._first_batch = True
        self._place = "at the start"

    def note(self, event: events.Event, now: float) -> None:
        """Takes a sign of life.

        `Progress` is told between batches by the thread that trains, never by a heartbeat; batches of validation and
        evaluation repeat the position of the last training batch.
        """
        if isinstance(event, events.Progress):
            self._first_batch = False
            self._place = f"after epoch {event.epoch}, batch {event.batch} of {event.batches}"
            self._last_sign = now
        elif isinstance(event, _SIGNS):
            self._last_sign = now
            self._first_batch = isinstance(event, _BEFORE_TRACING)
            if isinstance(event, events.EpochFinished):
                self._place = f"after epoch {event.epoch}"

    def deadline(self) -> float:
        """When `overdue` will first say something unless there is another sign of life."""
        end = self._last_sign + self._patience()
        limit = self._options.timeout_seconds
        return end if limit is None else min(end, self._started + limit)

    def overdue(self, now: float) -> str | None:
        """Which limit is broken, in words; None for none."""
        limit = self._options.timeout_seconds
        if limit is not None and now >= self._started + limit:
            return f"longer than the limit of {limit:g} s for one cell (--timeout)"
        if now < self._last_sign + self._patience():
            return None
        kind = "no first batch" if self._first_batch else "no further batch"
        return f"stall: {kind} within {self._patience():g} s {self._place}"

    def _patience(self) -> float:
        options = self._options
        return options.first_batch_seconds if self._first_batch else options.stall_seconds
