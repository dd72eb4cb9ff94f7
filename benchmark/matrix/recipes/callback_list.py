"""How a matrix names callbacks, users' own code that is called while a stage is trained; `training/own_callbacks.py` calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.catalog.facts import PLUGIN
from benchmark.matrix.cell import Parameters
from benchmark.matrix.problems import INVALID, KeyPath, Problems, name_problem
from benchmark.matrix.recipes.own_arguments import Parameter
from benchmark.matrix.values import items_of


@dataclass(frozen=True)
class Callbacks:
    """false, or the names of callbacks, with or without `plugin:`; a table of `kind` gives keyword arguments as well."""

    expected: str = "false, or a list of callbacks of [plugins]: names, or tables of kind and keyword arguments"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if value is False:
            return ()
        read = [self._one(item, place, problems) for item, place in items_of(value, path)]
        if INVALID in read:
            return INVALID
        names = [callback_arguments(item)[0] for item in read]
        if twice := [name for name in names if names.count(name) > 1]:
            return problems.add(path, "each callback once", twice[0])
        return tuple(read)

    def _one(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        table = value if isinstance(value, dict) else {"kind": value}
        kind = table.get("kind")
        if not isinstance(kind, str):
            return problems.add(path, self.expected, value)
        name = kind.removeprefix(PLUGIN)
        if problem := name_problem(name):
            return problems.add(path, problem, kind)
        arguments = {
            key: Parameter(key).read(argument, (*path, key), problems)
            for key, argument in table.items()
            if key != "kind"
        }
        if INVALID in arguments.values():
            return INVALID
        return tuple(sorted({"kind": name, **arguments}.items())) if arguments else name


CALLBACKS = Callbacks()


def callback_arguments(callback: str | Parameters) -> tuple[str, dict[str, Any]]:
    """The name of a callback in normal form, and its keyword arguments."""
    written = {"kind": callback} if isinstance(callback, str) else dict(callback)
    return str(written.pop("kind")), written
