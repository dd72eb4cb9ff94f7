"""What this computer is and how busy it is: the only module that inspects hardware, kernel, versions and git.

Nothing here imports a numerical library; a GPU is asked through NVML, which needs no CUDA context. What cannot be
found out is None (or empty), never an exception: a benchmark must not fail because `/proc` is missing.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmark.files import sha256_of

STEAL_LIMIT = 0.05
"""A timing counts as disturbed when the hypervisor took more than this share of the cores' time away."""

FOREIGN_LIMIT_CORES = 0.25
"""… or when programs that are not ours used more than a quarter of a core on average."""

SUSPEND_LIMIT_SECONDS = 1.0
"""… or when the machine slept: the boot clock ran ahead of the monotonic clock by more than this."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as NVML names it.

    Attributes:
        index: What `device = "gpu:N"` means: its place among those that this process may use.
        uuid: What CUDA knows it by, whatever the order; empty when it has none.
    """

    index: int
    name: str
    memory_bytes: int
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The hardware and operating system that timings belong to.

    Attributes:
        cpu_cores: Logical processors that this process may use (its affinity mask), not those of the whole machine.
        memory_bytes: Physical memory, or the cgroup's limit where that is lower.
        gpu_driver: Version of the NVIDIA driver; None without one.
        boot_id: Changes with every boot, so that a recorded process id is never taken for a stranger's.
    """

    os: str
    python_version: str
    cpu_model: str
    cpu_cores: int
    memory_bytes: int
    gpus: tuple[Gpu, ...]
    gpu_driver: str | None
    boot_id: str


@dataclass(frozen=True, slots=True)
class GitState:
    """The commit that is checked out, and whether files differ from it; both None outside a repository."""

    commit: str | None
    dirty: bool | None


@dataclass(frozen=True, slots=True)
class LoadSample:
    """How much processor time the whole machine had used up to a moment.

    Attributes:
        monotonic_seconds: Clock that stands still while the machine sleeps.
        boottime_seconds: Clock that does not.
        busy_seconds: Processor time spent in any program, all cores together; None where `/proc/stat` is missing.
        steal_seconds: Processor time that a hypervisor gave to other guests.
    """

    monotonic_seconds: float
    boottime_seconds: float
    busy_seconds: float | None
    steal_seconds: float | None


def facts() -> MachineFacts:
    """Everything about this machine that a result must travel with."""
    gpus, driver = _gpus()
    return MachineFacts(
        os=platform.platform(),
        python_version=platform.python_version(),
        cpu_model=cpu_model(),
        cpu_cores=cpu_cores(),
        memory_bytes=_memory_bytes(),
        gpus=gpus,
        gpu_driver=driver,
        boot_id=boot_id(),
    )


def cpu_cores() -> int:
    """How many logical processors this process may use."""
    return len(available_cores())


def available_cores() -> tuple[int, ...]:
    """Numbers of the logical processors that this process may use, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def gpu_count() -> int:
    """How many GPUs this process may use; 0 without a driver."""
    return len(_gpus()[0])


def cuda_name(gpu: int) -> str:
    """What `CUDA_VISIBLE_DEVICES` must say so that a process sees the GPU of this index and no other."""
    uuids = [one.uuid for one in _gpus()[0] if one.index == gpu]
    return uuids[0] if uuids and uuids[0] else str(gpu)


def default_machine_name() -> str:
    """The host name, under which timings are kept unless `--machine` names another."""
    return socket.gethostname() or "localhost"


