"""Decides which epochs were disturbed: the processor time of other programs is told apart from that of this run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from benchmark import machine_load
from benchmark.events import EpochFinished, Exited
from benchmark.machine_load import LoadSample

RESOLUTION_SECONDS = 0.05
"""The kernel counts in ticks of 10 ms, for every process and every core: less than a few of them says nothing."""

SPAN_SECONDS = 0.5
"""Epochs are judged together until they took so long: ticks say little of less, and reading counters costs time."""

SHARED_SECONDS = 0.1
"""So old a reading may be that cells side by side share: with many of them reading would be a load itself."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class LoadReading:
    """The machine's load, and how much of it was ours, at one moment."""

    load: LoadSample
    own_seconds: float


class DisturbanceMeter:
    """Compares the load before and after some work.

    Args:
        pids: Calls back for the processes of this run that live now.
    """

    def __init__(self, pids: Callable[[], Iterable[int]], cores: int) -> None:
        self._pids = pids
        self._cores = cores
        self._ended_seconds = 0.0
        self._last: LoadReading | None = None

    def read(self, *, at_most_old: float = 0.0) -> LoadReading:
        """The load now, or as it was at most so many seconds ago."""
        if self._last is not None and time.monotonic() - self._last.load.monotonic_seconds < at_most_old:
            return self._last
        own = time.process_time() + machine_load.processor_ticks(self._pids()) / os.sysconf("SC_CLK_TCK")
        self._last = LoadReading(machine_load.load_sample(), self._ended_seconds + own)
        return self._last

    def count_ended(self, exited: Exited | None) -> None:
        """Keeps the processor time of a process that has ended and that `pids` names no more."""
        if exited is not None:
            self._ended_seconds += exited.user_seconds + exited.system_seconds

    def disturbance(self, before: LoadReading, after: LoadReading) -> str | None:
        """Why a timing between two readings cannot be trusted; None when nothing disturbed it."""
        own = after.own_seconds - before.own_seconds + RESOLUTION_SECONDS
        return machine_load.disturbance(before.load, after.load, own, self._cores)


@dataclass(slots=True)
class EpochWatch:
    """What disturbed the epochs of one attempt.

    Attributes:
        since: The load at the beginning of the span that is watched now.
        meter: Reads it.
        strangers: Says what else uses the attempt's GPU, in words; None for nothing.
        unjudged: The epochs of that span.
        trained, taken: Numbers of the epochs that the attempt trained itself, and that it took from elsewhere.
        disturbed: Why an epoch was disturbed, by its number; under 0 what happened outside of epochs.
    """

    since: LoadReading
    meter: DisturbanceMeter
    strangers: Callable[[], str | None]
    unjudged: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    disturbed: dict[int, str] = field(default_factory=dict)

    def end_epoch(self, event: EpochFinished) -> None:
        """Takes in an epoch; judges it with those before it as soon as they took long enough."""
        if event.replayed:
            self.taken.append(event.epoch)
            return
        self.trained.append(event.epoch)
        self.unjudged.append(event.epoch)
        if time.monotonic() - self.since.load.monotonic_seconds >= SPAN_SECONDS:
            self.judge(at_most_old=SHARED_SECONDS)

    def judge(self, *, at_most_old: float = 0.0) -> None:
        """Ends the span that is watched, now or so many seconds ago, and begins the next."""
        after = self.meter.read(at_most_old=at_most_old)
        reason = self.meter.disturbance(self.since, after) or self.strangers()
        if reason is not None:
            self.disturbed.update(dict.fromkeys(self.unjudged or [0], reason))
        self.since, self.unjudged = after, []


def in_words(disturbed: Mapping[int, str], epochs: Collection[int]) -> str:
    """What disturbed an attempt: the first reason, and the epochs that it touched where these are not all."""
    touched = sorted(set(epochs) & disturbed.keys())
    first = next(iter(disturbed.values()))
    if len(touched) == len(epochs):
        return first
    which = ", ".join(map(str, touched[:_SHOWN])) + (", …" if len(touched) > _SHOWN else "")
    return f"{first} (in epoch {which})" if touched else f"{first} (outside of epochs)"
