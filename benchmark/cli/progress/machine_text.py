"""How busy the computer is, in one line."""

from __future__ import annotations

from benchmark.utilization import Utilization

GIB = 1 << 30


def machine_text(utilization: Utilization, width: int) -> str:
    """`CPU 98 % · memory 3.2/16 GiB · GPU 45 % 3.1/80 GiB`, and what fits of it; of several GPUs their mean and sum."""
    parts = []
    if utilization.cpu_share is not None:
        parts.append(f"CPU {_percent(utilization.cpu_share)}")
    if utilization.memory_bytes is not None and utilization.memory_limit_bytes:
        parts.append(f"memory {_of(utilization.memory_bytes, utilization.memory_limit_bytes)}")
    if utilization.gpu_share is not None:
        name = "GPU" if utilization.gpus == 1 else f"{utilization.gpus} GPUs"
        parts.append(f"{name} {_percent(utilization.gpu_share)}")
        memory = _of(utilization.gpu_memory_bytes, utilization.gpu_memory_limit_bytes)
        parts[-1] += f" {memory}" if len(" · ".join(parts)) + len(memory) < width else ""
    while parts and len(" · ".join(parts)) > width:
        parts.pop()
    return " · ".join(parts)


def _percent(share: float) -> str:
    return f"{min(max(share, 0.0), 1.0) * 100:.0f} %"


def _of(used: int, limit: int) -> str:
    """`3.2/16 GiB`."""
    return f"{_gib(used)}/{_gib(limit)} GiB"


def _gib(count: int) -> str:
    return f"{count / GIB:.0f}" if count >= 10 * GIB else f"{count / GIB:.1f}"
