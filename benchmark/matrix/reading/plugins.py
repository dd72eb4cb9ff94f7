"""Finds the plug-ins that a matrix may name: functions in files of `[plugins]`, and entry points of installed packages.

    [plugins]
    models   = ["my_models.py"]           # relative to the matrix file
    datasets = ["my_data.py"]
    metrics  = ["my_metrics.py"]          # `my_score` is the column `test_my_score`, and monitor = "val_my_score"
    losses   = ["my_losses.py"]           # loss = "plugin:my_loss"
    callbacks = ["my_callbacks.py"]       # callbacks = ["my_callback"]

    [model.my_net]
    architecture = "plugin:my_net"        # the function of that name
    [dataset.mine]
    source = "plugin:my_data"

Nothing is executed or imported here: files are hashed and parsed, and of packages the metadata is read. `trust.py`
decides what may run, and it runs in a worker only.
"""

from __future__ import annotations

import ast
import contextlib
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
from benchmark.matrix.reading.plugin_frameworks import framework_of
from benchmark.matrix.values import Choice, items_of
from benchmark.prediction_metrics import METRICS

KINDS = {
    "models": "a function that returns a model",
    "datasets": "a function that returns images and labels",
    "metrics": "a function that returns a number",
    "losses": "a function that returns losses",
    "callbacks": "a callback: a class, a function or an object",
}
"""The keys of `[plugins]`, and what their files define; entry points of the group `benchmark.KEY` offer the same."""

_SINGULAR = {"losses": "loss"}
SIZE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PluginSource:
    """The origin of a plug-in's function; see `Architecture` for what is known of it."""

    code: str
    file: str | None
    framework: str


@dataclass(frozen=True, slots=True)
class PluginFile:
    """A file of `[plugins]`, read and hashed.

    Attributes:
        kind: The key of `[plugins]` that names it.
        written: Its path as written in the matrix.
        file: The absolute path, without symbolic links.
        names: The names that it defines, as far as its syntax shows; None when that is unknown.
    """

    kind: str
    written: str
    file: Path
    sha256: str
    names: frozenset[str] | None
    content: bytes = field(repr=False, default=b"")

    def source_of(self, name: str) -> PluginSource:
        """The function `name` of this file."""
        return PluginSource(self.sha256, str(self.file), framework_of(self.content, name))


@dataclass(frozen=True, slots=True)
class Plugins:
    """The plug-ins that can be named as `plugin:NAME`; `source_of` adds remarks to `notes`."""

    files: tuple[PluginFile, ...] = ()
    notes: list[str] = field(default_factory=list)

    def source_of(self, named: str, kind: str, path: KeyPath, problems: Problems) -> PluginSource | None:
        """Finds the plug-in of a kind that `named` names; None when it names none, or after adding a problem."""
        if not named.startswith(PLUGIN):
            return None
        name = named.removeprefix(PLUGIN)
        files = [file for file in self.files if file.kind == kind]
        defining = [file for file in files if file.names is not None and name in file.names]
        packaged = None if defining else entry_point(name, kind)
        if len(defining) > 1:
            problems.add(path, f"one file of [plugins] that defines {name}", [file.written for file in defining])
        elif defining:
            return defining[0].source_of(name)
        elif packaged is not None:
            framework = framework_of(_module_content(packaged), packaged.attr.partition(".")[0])
            return PluginSource(package_code(packaged), None, framework)
        elif files:
            # the file may define it all the same, when it runs; otherwise the cells that need it fail
            file = next((file for file in files if file.names is None), files[0])
            if file.names is not None:
                hint = nearest_hint(name, file.names)
                self.notes.append(f"{file.written} seems to have no function {name}" + (f"; {hint}" if hint else ""))
            return file.source_of(name)
        else:
            known = (point.name for point in entry_points(kind))
            hint = nearest_hint(name, known) or f"name its file in [plugins] {kind}"
            problems.add(path, "a function of a file of [plugins], or of an installed package", named, hint)
        return None


def own_metrics(plugins: Plugins) -> frozenset[str] | None:
    """The names of all metrics that plug-ins define; None where the syntax of a file does not show them."""
    names = [file.names for file in plugins.files if file.kind == "metrics"]
    packaged = frozenset(point.name for point in entry_points("metrics"))
    return None if None in names else packaged.union(*(each for each in names if each))


