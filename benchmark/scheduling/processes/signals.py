"""Turns stop signals into a count and a readable descriptor; the loop decides what to do about them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from types import FrameType
from typing import Any, Self

from benchmark.units import plural

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def waiting_for(cells: int) -> str:
    """What a run does that was asked to stop, in words."""
    return f"waiting for {plural(cells, 'running cell')} to save {'its' if cells == 1 else 'their'} state"


class StopSignals:
    """Inside `with`, Ctrl-C, SIGTERM and SIGHUP are only counted, and SIGPIPE is ignored.

    Attributes:
        count: How many stop signals have come.
        fd: Becomes readable when one comes, so that the loop wakes up.
        exit_code: 130 after Ctrl-C first, 143 after another one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: int | None = None
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write, False)
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1

    @property
    def exit_code(self) -> int:
        return 130 if self.first == signal.SIGINT else 143

    @property
    def reason(self) -> str:
        """Why the run stops, in words, once a signal has come."""
        return f"interrupted by {signal.Signals(self.first or signal.SIGTERM).name}"

    @property
    def hint(self) -> str:
        """What is to be known at the first signal about a second one."""
        return "; press Ctrl-C again to kill them" if self.first == signal.SIGINT else "; a second signal kills them"

    def __enter__(self) -> Self:
        # Python delivers signals to the main thread only; elsewhere the caller's handlers stay.
        if threading.current_thread() is threading.main_thread():
            self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:
                    self._before[number] = signal.signal(number, self._count)
            self._before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._write)

    def wait(self, seconds: float) -> bool:
        """Waits so long, or until a stop signal comes or has come; whether one has."""
        if self.count == 0:
            select.select([self.fd], [], [], seconds)
        return self.count > 0

    def drain(self) -> None:
        """Makes `fd` unreadable until the next signal."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 512)

    def _count(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.first = self.first or number
