"""The command of a model: what its braces stand for, which program it starts, and which files beside the matrix it names.

    [model.mine]
    command = ["python", "train.py", "--lr", "{learning_rate}", "--trees", "{trees}"]
    trees = 300

Braces take keys of the definition and training settings; `{{` and `}}` are braces themselves.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.files import sha256_of
from benchmark.matrix.cell import Architecture, Cell
from benchmark.matrix.identity import canonical_json, with_lists
from benchmark.matrix.settings import SETTINGS, cell_settings, json_value

PYTHON = frozenset({"python", "python3"})
"""These names mean the interpreter that bench runs with, so that what is installed beside bench can be imported."""

_SOURCES = (".py", ".R", ".jl", ".sh", ".pl")
"""Endings of files that a command most likely runs."""

_BRACES = re.compile(r"\{\{|\}\}|\{([\w-]+)\}|[{}]")
_TYPED_WORD = re.compile(r"[\w@%+=:,./{}-]+")
_FIRST_LINE_BYTES = 256
_BETWEEN_NAMES = re.compile(r"[\s=,;\"'()<>|&]+")


def typed(command: Iterable[str]) -> str:
    """A command as a person types it, with its braces."""
    return " ".join(word if _TYPED_WORD.fullmatch(word) else shlex.quote(word) for word in command)


def keys_in(argument: str) -> list[str]:
    """The keys that the braces of an argument name.

    Raises:
        ValueError: A brace stands alone, or around what is no key.
    """
    keys = []
    for match in _BRACES.finditer(argument):
        if match[1] is not None:
            keys.append(match[1])
        elif match[0] in "{}":
            raise ValueError(argument[max(0, match.start() - 10) : match.end() + 20])
    return keys


def _replaced(argument: str, text_of: Callable[[str], str]) -> str:
    return _BRACES.sub(lambda match: match[0][0] if match[1] is None else text_of(match[1]), argument)


def settings_for_script(cell: Cell) -> dict[str, Any]:
    """Everything that braces can name and a script is told: all settings of a cell, and the keys of its model's definition."""
    parameters = {name: json_value(value) for name, value in cell.architecture.parameters}
    return {**cell_settings(cell), **parameters}


def filled(cell: Cell) -> list[str]:
    """The command line of a cell: texts as they are, every other value as JSON writes it (`0.001`, `true`, `[3, 5]`, `null`)."""
    values = settings_for_script(cell)
    return [_replaced(argument, lambda key: text_of(values[key])) for argument in cell.architecture.command or ()]


def text_of(value: Any) -> str:
    """A value in a command line."""
    return value if isinstance(value, str) else json.dumps(with_lists(value), ensure_ascii=False)


def with_own_keys(command: Sequence[str], own: Mapping[str, Any], setting: str = "{{{}}}") -> list[str]:
    """The command with the keys of its definition filled in, and what differs from cell to cell left open.

    Args:
        command: As it is written.
        own: Keys of the definition that are no settings.
        setting: What stands for a setting, with its name in the place of `{}`.
    """
    return [
        _replaced(argument, lambda key: text_of(own[key]) if key in own else setting.format(key))
        for argument in command
    ]


def definition_keys(architecture: Architecture) -> dict[str, Any]:
    """The keys of the definition of a model with a command, without settings."""
    return {name: value for name, value in architecture.parameters if name not in SETTINGS}


def named_files(command: Sequence[str], own: Mapping[str, Any], folder: Path) -> list[Path]:
    """The files below the matrix's folder that a command names, sorted.

    An argument is taken as a whole and in the pieces between spaces, commas, quotes and `=`; `-m NAME` is that module.
    Where a setting stands in it, all files count that it may come to name.

    Args:
        command: As it is written.
        own: Keys of the definition that are no settings.
        folder: Of the matrix.
    """
    found: set[Path] = set()
    arguments = with_own_keys(command, own, setting="\0")
    for before, argument in zip(["", *arguments], arguments, strict=False):
        for text in {argument, *_BETWEEN_NAMES.split(argument)}:
            found.update(_below(text, folder))
            if before == "-m":
                module = text.replace(".", "/")
                found.update(_below(f"{module}.py", folder))
                found.update(_below(f"{module}/__init__.py", folder))
            found.update(_below(f"{text}/__main__.py" if before != "-m" else f"{module}/__main__.py", folder))
    return sorted(found)


def _below(text: str, folder: Path) -> Iterator[Path]:
    """The regular files that a text names, from a folder, as far as they lie in it."""
    if not text.strip("\0./"):
        return
    place = Path(os.path.normpath(folder / text))
    if not place.is_relative_to(folder):
        return
    try:
        if "\0" in text:
            pattern = re.sub("\0+", "*", re.sub(r"([*?[])", r"[\1]", str(place.relative_to(folder))))
            yield from (path for path in folder.glob(pattern) if path.is_file())
        elif place.is_file():
            yield place
    except (OSError, ValueError):
        return  # no name that a file can have


