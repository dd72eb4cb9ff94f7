"""Builds the environment of a worker from its cell and from a list of what may be inherited: nothing leaks in by chance.

Engines and shells set thread counts of their own (Ray: `OMP_NUM_THREADS=1`), and a process that sees a GPU takes it.
So every variable that decides about threads or devices comes from the plan, and secrets stay with the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import benchmark
from benchmark.catalog import backends
from benchmark.errors import UserError
from benchmark.matrix.cell import Cell

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)

_INHERITED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "NO_COLOR"),
        *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
        *("TFDS_DATA_DIR", "KERAS_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    }
)
_INHERITED_PREFIXES = ("LC_", "XDG_", "BENCH_", "TF_", "XLA_", "CUDA_", "NVIDIA_", "MALLOC_", "COVERAGE_")
_KEPT_BACK = frozenset({"BENCH_DB", *THREAD_VARIABLES})
"""The database's address may hold a password, and no worker needs it."""

_KERAS_TORCH_DEVICE = "KERAS_TORCH_DEVICE"
"""Where Keras puts tensors of PyTorch: read once, when it is imported."""


def require_backends(cells: Iterable[Cell]) -> None:
    """Lets pass only what can be computed here: cells of a database may come from a machine with other libraries.

    Raises:
        UserError: The backend of a cell is not installed.
    """
    there = backends.installed_backends()
    for backend in dict.fromkeys(cell.backend for cell in cells):
        if backend not in there:
            raise UserError(backends.missing_backend(backend))


def base_environment(inherited: Mapping[str, str], backend: str) -> dict[str, str]:
    """What every process of a run is given, whatever its cell: the template, preparations, workers."""
    environment = {name: value for name, value in inherited.items() if _may_pass(name)}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    environment["PYTHONHASHSEED"] = "0"
    environment["PYTHONPATH"] = _import_path(environment.get("PYTHONPATH"))
    if backends.trains(backend):
        environment["KERAS_BACKEND"] = backend
    return environment


def template_environment(inherited: Mapping[str, str], backend: str) -> dict[str, str]:
    """For a template: OpenBLAS would start its threads at import, and a process with threads is not safe to fork."""
    # Keras asks PyTorch for GPUs when it is imported, which starts CUDA: a process that has done so is not safe to fork
    own = {"OPENBLAS_NUM_THREADS": "1", _KERAS_TORCH_DEVICE: "cpu"}
    return {**base_environment(inherited, backend), **own}


def forks_safely(backend: str, device_kind: str) -> bool:
    """Whether a worker for such a cell may be forked from the template of its backend (see `template_environment`)."""
    return device_kind != "gpu" or backends.BACKENDS[backend].forks_with_gpu


def worker_environment(inherited: Mapping[str, str], backend: str, threads: int, gpu: str | None) -> dict[str, str]:
    """For one worker: `threads` in every dialect, and at most one visible GPU.

    Args:
        inherited: Variables of this process.
        backend: Of the cell.
        threads: Of the cell.
        gpu: What CUDA calls the GPU (see `machine.cuda_name`); None hides all of them.
    """
    environment = base_environment(inherited, backend)
    environment.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    environment["CUDA_VISIBLE_DEVICES"] = "-1" if gpu is None else gpu
    environment[_KERAS_TORCH_DEVICE] = "cpu" if gpu is None else "cuda"
    return {**environment, **backends.BACKENDS[backend].environment}


def _may_pass(name: str) -> bool:
    return name not in _KEPT_BACK and (name in _INHERITED or name.startswith(_INHERITED_PREFIXES))


def _import_path(inherited: str | None) -> str:
    # A checkout that is not installed works from any folder, and all processes run the same code.
    root = str(Path(benchmark.__file__).resolve().parent.parent)
    others = [part for part in (inherited or "").split(":") if part and part != root]
    return ":".join([root, *others])
