"""Work that takes long beside a loop that must not wait: done in threads, and told to the loop when it is over."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from benchmark.errors import StorageError

THREADS = 4

Then = Callable[[StorageError | None], None]


class BackgroundWork:
    """Threads beside a loop.

    Args:
        selector: Of the loop; it is woken when something is over, and what follows is called by it.

    Attributes:
        left: How much is not over yet.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.left = 0
        self._selector = selector
        self._work: SimpleQueue[tuple[Callable[[], None], Then] | None] = SimpleQueue()
        self._over: SimpleQueue[tuple[Then, StorageError | None]] = SimpleQueue()
        self._wakes, self._woken = os.pipe()
        for handle in (self._wakes, self._woken):
            os.set_blocking(handle, False)
        selector.register(self._wakes, selectors.EVENT_READ, self._deliver)
        for _ in range(THREADS):
            threading.Thread(target=self._serve, daemon=True, name="artifacts").start()

    def do(self, act: Callable[[], None], then: Then) -> None:
        """Has `act` done by a thread; the loop calls `then` with why that failed, or None."""
        self.left += 1
        self._work.put((act, then))

    def close(self) -> None:
        """Lets go of the threads; what they are at is not waited for."""
        self._selector.unregister(self._wakes)
        for _ in range(THREADS):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            act, then = work
            error = None
            try:
                act()
            except StorageError as problem:
                error = problem
            except Exception as problem:  # noqa: BLE001  whatever it is, the loop is told
                error = StorageError(f"{type(problem).__name__}: {problem}")
            self._over.put((then, error))
            with suppress(OSError):
                os.write(self._woken, b"+")

    def _deliver(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wakes, 4096)
        while not self._over.empty():
            then, error = self._over.get()
            self.left -= 1
            then(error)
