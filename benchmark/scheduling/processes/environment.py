"""Builds the environment and the command line of every process of a run from what its cell needs: nothing leaks in by chance.

Shells, engines and configuration files set threads, devices, kernels and types of their own (Ray: `OMP_NUM_THREADS=1`;
TensorFlow's `TF_ENABLE_ONEDNN_OPTS`, Keras's `keras.json`). So a variable passes only when it is in a list here. What
changes numbers comes from the plan or stays at the library's default; the few variables that must pass although they
choose libraries are recorded with the attempt (`machine.library_variables`). Secrets stay with the scheduler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmark import machine
from benchmark.catalog import backends, keras_applications
from benchmark.errors import UserError
from benchmark.matrix.cell import Cell
from benchmark.matrix.script_command import programs_missing
from benchmark.scheduling.processes import module_runner

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip

_INHERITED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "NO_COLOR"),
        *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", *machine.LIBRARY_VARIABLES),
        # where programs that are started as cells, and their libraries, lie
        *(
            "CONDA_PREFIX",
            "R_HOME",
            "R_LIBS",
            "R_LIBS_USER",
            "R_LIBS_SITE",
            "JAVA_HOME",
            "JULIA_DEPOT_PATH",
            "JULIA_PROJECT",
        ),
        *("HF_HOME", "TORCH_HOME"),
        *("TFDS_DATA_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
        # where CUDA lies and keeps what it has compiled, and how much is logged
        *("CUDA_HOME", "CUDA_PATH", "CUDA_CACHE_PATH", "CUDA_CACHE_MAXSIZE", "CUDA_MPS_PIPE_DIRECTORY"),
        "TF_CPP_MIN_LOG_LEVEL",
    }
)
_INHERITED_PREFIXES = ("LC_", "XDG_", "BENCH_", "COVERAGE_")
_KEPT_BACK = frozenset({"BENCH_DB"})
"""The database's address may hold a password, and no worker needs it."""

_SEARCH_PATHS = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Lists of folders; an empty or relative entry means the working folder, whose files are none of ours."""

_PLACE_OF_CUDA = "--xla_gpu_cuda_data_dir="
"""The one flag in `XLA_FLAGS` that says where a library lies and not what is computed."""

_NUMERICAL = (
    *("TF_", "XLA_", "JAX_", "KERAS_", "TORCH", "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "ROCM_"),
    *("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "ONEDNN_", "DNNL_", "NPY_"),
    *("NUMEXPR_", "PYTHON", "MALLOC_", "GLIBC_"),
)
"""Beginnings of the names of variables by which libraries are configured."""

_KERAS_TORCH_DEVICE = "KERAS_TORCH_DEVICE"
"""Where Keras puts tensors of PyTorch: read once, when it is imported."""


def require_backends(cells: Iterable[Cell]) -> None:
    """Lets pass only what can be computed here: cells of a database may come from a machine with other libraries.

    Raises:
        UserError: The backend of a cell is not installed, or the program of a command cannot be started.
    """
    cells, there = list(cells), backends.installed_backends()
    for backend in dict.fromkeys(cell.backend for cell in cells):
        if backend not in there:
            raise UserError(backends.missing_backend(backend))
    if problems := programs_missing(cells):
        raise UserError("\n  ".join(problems))


def base_environment(inherited: Mapping[str, str], backend: str) -> dict[str, str]:
    """What every process of a run is given, whatever its cell: the template, preparations, workers."""
    environment = {
        name: value
        for name, value in inherited.items()
        if name not in _KEPT_BACK and (name in _INHERITED or name.startswith(_INHERITED_PREFIXES))
    }
    for name in set(_SEARCH_PATHS) & environment.keys():
        entries = environment.pop(name).split(os.pathsep)
        if absolute := [entry for entry in entries if Path(entry).is_absolute()]:
            environment[name] = os.pathsep.join(absolute)
    if cuda := [flag for flag in inherited.get("XLA_FLAGS", "").split() if flag.startswith(_PLACE_OF_CUDA)]:
        environment["XLA_FLAGS"] = " ".join(cuda)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    environment["PYTHONHASHSEED"] = "0"
    environment["PYTHONUTF8"] = str(int(sys.flags.utf8_mode))
    environment[module_runner.IMPORT_PATH] = os.pathsep.join(_import_path())
    # Keras reads `keras.json` in its home while it is imported; where no file can be it has its own defaults
    environment["KERAS_HOME"] = os.devnull
    environment[keras_applications.HOME] = inherited.get("KERAS_HOME") or "~/.keras"
    if backends.trains_networks(backend):
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


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line of a new interpreter that runs a module of this package (see `module_runner`).

    It looks for modules neither in the working folder nor in that of a script, and runs no `usercustomize`.
    """
    return [sys.executable, "-P", "-s", module_runner.__file__, module, *arguments]


def ignored_variables(inherited: Mapping[str, str]) -> list[str]:
    """Names of variables that configure libraries and are kept from workers or set anew for them."""
    passed = base_environment(inherited, "tensorflow")
    return sorted(
        name for name, value in inherited.items() if name.startswith(_NUMERICAL) and passed.get(name) != value
    )


def _import_path() -> list[str]:
    """Where modules are looked for: as here, but the standard library first, whatever lies in site-packages."""
    library = Path(os.__file__).parent
    zipped = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    entries = [entry for entry in sys.path if Path(entry).is_absolute()]
    return sorted(
        entries, key=lambda entry: Path(entry) not in {library, library / "lib-dynload"} and Path(entry).name != zipped
    )
