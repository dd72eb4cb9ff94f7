"""The backends that cells can be computed with, as data: ask what a backend can, never for its name."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Backend:
    """What a backend is and can.

    Attributes:
        name: As matrices write it.
        title: As people write it.
        modules: What its workers need and what is slow to import, the library itself first; their distributions have
            the same names, and their versions are part of what is measured.
        install: What to give `pip install`.
        entry: The module whose `main(job, emit)` a worker of this backend runs.
        trains: Whether it trains a network: only then are data, weights and plug-ins made ready for its cells.
        forks_with_gpu: Whether a process that has imported it may be forked before it uses a GPU.
        start_seconds: What importing it takes, about.
        environment: Variables that its workers are given.
    """

    name: str
    title: str
    modules: tuple[str, ...]
    install: str
    entry: str = "benchmark.training.worker"
    trains: bool = True
    forks_with_gpu: bool = True
    start_seconds: float = 4.0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """Whether its modules are there, as far as can be told without importing them."""
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
            # it would take three quarters of a GPU's memory at once, which others may share
            environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        ),
        Backend(
            "torch",
            "PyTorch",
            ("torch", "keras"),
            "'benchmark-matrix[torch]'",
            # Keras chooses PyTorch's device when it is imported, and asking for a GPU starts CUDA
            forks_with_gpu=False,
            start_seconds=6.0,
        ),
    )
}
BACKENDS: Mapping[str, Backend] = MappingProxyType(_BACKENDS)
"""All backends that are known here, by name."""


def register(backend: Backend) -> None:
    """Makes a backend known to this process."""
    _BACKENDS[backend.name] = backend


def trains(name: str) -> bool:
    """Whether a backend trains networks; one that is not known here, of a database of other versions, counts as one."""
    return name not in BACKENDS or BACKENDS[name].trains


def training_backends() -> tuple[str, ...]:
    """Names of the backends that train networks, which is what matrices are offered."""
    return tuple(backend.name for backend in BACKENDS.values() if backend.trains)


def installed_backends() -> tuple[str, ...]:
    """Names of the backends that can be used here."""
    return tuple(backend.name for backend in BACKENDS.values() if backend.is_installed)


def missing_backend(name: str) -> str:
    """That a backend is not known or not installed here, and the cure."""
    if name not in BACKENDS:
        return f'backend = "{name}" is unknown here: expected one of {", ".join(training_backends())}'
    backend = BACKENDS[name]
    return f'backend = "{name}", but {backend.title} is not installed here; pip install {backend.install}'