@cache
def boot_id() -> str:
    """Identity of this boot: the kernel's random id, or the boot time where there is none; empty when nobody knows."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        # without /proc psutil knows nothing on Linux
        with contextlib.suppress(OSError):
            return f"{psutil.boot_time():.0f}"
        return ""


def process_start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)).

    Together with `boot_id` and the id it names one process for good; None when there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _start_ticks_without_proc(pid)
    # the command name may hold spaces and parentheses; what follows the last one is safe to split
    return int(stat.rpartition(")")[2].split()[19])


def lock_holders(paths: Iterable[Path], kinds: frozenset[str] = frozenset({"WRITE"})) -> list[str]:
    """Programs other than this one that hold a lock on one of these files, as `process 123 (sqlite3)`.

    Args:
        paths: Of the files; they are known by device and inode, whatever their names.
        kinds: Of locks: `READ`, `WRITE`.

    Source: `/proc/locks`, proc(5); empty where there is none, or where nobody holds one.
    """
    wanted = set()
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            wanted.add(f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}")
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return []
    pids = {int(line[4]) for line in lines if line[3] in kinds and line[5] in wanted}
    return [f"process {pid} ({_command_name(pid)})" for pid in sorted(pids - {0, -1, os.getpid()})]


def _command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "gone"


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions by distribution name, without importing anything; missing ones are left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_state(directory: Path) -> GitState:
    """Commit and cleanliness of the repository around `directory`.

    Side effects: starts `git` twice, read-only; no remote address is ever asked for.
    """
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return GitState(None, None)
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return GitState(commit, None if changes is None else bool(changes))


def load_sample() -> LoadSample:
    """How much processor time this machine has used up to now."""
    busy, steal = _processor_seconds()
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
    return LoadSample(time.monotonic(), boottime, busy, steal)


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


def _start_ticks_without_proc(pid: int) -> int | None:
    if Path("/proc/self/stat").exists():
        return None
    import psutil

    try:
        return int(psutil.Process(pid).create_time() * 100)
    except (psutil.Error, OSError):
        return None


def cpu_model() -> str:
    """Name of the processor."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def processor_digest() -> str:
    """Tells processors apart for which programs are compiled differently: model and features, hashed."""
    try:
        found = re.search(r"^(flags|Features)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    features = found.group(2) if found else ""
    return sha256_of(f"{platform.machine()} {cpu_model()} {features}".encode())[:12]


def _memory_bytes() -> int:
    import psutil

    try:
        physical = int(psutil.virtual_memory().total)
    except OSError:
        # no /proc: the C library asks the kernel itself
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical


@cache
def _gpus() -> tuple[tuple[Gpu, ...], str | None]:
    """GPUs and driver version through NVML, which counts devices without creating a CUDA context.

    Where `CUDA_VISIBLE_DEVICES` is set, by a cluster's scheduler for example, only what it names is there.
    """
    invented = os.environ.get("BENCH_TEST_GPUS")
    if invented is not None and os.environ.get("BENCH_TESTING") == "1":
        names = invented.split(",") if invented else ()
        return tuple(Gpu(number, name, 1 << 30, f"GPU-{name}") for number, name in enumerate(names)), "0"
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - no driver, no library, no permission: all mean "no GPU to use"
        return (), None
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        wanted = visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
        # a slice of a GPU (MIG) is not counted, but known by its name
        known = dict(zip(uuids, handles, strict=True))
        gpus = tuple(
            _gpu(index, uuid, known[uuid] if uuid in known else pynvml.nvmlDeviceGetHandleByUUID(uuid))
            for index, uuid in enumerate(wanted)
        )
    except pynvml.NVMLError:
        return (), None
    finally:
        pynvml.nvmlShutdown()
    return gpus, driver


def _gpu(index: int, uuid: str, handle: Any) -> Gpu:
    import pynvml

    return Gpu(index, str(pynvml.nvmlDeviceGetName(handle)), int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), uuid)


def visible_devices(setting: str | None, uuids: Sequence[str]) -> list[str]:
    """UUIDs of the devices that a value of `CUDA_VISIBLE_DEVICES` leaves visible; None leaves all.

    As CUDA reads it (CUDA C++ Programming Guide, "CUDA Environment Variables"): numbers, and beginnings of UUIDs, in
    the order given; the first that is none of them, and everything behind it, is invisible.

    Args:
        setting: The value.
        uuids: Of all GPUs, in the order of their numbers on the PCI bus.
    """
    if setting is None:
        return list(uuids)
    visible: list[str] = []
    for entry in setting.split(","):
        name = entry.strip()
        if name.startswith("MIG-"):
            found = [name]
        elif name.startswith("GPU-"):
            found = [uuid for uuid in uuids if uuid.startswith(name)]
        else:
            found = [uuids[int(name)]] if name.isdecimal() and int(name) < len(uuids) else []
        if len(found) != 1 or found[0] in visible:
            break
        visible += found
    return visible


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
