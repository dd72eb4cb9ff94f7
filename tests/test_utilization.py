"""How busy the computer is: of what this process may use, and not of what belongs to others."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import psutil
import pytest

from benchmark import control_groups, machine
from benchmark.machine import Gpu
from benchmark.utilization import UtilizationMeter

CPU_USE, MEMORY_USE = control_groups.cpu_use, control_groups.memory_use


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No control group limits anything, and there is no GPU."""
    monkeypatch.setattr(control_groups, "cpu_use", lambda: None)
    monkeypatch.setattr(control_groups, "memory_use", lambda: None)
    monkeypatch.setattr(machine, "gpus", lambda: ())


def test_processors_that_this_process_may_not_use_do_not_count(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_percent", lambda percpu: [100.0, 50.0, 30.0, 0.0])
    monkeypatch.setattr(machine, "available_cores", lambda: (1, 2))
    assert UtilizationMeter().read().cpu_share == pytest.approx(0.4)


def test_under_a_quota_the_time_of_the_group_counts(monkeypatch):
    moments = iter([10.0, 12.0])
    used = iter([(2.5, 100.0), (2.5, 102.0)])
    monkeypatch.setattr(control_groups, "cpu_use", lambda: next(used))
    assert UtilizationMeter(lambda: next(moments)).read().cpu_share == pytest.approx(2.0 / (2.5 * 2.0))


def test_the_memory_is_that_of_the_group_where_it_is_less(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=1000, available=400))
    meter = UtilizationMeter()
    assert (meter.read().memory_bytes, meter.read().memory_limit_bytes) == (600, 1000)
    monkeypatch.setattr(control_groups, "memory_use", lambda: (500, 200))
    assert (meter.read().memory_bytes, meter.read().memory_limit_bytes) == (200, 500)
    monkeypatch.setattr(control_groups, "memory_use", lambda: (1 << 62, 200))
    assert meter.read().memory_limit_bytes == 1000


def driver(*, is_partitioned: bool = False) -> SimpleNamespace:
    """What is asked of NVML, for two GPUs."""

    class NVMLError(Exception):
        pass

    def rates(handle: int) -> SimpleNamespace:
        if is_partitioned:
            raise NVMLError
        return SimpleNamespace(gpu=30 + 40 * handle)

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID={"GPU-a": 0, "GPU-b": 1}.__getitem__,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=10 + handle, total=100),
        nvmlDeviceGetUtilizationRates=rates,
    )


def test_of_gpus_the_mean_and_the_sum_are_told(monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: (Gpu(0, "A", 100, "GPU-a"), Gpu(1, "B", 100, "GPU-b")))
    monkeypatch.setitem(sys.modules, "pynvml", driver())
    read = UtilizationMeter().read()
    assert (read.gpus, read.gpu_share, read.gpu_memory_bytes, read.gpu_memory_limit_bytes) == (2, 0.5, 21, 200)
    monkeypatch.setitem(sys.modules, "pynvml", driver(is_partitioned=True))
    assert UtilizationMeter().read().gpu_share is None


def test_a_driver_that_cannot_be_asked_is_no_reason_to_fail(monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: (Gpu(0, "A", 100, "GPU-x"),))
    monkeypatch.setitem(sys.modules, "pynvml", driver())
    assert UtilizationMeter().read().gpus == 0


@pytest.mark.parametrize(
    ("membership", "files", "cpu", "memory"),
    [
        (
            "0::/a/b",
            {
                "a/cpu.max": "150000 100000", "a/cpu.stat": "usage_usec 2500000\nnr_periods 3", "a/b/cpu.max": "max 100000",
                "a/memory.max": "1000", "a/memory.current": "700", "a/memory.stat": "anon 300\ninactive_file 200",
            },
            (1.5, 2.5), (1000, 500),
        ),
        (
            "5:cpu,cpuacct:/job\n4:memory:/job",
            {
                "cpu/job/cpu.cfs_quota_us": "200000", "cpu/job/cpu.cfs_period_us": "100000",
                "cpu/job/cpuacct.usage": "3000000000",
                "memory/job/memory.limit_in_bytes": "1000", "memory/job/memory.usage_in_bytes": "900",
                "memory/job/memory.stat": "total_inactive_file 100",
            },
            (2.0, 3.0), (1000, 800),
        ),
        ("0::/", {}, None, None),
    ],
)  # fmt: skip
def test_what_a_control_group_uses_is_that_of_the_narrowest(membership, files, cpu, memory, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    monkeypatch.setattr(control_groups, "MEMBERSHIP", tmp_path / "membership")
    assert CPU_USE() == cpu
    assert MEMORY_USE() == memory
