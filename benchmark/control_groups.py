"""Reads what the control groups of this process allow and count: containers, systemd and batch systems make them.

A group is bounded by its own limits and by those of all groups around it. Sources: control groups v2,
https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`, `memory.max`, `memory.events`); v1,
https://docs.kernel.org/scheduler/sched-bwc.html (`cpu.cfs_quota_us`) and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (`memory.limit_in_bytes`, `memory.oom_control`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
"""Where the control groups are mounted."""

MEMBERSHIP = Path("/proc/self/cgroup")
"""Names those of this process, `hierarchy:controllers:path` a line (cgroups(7))."""


def cpu_quota() -> float | None:
    """How many processors' time the narrowest group around this process may use; None for no limit."""
    narrowest = _narrowest_for_cpu()
    return None if narrowest is None else narrowest[0]


def cpu_use() -> tuple[float, float] | None:
    """Processors' time that the narrowest group may use, as `cpu_quota`, and the seconds that its processes have used."""
    narrowest = _narrowest_for_cpu()
    if narrowest is None:
        return None
    quota, group = narrowest
    counts = dict(line.split() for line in _text(group / "cpu.stat").splitlines() if len(line.split()) == 2)
    nanoseconds = _text(group / "cpuacct.usage")
    if "usage_usec" in counts:
        return quota, int(counts["usage_usec"]) / 1e6
    return (quota, int(nanoseconds) / 1e9) if nanoseconds.isdecimal() else None


def _narrowest_for_cpu() -> tuple[float, Path] | None:
    quotas = []
    for group in _groups("cpu"):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append((int(quota) / int(period), group))
    return min(quotas, default=None)


def memory_limit_bytes() -> int | None:
    """The smallest limit on memory around this process, in bytes; None for no limit."""
    narrowest = _narrowest_for_memory()
    return None if narrowest is None else narrowest[0]


def memory_use() -> tuple[int, int] | None:
    """The limit as `memory_limit_bytes`, and the bytes that its group uses; files that could be dropped are not counted."""
    narrowest = _narrowest_for_memory()
    if narrowest is None:
        return None
    limit, group = narrowest
    counts = dict(line.split() for line in _text(group / "memory.stat").splitlines() if len(line.split()) == 2)
    used = _text(group / "memory.current") or _text(group / "memory.usage_in_bytes")
    dropped = counts.get("inactive_file", counts.get("total_inactive_file", "0"))
    return (limit, max(int(used) - int(dropped), 0)) if used.isdecimal() else None


def _narrowest_for_memory() -> tuple[int, Path] | None:
    limits = [
        (_text(group / name), group) for group in _groups("memory") for name in ("memory.max", "memory.limit_in_bytes")
    ]
    return min(((int(limit), group) for limit, group in limits if limit.isdecimal()), default=None)


def throttled_seconds() -> float:
    """For how long quotas have held processes of the groups around this process back; 0 where it is not counted."""
    seconds = 0.0
    for group in dict.fromkeys(_groups("cpu")):
        counts = dict(line.split() for line in _text(group / "cpu.stat").splitlines() if len(line.split()) == 2)
        # version 2 counts microseconds, version 1 nanoseconds
        for name, unit in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)):
            seconds += unit * int(counts.get(name, "0"))
    return seconds


def oom_kills() -> int:
    """Processes of our group that the kernel has killed for memory so far; 0 where it does not say."""
    for group in _groups("memory"):
        for name in ("memory.events", "memory.oom_control"):
            counts = dict(line.split() for line in _text(group / name).splitlines())
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return 0


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the groups that hold this process, the innermost first, as far as they can be seen from here.

    In a container the path may be that on the host, of which nothing is mounted but its own group, at the root.
    """
    places = []
    for line in _text(MEMBERSHIP).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            places += [(ROOT / controllers, path), (ROOT / controller, path)]
        elif not controllers:
            places += [(ROOT, path), (ROOT / "unified", path)]
    for mount, path in places:
        inner = mount / path.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount))
    yield ROOT


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""
