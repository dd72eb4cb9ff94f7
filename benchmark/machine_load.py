"""How busy this machine is between two moments, and whether that disturbs a timing: nothing else looks at it.

Linux tells it in `/proc` and `/sys`; elsewhere nothing is known, and nothing is called disturbed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark import control_groups
from benchmark.machine import available_cores

STEAL_LIMIT = 0.05
"""A timing counts as disturbed when the hypervisor took more than this share of the cores' time."""

FOREIGN_LIMIT_CORES = 0.25
"""… or when programs that are not ours used more than a quarter of a core on average."""

SUSPEND_LIMIT_SECONDS = 1.0
"""… or when the machine slept: the boot clock ran ahead of the monotonic clock by more than this."""

THROTTLE_LIMIT = 0.05
"""… or when the quota of a control group held its processes back for more than this share of the time."""

SWAP_LIMIT_BYTES = 1 << 20
"""… or when more than so much memory was swapped in or out, by whatever program."""

_HEAT_CORES = 64
"""Of so many processors at most the counters are read: each is a file, and they are read once in a while of training."""


@dataclass(frozen=True, slots=True)
class LoadSample:
    """Clocks and used processor time of the whole machine at one moment.

    Attributes:
        monotonic_seconds: A clock that stops while the machine sleeps.
        boottime_seconds: A clock that runs on.
        busy_seconds: Processor time spent in any program, all cores together; None where `/proc/stat` is missing.
        steal_seconds: Processor time that a hypervisor gave to other guests.
        throttled_seconds: Time for which quotas of control groups have held us back.
        swapped_bytes: Memory written to swap and read from it.
        heat_events: How often a processor of ours, or its package, was slowed down because it was hot.
    """

    monotonic_seconds: float
    boottime_seconds: float
    busy_seconds: float | None
    steal_seconds: float | None
    throttled_seconds: float = 0.0
    swapped_bytes: int = 0
    heat_events: int = 0


def processor_ticks(pids: Iterable[int]) -> int:
    """User and system time of processes and of all that descend from them, in clock ticks; what is gone counts 0.

    Where there is no /proc all of them count 0.
    """
    total, waiting, seen = 0, list(pids), set[int]()
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            # of the main thread: what the others start is rare, and each has a file of its own
            waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split())
        except OSError:
            continue
        # utime, stime, cutime, cstime: fields 14 to 17 of proc_pid_stat(5)
        total += sum(int(field) for field in fields[11:15])
    return total


def load_sample() -> LoadSample:
    """Clocks and processor time of this machine now."""
    busy, steal = _processor_seconds()
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
    return LoadSample(
        time.monotonic(), boottime, busy, steal, control_groups.throttled_seconds(), _swapped_bytes(), _heat_events()
    )


def disturbance(before: LoadSample, after: LoadSample, own_seconds: float, cores: int) -> str | None:
    """Why a timing between two samples cannot be trusted, in words; None when nothing disturbed it.

    Args:
        before: Sample at the start of the timed work.
        after: Sample at its end.
        own_seconds: Processor time that this run's own processes used in between, neighbouring cells included.
        cores: Logical processors that this process may use.
    """
    elapsed = after.monotonic_seconds - before.monotonic_seconds
    slept = (after.boottime_seconds - before.boottime_seconds) - elapsed
    if slept > SUSPEND_LIMIT_SECONDS:
        return f"the machine slept for {slept:.0f} s"
    if after.heat_events > before.heat_events:
        return "the processor was slowed down because it was hot"
    if (swapped := after.swapped_bytes - before.swapped_bytes) > SWAP_LIMIT_BYTES:
        return f"{swapped / (1 << 20):.0f} MiB of memory were swapped"
    throttled = after.throttled_seconds - before.throttled_seconds
    if elapsed > 0 and throttled / elapsed > THROTTLE_LIMIT:
        return f"a control group's quota held processes back for {throttled:.1f} s"
    if before.busy_seconds is None or after.busy_seconds is None or elapsed <= 0:
        return None
    stolen = ((after.steal_seconds or 0.0) - (before.steal_seconds or 0.0)) / (elapsed * cores)
    if stolen > STEAL_LIMIT:
        return f"the hypervisor took {stolen:.0%} of the processor time"
    foreign = (after.busy_seconds - before.busy_seconds - own_seconds) / elapsed
    if foreign > FOREIGN_LIMIT_CORES:
        return f"other programs used {foreign:.1f} cores"
    return None


def _processor_seconds() -> tuple[float | None, float | None]:
    """(busy, steal) of all processors in seconds: the first line of `/proc/stat`, proc(5)."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return None, None
    ticks = [int(field) for field in first[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    per_second = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / per_second, steal / per_second


def _swapped_bytes() -> int:
    """Bytes swapped in and out since the machine started: `pswpin` and `pswpout` of `/proc/vmstat`, proc(5)."""
    pages = re.findall(r"^pswp(?:in|out) (\d+)$", _text(Path("/proc/vmstat")), re.MULTILINE)
    return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")


def _heat_events() -> int:
    """How often processors were slowed down for heat: the counters of x86's `therm_throt` driver; 0 without them."""
    folders = [f"/sys/devices/system/cpu/cpu{core}/thermal_throttle" for core in available_cores()[:_HEAT_CORES]]
    texts = [_text(Path(folder, f"{part}_throttle_count")) for folder in folders for part in ("core", "package")]
    return sum(int(text) for text in texts if text.isdecimal())


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
