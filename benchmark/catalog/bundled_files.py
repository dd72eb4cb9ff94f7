"""Reads the TOML files that come with bench: built-in definitions and presets."""

from __future__ import annotations

import difflib
from importlib import resources

from benchmark.errors import NotFoundError

FAMILIES = ("dataset", "model", "strategy")
"""What can be defined; each family has a file of built-in definitions."""

_SUFFIX = ".toml"


def definitions_text(family: str) -> str:
    """The built-in definitions of a family, in the same form as users write theirs."""
    return _read(f"{family}s" if family != "strategy" else "strategies")


def preset_names() -> tuple[str, ...]:
    """Names of all presets, the default one first."""
    folder = resources.files(__package__) / "presets"
    names = {entry.name.removesuffix(_SUFFIX) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)}
    return tuple(sorted(names, key=lambda name: (name != "default", name)))


def preset_text(name: str) -> str:
    """The commented matrix file that `bench init --preset NAME` writes.

    Raises:
        NotFoundError: There is no such preset; the message names the nearest one.
    """
    names = preset_names()
    if name not in names:
        close = difflib.get_close_matches(name[:200], names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise NotFoundError(f"preset: expected {', '.join(names)}, got {name[:80]!r}; {hint}`bench list presets`")
    return _read(f"presets/{name}")


def preset_plugin(name: str) -> tuple[str, str] | None:
    """The name and the text of the plug-in file that a preset needs beside its matrix; None where it needs none."""
    file = resources.files(__package__) / "presets" / f"{name}.py.txt"
    return (f"{name.replace('-', '_')}.py", file.read_text(encoding="utf-8")) if file.is_file() else None


def preset_summary(name: str) -> str:
    """A one-line description of a preset: the first line of its file, without the comment sign."""
    return preset_text(name).partition("\n")[0].lstrip("# ").rstrip()


def _read(stem: str) -> str:
    return (resources.files(__package__) / f"{stem}{_SUFFIX}").read_text(encoding="utf-8")
