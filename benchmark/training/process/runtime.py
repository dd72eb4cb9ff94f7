"""Sets up a process for a backend before its first operation: threads, device, determinism, seeds.

Besides the training steps and `augmentation.reseed` the only code that differs between backends. Importing this module
changes nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from benchmark import layout, machine
from benchmark.catalog.cache import default_cache_root
from benchmark.catalog.facts import package_of
from benchmark.catalog.keras_applications import keras_home
from benchmark.files import make_own_folder
from benchmark.matrix.cell import Cell
from benchmark.training.process.failures import DeviceError

_COMPILED_BYTES = 1 << 30
"""Size limit of JAX's cache of compiled programs for one kind of processor; those not used for longest go first."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a process computes with.

    Attributes:
        threads: Of each operation.
        backend_version: Of the backend, and of the library of its network where that is another.
        device_name: The device, and the variables that chose libraries for it (`machine.device_with_libraries`).
    """

    backend_version: str
    keras_version: str
    threads: int
    device_name: str


def prepare_process(cell: Cell, gpu: int | None) -> Runtime:
    """Sets up threads, device and determinism of this process for one cell, for good; its cores are set already.

    Raises:
        DeviceError: The GPU is not there; a cell never falls back to the CPU silently.
        RuntimeError: Keras was imported with another backend.
    """
    if gpu is None:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU cell is started with its own value
    _restore_keras_home()
    backend = keras.backend.backend()
    if backend != cell.backend:
        raise RuntimeError(f"the cell needs the backend {cell.backend}, but Keras was imported with {backend}")
    device_name = machine.device_with_libraries(_PREPARE[backend](cell, gpu))
    version = importlib.metadata.version(backend)
    if package := package_of(cell.architecture.name, cell.architecture.framework):
        version = f"{version}, {package} {importlib.metadata.version(package)}"
    return Runtime(version, keras.__version__, cell.threads, device_name)


def _restore_keras_home() -> None:
    """Names the user's home of Keras again, for plug-ins: while Keras was imported none was named, so that it read no `keras.json`.

    Keras keeps what it has read in a variable of its own, for which it has no setter.
    """
    home = str(keras_home())
    os.environ["KERAS_HOME"] = home
    vars(importlib.import_module("keras.src.backend.config"))["_KERAS_DIR"] = home


def seed_process(seed: int) -> None:
    """Seeds all random generators that initial weights are drawn from.

    `keras.utils.set_random_seed` does the same, but imports TensorFlow whatever the backend: 2 s and 300 MiB.

    Args:
        seed: Not negative. NumPy's global generator takes 32 bits; a larger one is hashed to as many.
    """
    if seed >= 1 << 32:
        seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    if keras.backend.backend() == "tensorflow":
        keras.utils.set_random_seed(seed)
        return
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  layers of a plug-in may draw from it
    if keras.backend.backend() == "torch":
        import torch

        torch.manual_seed(seed)


def peak_device_bytes(cell: Cell) -> int | None:
    """Peak memory that the backend has allocated on the GPU; None on the CPU or where the backend does not report it."""
    if cell.device_kind != "gpu":
        return None
    if cell.backend == "tensorflow":
        import tensorflow as tf

        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    if cell.backend == "torch":
        import torch

        return int(torch.cuda.max_memory_allocated())
    import jax

    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


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
    # read when the first operation starts XLA's client; NPROC is the size of its thread pool, for which JAX has no
    # setting (https://github.com/jax-ml/jax/issues/1539)
    os.environ["NPROC"] = str(cell.threads)
    os.environ["XLA_FLAGS"] = " ".join(
        [
            os.environ.get("XLA_FLAGS", ""),
            f"--xla_cpu_multi_thread_eigen={'true' if cell.threads > 1 else 'false'}",
            *(["--xla_gpu_deterministic_ops=true"] if cell.deterministic and cell.device_kind == "gpu" else []),
        ]
    ).strip()
    import jax

    _cache_compiled_programs(cell.threads)
    if cell.device_kind != "gpu":
        jax.config.update("jax_platforms", "cpu")
        return "cpu"
    try:
        return str(jax.devices("gpu")[0].device_kind)
    except RuntimeError as error:
        raise _missing_gpu(gpu) from error


def _cache_compiled_programs(threads: int) -> None:
    """Turns on JAX's persistent cache of compiled programs: the same code, so the same bits.

    https://docs.jax.dev/en/latest/persistent_compilation_cache.html
    """
    import jax

    root = default_cache_root()
    kept = layout.compiled_folder(root)
    folder = kept / f"{machine.processor_digest()}-{threads}"
    try:
        make_own_folder(root)
        for directory in (kept, folder):
            directory.mkdir(mode=0o700, exist_ok=True)
        make_own_folder(kept, adopt=True)
        unsafe = [directory for directory in (root, kept, folder) if not _is_ours_alone(directory)]
    except OSError as error:
        log.warning("%s cannot be made, so everything is compiled again: %s", folder, error)
        return
    if unsafe:
        log.warning("others may write into %s, so nothing that was compiled is taken from there", unsafe[0])
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _COMPILED_BYTES)
    # initial weights are drawn by many small programs, each worth keeping
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _is_ours_alone(folder: Path) -> bool:
    """Whether no other user can write files there, which JAX would load as code."""
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _prepare_torch(cell: Cell, gpu: int | None) -> str:
    import torch

    torch.set_num_threads(cell.threads)
    torch.set_num_interop_threads(cell.threads)
    if cell.deterministic:
        # cuBLAS is deterministic only with it: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if cell.device_kind != "gpu":
        return "cpu"
    if not torch.cuda.is_available() or keras.ops.zeros(()).device.type != "cuda":
        raise _missing_gpu(gpu)
    return str(torch.cuda.get_device_name(0))


def _missing_gpu(gpu: int | None) -> DeviceError:
    return DeviceError(f"the cell was placed on GPU {gpu}, but the backend sees no GPU; see `bench doctor`")


_PREPARE: dict[str, Callable[[Cell, int | None], str]] = {
    "tensorflow": _prepare_tensorflow,
    "jax": _prepare_jax,
    "torch": _prepare_torch,
}
