"""SIGTERM as a flag: the handler sets it, the training loop checks it between batches."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from benchmark.training.process.failures import StopRequestedError

_requested = threading.Event()


def install() -> None:
    """Makes SIGTERM set the flag. Only the main thread of a process can do this; elsewhere nothing happens."""
    _requested.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _note)


def _note(_number: int, _frame: FrameType | None) -> None:
    _requested.set()


def request() -> None:
    """Sets the flag as SIGTERM does."""
    _requested.set()


def check() -> None:
    """Raises `StopRequestedError` once SIGTERM has come."""
    if _requested.is_set():
        raise StopRequestedError("SIGTERM: asked to stop")
