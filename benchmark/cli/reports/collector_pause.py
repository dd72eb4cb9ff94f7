"""Pauses Python's garbage collector while a command builds many records at once."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Collects no cycles inside: a large report makes millions of records and no cycle, and looking for one took 1 s of 6."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
