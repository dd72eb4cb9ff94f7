"""Decides whether plug-in files may run: a file that a matrix names is not executed until the user trusts it.

Either for one run (`bench run --allow-plugins`), or for good by its digest in a file outside of any repository:

    # trusted.toml in the user's configuration folder for bench
    [[plugin]]
    path = "/home/me/my_models.py"        # for people; only the digest counts
    sha256 = "…"

Entry points of installed packages need no more consent than their installation. Files that others can write to are
never run.
"""

from __future__ import annotations

import stat
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from benchmark import layout
from benchmark.catalog.backends import trains
from benchmark.errors import UserError
from benchmark.matrix.cell import Cell
from benchmark.matrix.problems import quoted

_DIGEST_DIGITS = 64


@dataclass(frozen=True, slots=True)
class PluginTrust:
    """A plug-in file, and whether it may run.

    Attributes:
        models: Names of the models that need it.
        trusted: Whether its digest is in the trust file.
        exposed: The file or folder that others can write to; empty when none.
    """

    file: Path
    sha256: str
    models: tuple[str, ...]
    trusted: bool
    exposed: str


def trust_file() -> Path:
    """Returns the path of the file with digests of trusted plug-ins; it may not exist."""
    return platformdirs.user_config_path("bench") / layout.TRUSTED_PLUGINS


def trusted_digests() -> frozenset[str]:
    """Reads the sha256 of all plug-ins that the user trusts permanently.

    Raises:
        UserError: The trust file is damaged, or others can write to it.
    """
    path = trust_file()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected a TOML file that can be read, got: {error}; correct or remove it") from error
    if exposed := exposure(path):
        raise UserError(f"{path}: expected a file that only you can write to; {exposed} can be written by anybody")
    return frozenset(_digest(entry, path) for entry in document.get("plugin", []))


def _digest(entry: Any, path: Path) -> str:
    digest = entry.get("sha256") if isinstance(entry, dict) else None
    if not isinstance(digest, str) or len(digest) != _DIGEST_DIGITS:
        raise UserError(f"{path}: expected tables [[plugin]] with a sha256 of 64 digits, got {str(entry)[:100]!r}")
    return digest.lower()


def exposure(file: Path) -> str:
    """Returns the file or the folder above it that anybody can write to; empty when there is none.

    A folder with the sticky bit such as `/tmp`, where nobody may replace another's files, is allowed above, but not as
    the folder of the file itself.
    """
    for place in (file, *file.absolute().parents):
        try:
            mode = place.stat().st_mode
        except OSError as error:
            return f"{place} ({error.strerror})"
        shared = bool(mode & stat.S_ISVTX) and place not in {file, file.absolute().parent}
        if mode & stat.S_IWOTH and not shared:
            return str(place)
    return ""


def plugin_trust(cells: Iterable[Cell]) -> list[PluginTrust]:
    """Lists the plug-in files that cells need."""
    models: dict[tuple[str, str], set[str]] = defaultdict(set)
    for cell in cells:
        if cell.architecture.file is not None and trains(cell.backend):
            models[cell.architecture.file, str(cell.architecture.code)].add(cell.model)
    digests = trusted_digests() if models else frozenset()
    return [
        PluginTrust(Path(file), code, tuple(sorted(names)), code in digests, exposure(Path(file)))
        for (file, code), names in models.items()
    ]


def require_consent(cells: Iterable[Cell], command: str, *, allowed: bool) -> None:
    """Refuses cells whose plug-ins may not run.

    Args:
        cells: The cells that are about to run.
        command: What the user typed; shown with `--allow-plugins` as one way to consent.
        allowed: Whether the user has given `--allow-plugins`.

    Raises:
        UserError: Some may not run; the message says how to trust them.
    """
    plugins = plugin_trust(cells)
    if exposed := [plugin for plugin in plugins if plugin.exposed]:
        lines = [
            f"{plugin.file}: {plugin.exposed} can be written by anybody; `chmod o-w {plugin.exposed}`"
            for plugin in exposed
        ]
        raise UserError("\n  ".join(["plug-ins are not run from places that others can write to:", *lines]))
    untrusted = [] if allowed else [plugin for plugin in plugins if not plugin.trusted]
    if untrusted:
        raise UserError(_how_to_trust(untrusted, command))


def _how_to_trust(untrusted: list[PluginTrust], command: str) -> str:
    names = "\n".join(f"  {plugin.file} (model {', '.join(plugin.models)})" for plugin in untrusted)
    entries = "\n".join(
        f"\n  [[plugin]]\n  path = {quoted(str(plugin.file))}\n  sha256 = {quoted(plugin.sha256)}"
        for plugin in untrusted
    )
    return (
        "this matrix asks to run Python files that you have not trusted yet:\n"
        f"{names}\n"
        "A plug-in is a program and runs with your rights. Read it. Then, to trust it for one run:\n"
        f"  {command} --allow-plugins\n"
        f"or, to trust exactly this content for good, add to {trust_file()}:{entries}"
    )
