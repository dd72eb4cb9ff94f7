"""SIGTERM as a flag: the handler sets it, the training loop checks it between batches."""

from __future__ import annotations

import signal
import threading

from benchmark.training.process.failures import StopRequestedError

_requested = threading.Event()


def install() -> None:
    """Makes SIGTERM set the flag. Only the main thread of a process can do this; elsewhere nothing happens."""
    _requested.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda _number, _frame: _requested.set())


is_requested = _requested.is_set
"""Whether SIGTERM has come."""


def check() -> None:
    """Raises `StopRequestedError` once SIGTERM has come."""
    if is_requested():
        raise StopRequestedError("SIGTERM: asked to stop")
