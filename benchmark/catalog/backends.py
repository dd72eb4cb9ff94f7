"""The register of backends. Code asks what a backend can (`trains`, …), never for its name."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from benchmark.catalog.facts import KERAS, LIGHTNING, TORCH


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend: its names, modules and abilities.

    Attributes:
        name: Its name in matrices.
        title: Its usual spelling.
        modules: What its workers import and is slow to import, the library itself first; the distributions have the
            same names, and results record their versions.
        install: The argument for `pip install`.
        entry: The module whose `main(job, emit)` a worker of this backend runs.
        trains: Whether it trains; only then are data, weights and plug-ins prepared for its cells.
        runs_commands: Whether its cells are programs of the user's, and no networks that bench builds. Such a backend is
            never chosen by name: it is that of every model with a command.
        frameworks: What the networks that it trains may be written in.
        forks_with_gpu: Whether a process that has imported it may be forked before it uses a GPU.
        start_seconds: About how long importing it takes.
        environment: Environment variables of its workers.
    """

    name: str
    title: str
    modules: tuple[str, ...]
    install: str
    entry: str = "benchmark.training.worker"
    trains: bool = True
    runs_commands: bool = False
    frameworks: tuple[str, ...] = (KERAS,)
    forks_with_gpu: bool = True
    start_seconds: float = 4.0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """Whether its modules can be found; they are not imported."""
        return all(importlib.util.find_spec(name) is not None for name in self.modules)


_BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("tensorflow", "TensorFlow", ("tensorflow", "keras"), "tensorflow"),
        Backend(
            "jax",
            "JAX",
            ("jax", "keras"),
            "'benchmark-matrix[jax]'",
            # JAX would reserve three quarters of a GPU's memory at once, which other processes may share
            environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        ),
        Backend(
            "torch",
            "PyTorch",
            ("torch", "keras"),
            "'benchmark-matrix[torch]'",
            frameworks=(KERAS, TORCH, LIGHTNING),
            # importing Keras asks PyTorch for a GPU, which starts CUDA, and CUDA does not survive a fork
            forks_with_gpu=False,
            start_seconds=6.0,
        ),
        Backend(
            "script",
            "a command",
            (),
            "",
            entry="benchmark.training.scripts.script_worker",
            runs_commands=True,
            frameworks=(),
            start_seconds=0.4,
            # as for JAX: a script may use it
            environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        ),
    )
}
BACKENDS: Mapping[str, Backend] = MappingProxyType(_BACKENDS)
"""All known backends, by name."""


def register(backend: Backend) -> None:
    """Add a backend to `BACKENDS`, in this process."""
    _BACKENDS[backend.name] = backend


def trains(name: str) -> bool:
    """Whether a backend trains; an unknown one, from a database of another version, is assumed to."""
    return name not in BACKENDS or BACKENDS[name].trains


def runs_commands(name: str) -> bool:
    """Whether cells of a backend are programs of the user's; those of an unknown one are assumed to be networks."""
    return name in BACKENDS and BACKENDS[name].runs_commands


def trains_networks(name: str) -> bool:
    """Whether a backend trains networks that bench builds; an unknown one is assumed to."""
    return trains(name) and not runs_commands(name)


def backend_for(framework: str) -> str:
    """The backend of a network written in this framework where none is named."""
    return next(backend.name for backend in BACKENDS.values() if framework in backend.frameworks)


def training_backends() -> tuple[str, ...]:
    """Names of the backends that train networks, those that messages offer to users."""
    return tuple(filter(trains_networks, BACKENDS))


def command_backend() -> str:
    """The backend of every model with a command."""
    return next(filter(runs_commands, BACKENDS))


def installed_backends() -> tuple[str, ...]:
    """Names of the installed backends."""
    return tuple(backend.name for backend in BACKENDS.values() if backend.is_installed)


def missing_backend(name: str) -> str:
    """The message for a backend that is unknown or not installed, with the cure."""
    if name not in BACKENDS:
        return f'backend = "{name}" is unknown here: expected one of {", ".join(training_backends())}'
    backend = BACKENDS[name]
    return f'backend = "{name}", but {backend.title} is not installed here; pip install {backend.install}'
