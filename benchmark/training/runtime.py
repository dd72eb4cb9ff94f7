"""What a worker's process is made of before the first operation: processors, threads, device, determinism.

The only place that knows backends apart besides `steps.py`. Nothing happens at import.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass

import keras

from benchmark.events import Job
from benchmark.matrix.cell import Cell
from benchmark.training.causes import DeviceError


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the process really has."""

    backend_version: str
    keras_version: str
    threads: int
    device_name: str


def prepare_process(job: Job, cell: Cell) -> Runtime:
    """Sets up this process for one cell, for good.

    Raises:
        DeviceError: The GPU that the job names is not there; a cell never falls back to the CPU silently.
        RuntimeError: Keras was imported with another backend.
    """
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.cores)
    return prepare_backend(cell, job.gpu)


def prepare_backend(cell: Cell, gpu: int | None) -> Runtime:
    """Threads, device and determinism of this process, for good; raises as `prepare_process` does."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1" if gpu is None else str(gpu)
    backend = keras.backend.backend()
    if backend != cell.backend:
        raise RuntimeError(f"the cell needs the backend {cell.backend}, but Keras was imported with {backend}")
    device_name = _PREPARE[backend](cell, gpu)
    return Runtime(importlib.metadata.version(backend), keras.__version__, cell.threads, device_name)


def peak_device_bytes(cell: Cell) -> int | None:
    """Peak memory that the backend has allocated on the GPU; None on the CPU or when the backend does not tell."""
    if cell.device_kind != "gpu":
        return None
    if cell.backend == "tensorflow":
        import tensorflow as tf

        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if cell.backend == "torch":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return None


def _prepare_tensorflow(cell: Cell, gpu: int | None) -> str:
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(cell.threads)
    tf.config.threading.set_intra_op_parallelism_threads(cell.threads)
    if cell.deterministic:
        tf.config.experimental.enable_op_determinism()
    if cell.device_kind != "gpu":
        tf.config.set_visible_devices([], "GPU")
        return "cpu"
    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        raise _missing_gpu(gpu)
    tf.config.experimental.set_memory_growth(devices[0], True)
    return str(tf.config.experimental.get_device_details(devices[0]).get("device_name", "gpu"))


def _prepare_jax(cell: Cell, gpu: int | None) -> str:
    # read when the first operation starts XLA's client
    os.environ["XLA_FLAGS"] = " ".join(
        [
            os.environ.get("XLA_FLAGS", ""),
            f"--xla_cpu_multi_thread_eigen={'true' if cell.threads > 1 else 'false'}",
            f"intra_op_parallelism_threads={cell.threads}",
            *(["--xla_gpu_deterministic_ops=true"] if cell.deterministic and cell.device_kind == "gpu" else []),
        ]
    ).strip()
    import jax

    if cell.device_kind != "gpu":
        jax.config.update("jax_platforms", "cpu")
        return "cpu"
    try:
        return str(jax.devices("gpu")[0].device_kind)
    except RuntimeError as error:
        raise _missing_gpu(gpu) from error


def _prepare_torch(cell: Cell, gpu: int | None) -> str:
    import torch

    torch.set_num_threads(cell.threads)
    torch.set_num_interop_threads(cell.threads)
    if cell.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if cell.device_kind != "gpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise _missing_gpu(gpu)
    return str(torch.cuda.get_device_name(0))


def _missing_gpu(gpu: int | None) -> DeviceError:
    return DeviceError(f"the cell was placed on GPU {gpu}, but the backend sees no GPU; see `bench doctor`")


_PREPARE: dict[str, Callable[[Cell, int | None], str]] = {
    "tensorflow": _prepare_tensorflow,
    "jax": _prepare_jax,
    "torch": _prepare_torch,
}
