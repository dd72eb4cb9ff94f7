"""The engines of this package by name; light, and nothing of them is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine of this package.

    Attributes:
        entry: `MODULE:FUNCTION` that makes its executor.
        library: The library that it needs, a module and as messages call it; empty for none.
        extra: The extra that installs the library.
        is_offered: Whether messages offer it.
    """

    entry: str
    library: tuple[str, str] | tuple[()] = ()
    extra: str = ""
    is_offered: bool = True


_ENGINES = {
    "ray": Engine("benchmark.scheduling.executors.ray:RayExecutor", ("ray", "Ray"), "ray"),
    "slurm": Engine("benchmark.scheduling.executors.slurm:SlurmExecutor", ("submitit", "submitit"), "slurm"),
}
ENGINES: Mapping[str, Engine] = MappingProxyType(_ENGINES)
"""All of them, by name."""


def register(name: str, engine: Engine) -> None:
    """Add an engine to `ENGINES`, in this process."""
    _ENGINES[name] = engine
