"""Inspects this machine: hardware, kernel and installed versions. The only module that does; `machine_load.py` has its load.

It imports no numerical library; GPUs are asked through NVML, which needs no CUDA context. What is unknown is None or
empty, never an exception: a benchmark must not fail because `/proc` is missing.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from benchmark import control_groups
from benchmark.files import sha256_of

LIBRARY_VARIABLES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH")
"""Variables by which the system's loader chooses libraries, those that compute among them."""

_WITH_LIBRARIES = ", with "


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, as NVML reports it.

    Attributes:
        index: N of `device = "gpu:N"`: its position among the GPUs that this process may use.
        uuid: Identifies it to CUDA independently of the order; empty when it has none.
    """

    index: int
    name: str
    memory_bytes: int
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The hardware and operating system that timings belong to.

    Attributes:
        cpu_cores: Logical processors that this process may use (see `available_cores`), not those of the whole machine.
        memory_bytes: Physical memory, or the control groups' limit where that is lower.
        gpu_driver: Version of the NVIDIA driver; None without one.
        boot_id: Changes with every boot, so that a recorded process id is not mistaken for that of a later process.
    """

    os: str
    python_version: str
    cpu_model: str
    cpu_cores: int
    memory_bytes: int
    gpus: tuple[Gpu, ...]
    gpu_driver: str | None
    boot_id: str


def facts() -> MachineFacts:
    """The facts about this machine that are recorded with results."""
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


def library_variables() -> str:
    """Those of `LIBRARY_VARIABLES` that this process was started with, as a shell writes them; empty for none."""
    started_with = environment_at_start()
    return " ".join(f"{name}={started_with[name]}" for name in LIBRARY_VARIABLES if started_with.get(name))


def environment_at_start() -> Mapping[str, str]:
    """The variables that this process, or the one it was forked from, was started with; those of now without `/proc`.

    The loader read no others, and libraries write to `os.environ`: OpenCV puts a folder of its own into `LD_LIBRARY_PATH`.
    """
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)


def device_with_libraries(device: str) -> str:
    """What is recorded as the device of an attempt: its name, and `library_variables` where there are any."""
    return _WITH_LIBRARIES.join(filter(None, (device, library_variables())))


def libraries_of(device_name: str) -> str:
    """The variables in what `device_with_libraries` gave; empty for none."""
    return device_name.partition(_WITH_LIBRARIES)[2]


def cpu_cores() -> int:
    """How many logical processors this process may use."""
    return len(available_cores())


def available_cores() -> tuple[int, ...]:
    """Numbers of the logical processors that this process may use, ascending.

    They are those of its affinity mask, and of these the first ones where the quota of a control group (`docker
    --cpus`) allows the time of fewer. Of a quota of 2.5 cores two are used: a third cell would have its time taken away.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    quota = control_groups.cpu_quota()
    return tuple(cores) if quota is None else tuple(cores[: max(1, int(quota))])


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use; none without a driver."""
    return _gpus()[0]


def gpu_count() -> int:
    """How many GPUs this process may use; 0 without a driver."""
    return len(_gpus()[0])


def cuda_name(gpu: int) -> str:
    """The value of `CUDA_VISIBLE_DEVICES` with which a process sees only the GPU of this index."""
    uuids = [each.uuid for each in _gpus()[0] if each.index == gpu]
    return uuids[0] if uuids and uuids[0] else str(gpu)


def default_machine_name() -> str:
    """The host name, under which results are recorded unless `--machine` gives another name."""
    return socket.gethostname() or "localhost"


@cache
def boot_id() -> str:
    """Identity of this boot: the kernel's random id, or the boot time where there is none; empty when both are unknown."""
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

    With `boot_id` and the id it identifies a process uniquely; None when there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        import psutil

        with contextlib.suppress(psutil.Error, OSError):
            return int(psutil.Process(pid).create_time() * 100)
        return None
    # the command name may hold spaces and parentheses; what follows the last one is safe to split
    return int(stat.rpartition(")")[2].split()[19])


