"""Ends the workers that an earlier run left alive; no other process is touched."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

from benchmark import machine
from benchmark.results.records import StaleAttempt


def kill_leftovers(leftovers: Iterable[StaleAttempt]) -> int:
    """Kills the process group of each worker that is provably still the recorded one.

    A process id alone proves nothing: after a reboot, or after enough processes, it is a stranger's. So boot, process
    id and start time must all agree, and the worker must be in its guardian's group.

    Returns:
        How many groups were killed.
    """
    killed = 0
    for leftover in leftovers:
        worker, guardian = leftover.worker_pid, leftover.guardian_pid
        if worker is None or guardian is None or leftover.boot_id != machine.boot_id():
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            started = machine.process_start_ticks(worker)
            if started == leftover.worker_start_ticks and os.getpgid(worker) == guardian:
                os.killpg(guardian, signal.SIGKILL)
                killed += 1
    return killed
