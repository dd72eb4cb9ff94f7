"""The engines by name: our own, those of installed packages, and what is wrong with a name that is none of them.

A package offers an engine by an entry point of the group `benchmark.executors`: a name, and a function that takes
`ExecutorSettings` and gives an `Executor`.
"""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import Any

from benchmark.errors import UserError
from benchmark.matrix.problems import nearest_hint
from benchmark.matrix.reading.plugins import entry_point, entry_points
from benchmark.scheduling.executors.own_engines import ENGINES
from benchmark.scheduling.executors.protocol import Executor, ExecutorSettings

LOCAL = "local"
"""The one that is no engine: the run starts its cells on this computer by itself."""


def executor_names() -> tuple[str, ...]:
    """All names that `--executor` offers, `local` first."""
    own = [name for name, engine in ENGINES.items() if engine.is_offered]
    return (LOCAL, *own, *sorted({point.name for point in entry_points("executors")} - {LOCAL, *ENGINES}))


def split_name(executor: str) -> tuple[str, str]:
    """The name and the argument in `NAME:ARGUMENT`, as `--executor` takes it."""
    name, _, argument = executor.partition(":")
    return name, argument


def require_executor(executor: str) -> str:
    """Lets pass only what can be used here; returns the name alone. Nothing of the engine is imported.

    Raises:
        UserError: It is unknown, its library is not installed, or `local` has an argument.
    """
    name, _ = split_name(executor)
    engine = ENGINES.get(name)
    if name == LOCAL and ":" in executor:
        raise UserError(
            f"--executor {executor}: {LOCAL} takes nothing after a colon; --jobs says how many cells at once"
        )
    if name == LOCAL or (engine is None and entry_point(name, "executors") is not None):
        return name
    if engine is None:
        expected = ", ".join(executor_names())
        hint = nearest_hint(name, executor_names())
        more = f"; {hint}" if hint.startswith("did") else ""
        raise UserError(f"--executor {executor}: expected one of {expected}, got {name!r}{more}")
    for module, title in filter(None, [engine.library]):
        if importlib.util.find_spec(module) is None:
            raise UserError(
                f"--executor {name}: {title} is not installed here; pip install 'benchmark-matrix[{engine.extra}]'"
            )
    return name


def make_executor(name: str, settings: ExecutorSettings) -> Executor:
    """Makes the executor of a name that `require_executor` let pass, in this process.

    Raises:
        UserError: Its argument is wrong, or there is no such cluster; or its package is broken.
    """
    engine = ENGINES.get(name)
    factory: Any
    if engine is not None:
        module, _, attribute = engine.entry.partition(":")
        factory = getattr(import_module(module), attribute)
    else:
        point = entry_point(name, "executors")
        assert point is not None
        try:
            factory = point.load()
        except Exception as error:
            raise UserError(f"--executor {name}: {point.value} cannot be imported: {error}") from error
    made: Executor = factory(settings)
    return made
