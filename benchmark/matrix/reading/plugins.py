"""Plug-ins that a matrix may name: functions in files of `[plugins]`, and entry points of installed packages.

    [plugins]
    models = ["my_models.py"]             # relative to the matrix file

    [model.my_net]
    architecture = "plugin:my_net"        # the function of that name

Nothing is executed here, nor imported: files are hashed and their syntax is looked at, packages are asked for their
metadata. What runs is decided in `trust.py`, and it runs in a worker only.
"""

from __future__ import annotations

import ast
import os
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmark.catalog.facts import PLUGIN
from benchmark.files import sha256_of
from benchmark.matrix.problems import KeyPath, Problems, nearest_hint
from benchmark.matrix.values import as_list

GROUP = "benchmark.models"
"""Entry points of this group are models."""

SIZE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PluginSource:
    """Where the function of a plug-in comes from; see `Architecture` for `code` and `file`."""

    code: str
    file: str | None


@dataclass(frozen=True, slots=True)
class PluginFile:
    """A file of `[plugins]`, read and hashed.

    Attributes:
        written: Its path as the matrix has it.
        file: The same, absolute, without symbolic links.
        names: What it defines, as far as its text tells; None when it cannot be told.
    """

    written: str
    file: Path
    sha256: str
    names: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Plugins:
    """All that can be named as `plugin:NAME`; remarks gather in `notes`."""

    files: tuple[PluginFile, ...] = ()
    notes: list[str] = field(default_factory=list)

    def source_of(self, architecture: str, path: KeyPath, problems: Problems) -> PluginSource | None:
        """The plug-in that an architecture means; None when it is none of them, or after noting a problem."""
        if not architecture.startswith(PLUGIN):
            return None
        name = architecture.removeprefix(PLUGIN)
        having = [file for file in self.files if file.names is not None and name in file.names]
        packaged = None if having else entry_point(name)
        if len(having) > 1:
            problems.add(path, f"one file of [plugins] that defines {name}", [file.written for file in having])
        elif having:
            return PluginSource(having[0].sha256, str(having[0].file))
        elif packaged is not None:
            return PluginSource(package_code(packaged), None)
        elif self.files:
            # perhaps it is there all the same, made while the file runs: the cells that need it will tell
            file = next((file for file in self.files if file.names is None), self.files[0])
            if file.names is not None:
                hint = nearest_hint(name, file.names)
                self.notes.append(f"{file.written} seems to have no function {name}" + (f"; {hint}" if hint else ""))
            return PluginSource(file.sha256, str(file.file))
        else:
            hint = nearest_hint(name, (point.name for point in entry_points())) or "name its file in [plugins] models"
            problems.add(path, "a function of a file of [plugins], or of an installed package", architecture, hint)
        return None


def read_plugins(document: Mapping[str, Any], base: Path, problems: Problems) -> Plugins:
    """The files that `[plugins]` names; mistakes are noted, a file that is not there is a remark.

    Args:
        document: Of the matrix.
        base: Its folder.
        problems: Takes the mistakes.
    """
    table = document.get("plugins", {})
    if not isinstance(table, dict):
        return Plugins()  # `grammar` says what is wrong
    for key in table:
        if key != "models":
            problems.add(("plugins", key), "models", hint=nearest_hint(key, ("models",)))
    notes: list[str] = []
    value = table.get("models", [])
    paths = [
        ("plugins", "models", number) if isinstance(value, list) else ("plugins", "models") for number in range(999)
    ]
    files = [_read(item, base, path, problems, notes) for item, path in zip(as_list(value), paths, strict=False)]
    return Plugins(tuple(file for file in files if file is not None), notes)


def _read(item: Any, base: Path, path: KeyPath, problems: Problems, notes: list[str]) -> PluginFile | None:
    if not isinstance(item, str) or not item or not item.isprintable():
        problems.add(path, "the path of a Python file", item)
        return None
    file = (base / Path(item).expanduser()).resolve()
    try:
        content = read_code(file)
    except FileNotFoundError:
        notes.append(f"plugins.models: there is no file {item}")
        return None
    except (OSError, ValueError) as error:
        problems.add(path, "a Python file that can be read", item, getattr(error, "strerror", None) or str(error))
        return None
    return PluginFile(item, file, sha256_of(content), defined_names(content))


def read_code(file: Path) -> bytes:
    """The content of a plug-in file.

    Raises:
        OSError: It is not there, or cannot be read.
        ValueError: It is not a regular file, or larger than 1 MiB.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        content = opened.read(SIZE_LIMIT_BYTES + 1)
    if len(content) > SIZE_LIMIT_BYTES:
        raise ValueError("it is larger than 1 MiB")
    return content


def defined_names(content: bytes) -> frozenset[str] | None:
    """Names that a Python text binds at its top level; None when it does not parse or imports `*`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
        names = frozenset(_bound(tree.body))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return None if "*" in names else names


def _bound(body: Sequence[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            parts = [node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])]
            handlers = [handler.body for handler in getattr(node, "handlers", [])]
            for part in (*parts, *handlers):
                yield from _bound(part)


def entry_points() -> Sequence[metadata.EntryPoint]:
    """Models that installed packages offer."""
    return tuple(metadata.entry_points(group=GROUP))


def entry_point(name: str) -> metadata.EntryPoint | None:
    """The installed model of this name."""
    return next((point for point in entry_points() if point.name == name), None)


def package_code(point: metadata.EntryPoint) -> str:
    """Name, version and target of an entry point, with the digest of its module where the package's folder tells it.

    The package is not imported. Packages that are installed as links to a source folder are known by their version
    alone.
    """
    package = point.dist
    if package is None:
        return f"{point.value}"
    code = f"{package.name} {package.version} {point.value}"
    stem = point.module.replace(".", "/")
    for place in (f"{stem}.py", f"{stem}/__init__.py"):
        try:
            content = Path(str(package.locate_file(place))).read_bytes()
        except OSError:
            continue
        return f"{code} {sha256_of(content)}"
    return code
