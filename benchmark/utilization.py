"""How busy this computer is at the moment: processors, memory and GPUs, as far as this process may use them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark import control_groups, machine


@dataclass(frozen=True, slots=True)
class Utilization:
    """What is in use, by whatever program; None where it is not known.

    Attributes:
        cpu_share: Of the processors that this process may use, 0..1.
        memory_bytes, memory_limit_bytes: Of the machine, or of the control group that limits this process.
        gpus: How many GPUs there are.
        gpu_share: How busy they are, 0..1, on average.
        gpu_memory_bytes, gpu_memory_limit_bytes: Of all of them together.
    """

    cpu_share: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    gpus: int = 0
    gpu_share: float | None = None
    gpu_memory_bytes: int = 0
    gpu_memory_limit_bytes: int = 0


class UtilizationMeter:
    """Reads the utilization since it was read last.

    Side effects: asks the driver of NVIDIA's GPUs, which stays open; no CUDA context is created.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._group = (clock(), control_groups.cpu_use())
        self._gpus = _gpu_handles()
        self._percentages()

    def read(self) -> Utilization:
        """What is in use now; of the processors since the last call."""
        used, limit = _memory()
        return Utilization(self._cpu_share(), used, limit, len(self._gpus), *self._gpu_use())

    def _cpu_share(self) -> float | None:
        before, self._group = self._group, (self._clock(), control_groups.cpu_use())
        seconds = self._group[0] - before[0]
        percentages = self._percentages()
        if before[1] is not None and self._group[1] is not None and seconds > 0:
            quota, used = self._group[1]
            return min((used - before[1][1]) / (quota * seconds), 1.0)
        return sum(percentages) / len(percentages) / 100 if percentages else None

    def _percentages(self) -> list[float]:
        """Of each processor that this process may use, since the last call."""
        import psutil

        with contextlib.suppress(psutil.Error, OSError):
            of_all = psutil.cpu_percent(percpu=True)
            return [of_all[core] for core in machine.available_cores() if core < len(of_all)] or of_all
        return []

    def _gpu_use(self) -> tuple[float | None, int, int]:
        if not self._gpus:
            return None, 0, 0
        import pynvml

        try:
            memory = [pynvml.nvmlDeviceGetMemoryInfo(handle) for handle in self._gpus]
            shares = [pynvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in self._gpus]
        except pynvml.NVMLError:
            # a part of a GPU does not count how busy it is
            return None, 0, 0
        used, limit = (sum(int(getattr(each, name)) for each in memory) for name in ("used", "total"))
        return sum(shares) / len(shares) / 100, used, limit


def _memory() -> tuple[int | None, int | None]:
    """Bytes in use, and how many there are."""
    import psutil

    limited = control_groups.memory_use()
    try:
        memory = psutil.virtual_memory()
    except OSError:
        return (None, None) if limited is None else (limited[1], limited[0])
    if limited is not None and limited[0] < memory.total:
        return limited[1], limited[0]
    return int(memory.total - memory.available), int(memory.total)


def _gpu_handles() -> list[Any]:
    """The driver's handles of the GPUs that this process may use."""
    uuids = [gpu.uuid for gpu in machine.gpus() if gpu.uuid]
    if not uuids:
        return []
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
    except Exception:  # noqa: BLE001 - whatever the driver says: nothing is known
        return []
