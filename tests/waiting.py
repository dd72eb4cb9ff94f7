"""The one place where a test lets time pass: it looks again and again until something has happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 200.0
"""Long enough for a machine on which many other programs run, and below the timeout of a test."""


def wait_until(happened: Callable[[], T], what: str = "", *, pause_seconds: float = 0.01) -> T:
    """Waits until a condition holds, and gives what it came to.

    Raises:
        AssertionError: It does not hold after `PATIENCE_SECONDS`.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := happened()):
        assert time.monotonic() < until, f"not within {PATIENCE_SECONDS:.0f} s: {what or happened}"
        time.sleep(pause_seconds)
    return found