def lock_holders(paths: Iterable[Path], kinds: frozenset[str] = frozenset({"WRITE"})) -> list[str]:
    """Programs other than this one that hold a lock on one of these files, as `process 123 (sqlite3)`.

    Args:
        paths: The files; they are compared by device and inode.
        kinds: Kinds of locks: `READ`, `WRITE`.

    Source: `/proc/locks`, proc(5); empty where that is missing.
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
    """Versions of installed distributions by name, without importing them; missing ones are left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def gpu_processes(gpu: int) -> int | None:
    """How many programs compute on the GPU of this index, ours among them; None where the driver does not say.

    They are counted and not named: in a container the driver names them by ids of another namespace.
    """
    simulated = _simulated("BENCH_TEST_GPU_PROCESSES")
    if simulated is not None:
        return int(simulated)
    uuids = [each.uuid for each in _gpus()[0] if each.index == gpu]
    if not uuids:
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            return len(pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByUUID(uuids[0])))
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # noqa: BLE001 - whatever the driver says: nothing is known
        return None


def cpu_model() -> str:
    """Name of the processor."""
    return _cpuinfo("model name").strip() or platform.processor() or platform.machine()


def processor_digest() -> str:
    """A digest of the processor's model and features, on which compiled programs depend."""
    return sha256_of(f"{platform.machine()} {cpu_model()} {_cpuinfo('flags|Features')}".encode())[:12]


def _cpuinfo(name: str) -> str:
    """The first value of this name, a regular expression, in `/proc/cpuinfo`; empty where there is none."""
    try:
        match = re.search(rf"^(?:{name})\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return match[1] if match else ""


def _memory_bytes() -> int:
    import psutil

    try:
        physical = int(psutil.virtual_memory().total)
    except OSError:
        # no /proc: the C library asks the kernel itself
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = control_groups.memory_limit_bytes()
    return physical if limit is None else min(physical, limit)


def _simulated(variable: str) -> str | None:
    return os.environ.get(variable) if os.environ.get("BENCH_TESTING") == "1" else None


@cache
def _gpus() -> tuple[tuple[Gpu, ...], str | None]:
    """GPUs and driver version through NVML, which counts devices without creating a CUDA context.

    Where `CUDA_VISIBLE_DEVICES` is set, for example by a cluster's scheduler, only the GPUs that it names count.
    """
    simulated = _simulated("BENCH_TEST_GPUS")
    if simulated is not None:
        names = simulated.split(",") if simulated else ()
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
        # NVML does not enumerate slices of a GPU (MIG), but finds them by UUID
        known = dict(zip(uuids, handles, strict=True))
        gpus = []
        for index, uuid in enumerate(wanted):
            handle = known[uuid] if uuid in known else pynvml.nvmlDeviceGetHandleByUUID(uuid)
            name, memory_bytes = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetMemoryInfo(handle).total
            gpus.append(Gpu(index, str(name), int(memory_bytes), uuid))
    except pynvml.NVMLError:
        return (), None
    finally:
        pynvml.nvmlShutdown()
    return tuple(gpus), driver


def visible_devices(setting: str | None, uuids: Sequence[str]) -> list[str]:
    """UUIDs of the devices that a value of `CUDA_VISIBLE_DEVICES` leaves visible; None leaves all.

    The rules are CUDA's (CUDA C++ Programming Guide, "CUDA Environment Variables"): numbers and prefixes of UUIDs, in
    the order given; the first invalid entry, and everything after it, is invisible.

    Args:
        setting: The value.
        uuids: The UUIDs of all GPUs, in the order of their numbers on the PCI bus.
    """
    if setting is None:
        return list(uuids)
    visible: list[str] = []
    for entry in setting.split(","):
        name = entry.strip()
        if name.startswith("MIG-"):
            matches = [name]
        elif name.startswith("GPU-"):
            matches = [uuid for uuid in uuids if uuid.startswith(name)]
        else:
            matches = [uuids[int(name)]] if name.isdecimal() and int(name) < len(uuids) else []
        if len(matches) != 1 or matches[0] in visible:
            break
        visible += matches
    return visible
