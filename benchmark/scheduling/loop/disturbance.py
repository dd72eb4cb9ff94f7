"""Decides whether a timing was disturbed: the processor time of other programs is told apart from that of this run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark import machine
from benchmark.events import Exited
from benchmark.machine import LoadSample

RESOLUTION_SECONDS = 0.05
"""The kernel counts in ticks of 10 ms, for every process and every core: less than a few of them says nothing."""


@dataclass(frozen=True, slots=True)
class LoadReading:
    """The machine's load, and how much of it was ours, at one moment."""

    load: LoadSample
    own_seconds: float


class DisturbanceMeter:
    """Compares the load before and after an attempt.

    Args:
        pids: Calls back for the processes of this run that live now.
    """

    def __init__(self, pids: Callable[[], Iterable[int]], cores: int) -> None:
        self._pids = pids
        self._cores = cores
        self._ended_seconds = 0.0

    def read(self) -> LoadReading:
        own = time.process_time() + sum(map(_ticks, self._pids())) / os.sysconf("SC_CLK_TCK")
        return LoadReading(machine.load_sample(), self._ended_seconds + own)

    def count_ended(self, exited: Exited | None) -> None:
        """Keeps the processor time of a process that has ended and that `pids` names no more."""
        if exited is not None:
            self._ended_seconds += exited.user_seconds + exited.system_seconds

    def disturbance(self, before: LoadReading) -> str | None:
        """Why a timing since `before` cannot be trusted; None when nothing disturbed it."""
        after = self.read()
        own = after.own_seconds - before.own_seconds + RESOLUTION_SECONDS
        return machine.disturbance(before.load, after.load, own, self._cores)


def _ticks(pid: int) -> int:
    """User and system time of a process; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    # utime, stime, cutime, cstime: fields 14 to 17 of proc_pid_stat(5)
    return sum(int(field) for field in fields[11:15])
