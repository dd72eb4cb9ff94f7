"""Reads `weights` of a strategy, the origin of its weights: `none`, `imagenet`, a file, or a parent cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmark.matrix.problems import KeyPath, Problems, close_hint, nearest_hint
from benchmark.matrix.settings import SETTINGS
from benchmark.matrix.values import Kind, Name

FILE = "file:"
PARENT_NAMES = ("dataset", "model", "strategy")
_NAME: Kind = Name("a name")


@dataclass(frozen=True)
class Origin:
    """The origin of weights, before it is known which cell a parent is.

    Attributes:
        origin: `none`, `imagenet`, `file` or `parent`.
        path: Path of the weights file.
        names: `dataset`, `model`, `strategy` of the parent, as far as they differ from the child's.
        settings: Settings of the parent that differ from the child's.
    """

    origin: str
    path: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


NO_WEIGHTS = Origin("none")


@dataclass(frozen=True)
class WeightsKind:
    """Reads `weights` of a strategy."""

    expected: str = '"none", "imagenet", "file:PATH", or a parent cell such as { dataset = "NAME", strategy = "NAME" }'

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if value in ("none", "imagenet"):
            return Origin(value)
        if isinstance(value, str) and value.startswith(FILE):
            return self._file(value, path, problems)
        if isinstance(value, dict):
            return self._parent(value, path, problems)
        return problems.add(path, self.expected, value, close_hint(value, ("none", "imagenet")))

    def _file(self, value: str, path: KeyPath, problems: Problems) -> Any:
        file = value.removeprefix(FILE)
        if not file or any(not character.isprintable() for character in file) or len(file) > 4096:
            return problems.add(path, "file: and the path of a weights file", value)
        return Origin("file", path=file)

    def _parent(self, table: Mapping[str, Any], path: KeyPath, problems: Problems) -> Any:
        names, settings = {}, {}
        for key, value in table.items():
            where = (*path, key)
            if key in PARENT_NAMES:
                names[key] = _NAME.read(value, where, problems)
            elif key in SETTINGS:
                settings[key] = SETTINGS[key].kind.read(value, where, problems)
            else:
                hint = nearest_hint(key, [*PARENT_NAMES, *SETTINGS])
                problems.add(where, "dataset, model, strategy, seed or another setting of the parent", value, hint)
        if "strategy" not in table:
            problems.add(path, "a parent cell with a `strategy`", table)
        # also when some of it is invalid: the valid names can still be checked
        return Origin("parent", names=names, settings=settings)


WEIGHTS: Kind = WeightsKind()
