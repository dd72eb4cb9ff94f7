"""Loads the functions of plug-ins, users' own files and packages, in the process that needs them and in no other.

A file runs only with consent, and only while it has the content that the matrix was planned with. Any error in it becomes one
message that names the file and the line.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from benchmark.errors import BenchError
from benchmark.files import sha256_of
from benchmark.matrix.reading.plugins import KINDS, entry_point, one_of, package_code, read_code
from benchmark.matrix.trust import refusal
from benchmark.status import Cause
from benchmark.text import uncolored
from benchmark.training.process.failures import cause_of

PluginFunction: TypeAlias = Callable[..., Any]


class PluginError(BenchError):
    """A plug-in cannot be loaded, or does not return what it should. The message begins with file and line."""


def plugin_function(name: str, kind: str, code: str, file: str | None, *, allowed: bool) -> tuple[PluginFunction, str]:
    """The function of a plug-in, and the file and line of its definition as far as they are known.

    Args:
        name: Of the function, without `plugin:`.
        kind: A key of `[plugins]`.
        code: The sha256 of the file, or name and version of the package.
        file: Its absolute path; None where an installed package offers it.
        allowed: Whether the user has allowed plug-ins to run; else the digest must stand in the trust file.

    Raises:
        PluginError: It may not run, or cannot be loaded.

    Side effects:
        Runs the file, in this process.
    """
    if file is None:
        function: Any = _from_package(name, kind, code)
        where = plugin_location(name, kind, code, file)
    else:
        module = _module(Path(file), code, allowed=allowed)
        function, where = getattr(module, name, None), file
        if function is None:
            own = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
            raise PluginError(f"{where}: expected a function {name}, found {', '.join(own)[:300] or 'no function'}")
    if not callable(function) and kind != "callbacks":
        raise PluginError(f"{where}: expected {name} to be {KINDS[kind]}, found {function!r:.80}")
    source = getattr(function, "__code__", None)
    return function, f"{where}:{source.co_firstlineno}" if source and source.co_filename == where else where


def plugin_location(name: str, kind: str, code: str, file: str | None) -> str:
    """Where a plug-in comes from, for messages that know no line of it."""
    return file or f"the {one_of(kind)} {name} of {code}"


def _from_package(name: str, kind: str, code: str) -> PluginFunction:
    point = entry_point(name, kind)
    if point is None:
        raise PluginError(
            f"{code}: expected an installed package with the {one_of(kind)} {name}, found none; install it"
        )
    if package_code(point) != code:
        raise PluginError(
            f"{name}: expected {code}, found {package_code(point)}, which is other code; run again, with it"
        )
    with naming_plugin_line(None, plugin_location(name, kind, code, None)):
        loaded: PluginFunction = point.load()
    return loaded


def _module(file: Path, digest: str, *, allowed: bool) -> ModuleType:
    """Loads the module of a plug-in file, executing the same bytes whose digest was verified."""
    try:
        content = read_code(file)
    except (OSError, ValueError) as error:
        raise PluginError(
            f"{file}: expected the plug-in of this cell, got: {getattr(error, 'strerror', None) or error}"
        ) from error
    actual = sha256_of(content)
    if actual != digest:
        raise PluginError(
            f"{file}: expected the content with sha256 {digest}, found {actual}; it has changed: run again"
        )
    if reason := refusal(str(file), [file], digest, allowed=allowed):
        raise PluginError(reason)
    name = f"bench_plugin_{digest[:12]}"
    if (known := sys.modules.get(name)) is not None and known.__file__ == str(file):
        return known  # one file may define several plug-ins of a cell
    spec = importlib.util.spec_from_file_location(name, file, loader=_BytesLoader(file, content))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with naming_plugin_line(str(file), str(file)):
            assert spec.loader is not None
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _BytesLoader(importlib.abc.ExecutionLoader):
    """Loads a module from bytes, so that the file cannot change between verifying and executing; writes no cache."""

    def __init__(self, file: Path, content: bytes) -> None:
        self._file = file
        self._content = content

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002  there is one module
        return str(self._file)

    def get_source(self, fullname: str) -> str:  # noqa: ARG002  there is one module
        return importlib.util.decode_source(self._content)


@contextmanager
def naming_plugin_line(file: str | None, place: str = "") -> Iterator[None]:
    """Turns any exception raised inside, `sys.exit` too, into a `PluginError` that names the line of the plug-in.

    What was not raised in a line of its file is said of `place`; without one it stays as it is, or is told its cure.
    """
    try:
        yield
    except BaseException as error:
        where = _line_of(error, file) or place
        if isinstance(error, BenchError) or not (where or _cure(str(error))) or cause_of(error) != Cause.FAILED:
            raise
        # in one line, without the escape codes by which Keras makes its messages bold
        message = " ".join(uncolored(str(error)).split())[:2000]
        raised = f"{where}: {type(error).__name__}" if where else type(error).__name__
        raise PluginError(f"{raised}: {message}{_cure(message)}") from error


_IN_SINGLE = "leave the module in float32 (no .half(), .double() or .bfloat16()): the setting `precision` says what it computes in"
_NO_GRADIENT = (
    "a loss of your own must be made of y_pred by operations that have a gradient: those of keras.ops, and no argmax, "
    "stop_gradient or NumPy"
)
_CURES = {
    "No module named": "install it where bench is installed; a plug-in may import packages, but no file beside it",
    "must have the same dtype": _IN_SINGLE,
    "Input type (float) and": _IN_SINGLE,
    "shapes cannot be multiplied": "the model was made for images of another size: set image_size to what it needs, or "
    "let it average over positions before its linear layers (nn.AdaptiveAvgPool2d)",
    "Expected more than 1 value per channel": "batch normalisation cannot train on the single image that is left for the "
    "last batch of an epoch: choose another batch_size",
    "view size is not compatible": "write `reshape` for `view`",
    "not compiled with CUDA": 'leave the device to bench, which moves the module: no .cuda() and no .to("cuda")',
    "Found no NVIDIA driver": 'leave the device to bench, which moves the module: no .cuda() and no .to("cuda")',
    "Expected all tensors to be on the same device": "make tensors on the device of the images (device=x.device)",
    "backward through the graph a second time": "what a module keeps from one batch for the next must not hold the graph of "
    "that batch: keep it with .detach()",
    "No gradients provided for any variable": _NO_GRADIENT,
    "does not require grad and does not have a grad_fn": _NO_GRADIENT,
    "Object ModuleLayer was created": "a module of PyTorch is no model that Keras can save; bench keeps its weights",
    "'NoneType' object has no attribute 'experiment'": "a module has no logger here: leave it out, or run your script as a command",
    "is not connected to `inputs`": "a model takes the images alone: give it one input",
    "does not have a deterministic implementation": "set deterministic = false for this cell",
    "torchvision::nms does not exist": "the installed torchvision was built for another PyTorch; install a pair of one "
    "release from one index, see `bench doctor`",
}
"""What cures an error of a library, by words of its message."""


def _cure(message: str) -> str:
    return next((f"; {cure}" for words, cure in _CURES.items() if words in message), "")


def _line_of(error: BaseException, file: str | None) -> str | None:
    if file and isinstance(error, SyntaxError) and error.filename == file and error.lineno:
        return f"{file}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{lines[-1]}" if lines else None