def files_outside(command: Sequence[str], own: Mapping[str, Any], folder: Path) -> list[Path]:
    """The files outside the matrix's folder that the arguments of a command name: bench does not answer for their contents.

    Programs that are named by a whole path are left out.
    """
    first, *arguments = with_own_keys(command, own, setting="\0")
    names = {name for text in arguments for name in {text, *_BETWEEN_NAMES.split(text)} if os.sep in name}
    if os.sep in first and not Path(first).is_absolute():
        names.add(first)
    places = {Path(os.path.normpath(folder / name)) for name in names if "\0" not in name}
    return sorted(place for place in places if not place.is_relative_to(folder) and _is_file(place))


def _is_file(place: Path) -> bool:
    try:
        # what a shell redirects is a file there too, and in the memory that lies beside it users keep files of their own
        in_memory = place.is_relative_to("/dev/shm")  # noqa: S108  nothing is written there
        return place.is_file() and (in_memory or not place.is_relative_to("/dev"))
    except (OSError, ValueError):
        return False


def files_digest(files: Iterable[Path], folder: Path) -> str:
    """The sha256 of names and contents of files below a folder.

    Raises:
        OSError: One cannot be read.
    """
    return sha256_of(
        canonical_json([[str(file.relative_to(folder)), sha256_of(file)] for file in files]).encode("ascii")
    )


def consent_digest(architecture: Architecture) -> str:
    """What a user trusts: the sha256 of the command line, its settings left open, and of the contents of the files it names."""
    command = with_own_keys(architecture.command or (), definition_keys(architecture))
    return sha256_of(canonical_json([command, architecture.code]).encode("ascii"))


def search_path(path: str | None = None) -> str:
    """`PATH` for programs: `python` behind `env`, in a shell or in a first line `#!` is the interpreter that bench runs with, too.

    Where it is not, as in a virtual environment that was not activated, the interpreter's folder is put first.

    Args:
        path: What to begin with; None for that of this process.
    """
    path = os.environ.get("PATH", os.defpath) if path is None else path
    folder, first = Path(sys.executable).parent, shutil.which("python3", path=path)
    return path if first and Path(first).parent == folder else f"{folder}{os.pathsep}{path}"


def program_of(name: str, folder: Path) -> tuple[str | None, str]:
    """Finds the program that the first word of a command names.

    Args:
        name: A path, from the matrix's folder when it is relative, or a name that is looked for on `PATH`.
        folder: Of the matrix.

    Returns:
        Its absolute path, or None and what is wrong.
    """
    if name in PYTHON:
        return sys.executable, ""
    if os.sep not in name:
        found = shutil.which(name, path=search_path())
        return (found, "") if found else (None, f"there is no program {name} on PATH")
    place = folder / name
    if not place.is_file():
        return None, f"there is no file {place}"
    if not os.access(place, os.X_OK):
        return None, f"{place} may not be executed; `chmod +x {place}`"
    problem = _problem_of_first_line(place)
    return (None, problem) if problem else (str(place), "")


def _problem_of_first_line(program: Path) -> str:
    """Why the system cannot start a script: its own messages name another file, or none."""
    try:
        with program.open("rb") as file:
            line = file.readline(_FIRST_LINE_BYTES)
    except OSError:
        return ""  # a program may be executable and not readable
    if not line.startswith(b"#!"):
        is_text = line.isascii() and b"\0" not in line
        return f"{program} does not say what runs it; begin it with a line such as #!/bin/sh" if is_text else ""
    if line.endswith(b"\r\n"):
        return f"{program} has Windows line ends, which #! does not take; `sed -i 's/\\r$//' {program}`"
    interpreter = os.fsdecode((line[2:].split() or [b""])[0])
    return "" if Path(interpreter).is_file() else f"{program} is to be run by {interpreter}, which is not there"


def programs_missing(cells: Iterable[Cell]) -> list[str]:
    """What keeps the commands of cells from being started on this machine, in words, each once."""
    problems: dict[str, None] = {}
    for cell in _of_each_command(cells):
        folder = Path(cell.architecture.folder or "")
        problem = f"there is no folder {folder}, where it is started"
        if folder.is_dir():
            problem = program_of(filled(cell)[0], folder)[1]
        if problem:
            problems[f"model {cell.model}: expected a command that can be started, but {problem}"] = None
    return list(problems)


def remarks_on(cells: Collection[Cell]) -> list[str]:
    """What the commands of cells will not find on this machine, and what they name that nobody watches, each once."""
    remarks = dict.fromkeys(programs_missing(cells))
    for cell in _of_each_command(cells):
        architecture, folder = cell.architecture, Path(cell.architecture.folder or "")
        for word in filled(cell)[1:]:
            if word.endswith(_SOURCES) and not (folder / word).exists():
                remarks[f"model {cell.model}: there is no file {word}, which its command names"] = None
        for file in files_outside(architecture.command or (), definition_keys(architecture), folder):
            remarks[
                f"model {cell.model}: {file} is outside the matrix's folder: a change to it makes no new cells and asks for no new "
                "consent; `version` of the definition can stand for it"
            ] = None
    return list(remarks)


def _of_each_command(cells: Iterable[Cell]) -> Collection[Cell]:
    return {cell.architecture: cell for cell in cells if cell.architecture.command is not None}.values()