def one_of(kind: str) -> str:
    """What a plug-in of a kind is, in a word."""
    return _SINGULAR.get(kind, kind.removesuffix("s"))


def read_plugins(document: Mapping[str, Any], base: Path, problems: Problems) -> Plugins:
    """Reads the files that `[plugins]` names; a missing file is a remark, not a mistake.

    Files are looked for from `base`, the folder of the matrix; mistakes are added to `problems`.
    """
    table = document.get("plugins", {})
    if not isinstance(table, dict):
        return Plugins()  # `specification.py` reports it
    for key in table:
        if key not in KINDS:
            problems.add(("plugins", key), Choice(tuple(KINDS)).expected, hint=nearest_hint(key, KINDS))
    notes: list[str] = []
    files = [
        _read(kind, item, base, path, problems, notes)
        for kind in KINDS
        for item, path in items_of(table.get(kind, []), ("plugins", kind))
    ]
    return Plugins(tuple(file for file in files if file is not None), notes)


def _read(kind: str, item: Any, base: Path, path: KeyPath, problems: Problems, notes: list[str]) -> PluginFile | None:
    if not isinstance(item, str) or not item or not item.isprintable():
        problems.add(path, "the path of a Python file", item)
        return None
    file = (base / Path(item).expanduser()).resolve()
    try:
        content = read_code(file)
    except FileNotFoundError:
        notes.append(f"plugins.{kind}: there is no file {item}")
        return None
    except (OSError, ValueError) as error:
        problems.add(path, "a Python file that can be read", item, getattr(error, "strerror", None) or str(error))
        return None
    if (mistake := _syntax_mistake(content)) is not None:
        notes.append(f"{item}:{mistake.lineno}: {mistake.msg}; the cells that need it would fail")
    names = defined_names(content)
    if kind == "metrics" and (taken := sorted((defined_names(content, imported=False) or frozenset()) & {*METRICS})):
        problems.add(path, "metrics with names of their own", taken[0], "bench has a metric of that name: rename yours")
        return None
    return PluginFile(kind, item, file, sha256_of(content), names, content)


def read_code(file: Path) -> bytes:
    """Reads a plug-in file.

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


def _syntax_mistake(content: bytes) -> SyntaxError | None:
    try:
        _parsed(content)
    except SyntaxError as error:
        return error if error.lineno else None
    except (ValueError, MemoryError, RecursionError):
        return None
    return None


def _parsed(content: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(content)


def defined_names(content: bytes, *, imported: bool = True) -> frozenset[str] | None:
    """Finds the names that Python source binds at its top level; None when it does not parse or imports `*`.

    What it imports alone is left out where `imported` is false.
    """
    try:
        body = _parsed(content).body
        names = frozenset(_bound(body))
        if not imported:
            names = frozenset(_bound([node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]))
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


def entry_points(kind: str = "models") -> Sequence[metadata.EntryPoint]:
    """Lists what installed packages offer of a kind."""
    return tuple(metadata.entry_points(group=f"benchmark.{kind}"))


def entry_point(name: str, kind: str) -> metadata.EntryPoint | None:
    """Returns what an installed package offers of a kind under this name, if there is any."""
    return next((point for point in entry_points(kind) if point.name == name), None)


def package_code(point: metadata.EntryPoint) -> str:
    """Identifies an entry point: name and version of its package, its target, and the digest of its module's file.

    The package is not imported. Of an editable installation the module's file is unknown, and its digest left out.
    """
    package = point.dist
    if package is None:
        return f"{point.value}"
    code = f"{package.name} {package.version} {point.value}"
    content = _module_content(point)
    return f"{code} {sha256_of(content)}" if content else code


def _module_content(point: metadata.EntryPoint) -> bytes:
    """The text of an entry point's module; empty where its file is unknown."""
    package, stem = point.dist, point.module.replace(".", "/")
    for place in (f"{stem}.py", f"{stem}/__init__.py"):
        with contextlib.suppress(OSError):
            return Path(str(package.locate_file(place))).read_bytes() if package is not None else b""
    return b""
