"""Whether the process of a recorded run is still there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark import machine
from benchmark.status import Status


def is_alive(run: Mapping[str, Any], *, served: bool) -> bool:
    """Whether the process of a run that calls itself running is there.

    Args:
        run: Its row.
        served: Whether the database is on a server: then the run may be on another computer, and is taken at its word.
    """
    if run["state"] != Status.RUNNING:
        return False
    if run["boot_id"] != machine.boot_id():
        return served
    return run["pid"] is None or bool(machine.process_start_ticks(run["pid"]) == run["process_start_ticks"])
