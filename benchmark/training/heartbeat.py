"""Signs of life of the thread that trains, and the moment at which it may be stopped: between two batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter

from benchmark import faults
from benchmark.events import Event, Progress
from benchmark.training.process import interrupt

_PROGRESS_EVERY_SECONDS = 0.2


class Heartbeat:
    """Emits `Progress` from the training thread, at most five times a second, and obeys SIGTERM between batches."""

    def __init__(self, emit: Callable[[Event], object]) -> None:
        self._emit = emit
        self._emitted_at = -math.inf

    def beat(self, stage: int, epoch: int, batch: int, batches: int) -> None:
        """Reports that work goes on; all numbers count from 1.

        Raises:
            StopRequestedError: SIGTERM came.
        """
        faults.point("batch")
        interrupt.check()
        now = perf_counter()
        if now - self._emitted_at >= _PROGRESS_EVERY_SECONDS:
            self._emitted_at = now
            self._emit(Progress(stage, epoch, batch, batches))
