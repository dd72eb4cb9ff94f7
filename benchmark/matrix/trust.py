"""Decides whether plug-in files and commands may run: what a matrix names is not executed until the user trusts it.

Either for one run (`bench run --allow-plugins`), or for good by its digest in a file outside of any repository:

    # trusted.toml in the user's configuration folder for bench
    [[plugin]]
    path = "/home/me/my_models.py"        # for people; only the digest counts
    sha256 = "…"

Of a command the digest covers the command line, its settings left open, and the contents of all files that it names below
the matrix's folder. Entry points of installed packages need no more consent than their installation. Files that others can
write to are never run.
"""

from __future__ import annotations

import stat
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from benchmark import layout
from benchmark.catalog.backends import trains
from benchmark.errors import UserError
from benchmark.matrix.cell import Architecture, Cell
from benchmark.matrix.own_functions import own_functions
from benchmark.matrix.problems import quoted
from benchmark.matrix.reading.plugins import KINDS, one_of
from benchmark.matrix.script_command import consent_digest, definition_keys, named_files, typed, with_own_keys
from benchmark.text import one_line

_DIGEST_DIGITS = 64


@dataclass(frozen=True, slots=True)
class PluginTrust:
    """A plug-in file or a command, and whether it may run.

    Attributes:
        what: The file, or the command line.
        files: The file, or those that the command names.
        sha256: What the trust file knows it by.
        models, datasets, metrics, losses, callbacks: Names of the models, datasets, … that need it.
        trusted: Whether its digest is in the trust file.
        exposed: The file or folder that others can write to; empty when none.
    """

    what: str
    files: tuple[Path, ...]
    sha256: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    trusted: bool
    exposed: str
    metrics: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    callbacks: tuple[str, ...] = ()

    @property
    def is_command(self) -> bool:
        return self.files != (Path(self.what),)


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


def refusal(what: str, files: Iterable[Path], sha256: str, *, allowed: bool) -> str:
    """What forbids a worker to run a plug-in file or a command; empty when nothing does.

    Args:
        what: The file or the command, for the message.
        files: The file, or those that the command names.
        sha256: What the trust file knows it by.
        allowed: Whether the user has given `--allow-plugins`.
    """
    if exposed := next(filter(None, map(exposure, files)), ""):
        return f"{what} is not run: {exposed} can be written by anybody; `chmod o-w {exposed}`"
    if not allowed and sha256 not in trusted_digests():
        return f"{what} is not trusted and was not run; `bench run` says how to trust it"
    return ""


def plugin_trust(cells: Iterable[Cell], *, with_models: bool = True, with_data: bool = True) -> list[PluginTrust]:
    """Lists the plug-in files and commands that cells need; arguments as of `require_consent`."""
    users: dict[tuple[str, tuple[Path, ...], str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    known: dict[Architecture, tuple[str, tuple[Path, ...], str] | None] = {}
    for cell in cells:
        architecture = cell.architecture
        if architecture not in known:
            known[architecture] = program_in(architecture) if with_models and trains(cell.backend) else None
        program = known[architecture]
        if program is not None:
            users[program]["model"].add(cell.model)
        if with_data and cell.data.file is not None and trains(cell.backend):
            users[cell.data.file, (Path(cell.data.file),), str(cell.data.code)]["dataset"].add(cell.dataset)
        for own in own_functions(cell) if with_models and with_data and trains(cell.backend) else ():
            if own.file is not None:
                users[own.file, (Path(own.file),), own.code][one_of(own.kind)].add(own.name)
    digests = trusted_digests() if users else frozenset()
    return [
        PluginTrust(
            what,
            files,
            digest,
            tuple(sorted(names["model"])),
            tuple(sorted(names["dataset"])),
            digest in digests,
            next(filter(None, map(exposure, files)), ""),
            metrics=tuple(sorted(names["metric"])),
            losses=tuple(sorted(names["loss"])),
            callbacks=tuple(sorted(names["callback"])),
        )
        for (what, files, digest), names in users.items()
    ]


def program_in(architecture: Architecture) -> tuple[str, tuple[Path, ...], str] | None:
    """The plug-in file or the command of an architecture: what it is, its files, its digest; None where it has neither."""
    if architecture.command is not None:
        folder, own = Path(architecture.folder or ""), definition_keys(architecture)
        files = tuple(named_files(architecture.command, own, folder))
        return typed(with_own_keys(architecture.command, own)), files, consent_digest(architecture)
    if architecture.file is not None:
        return architecture.file, (Path(architecture.file),), str(architecture.code)
    return None


def require_consent(
    cells: Iterable[Cell], command: str, *, allowed: bool, with_models: bool = True, with_data: bool = True
) -> None:
    """Refuses cells whose plug-ins may not run.

    Args:
        cells: The cells that are about to run.
        command: What the user typed; shown with `--allow-plugins` as one way to consent.
        allowed: Whether the user has given `--allow-plugins`.
        with_models: Whether their models will be built, or their commands run.
        with_data: Whether their data will be prepared. Where both are, they are trained, with their losses, metrics and callbacks.

    Raises:
        UserError: Some may not run; the message says how to trust them.
    """
    _require_trust(plugin_trust(cells, with_models=with_models, with_data=with_data), command, allowed=allowed)


def require_consent_to_metrics(
    users: Mapping[tuple[str, str], Collection[str]], command: str, *, allowed: bool
) -> None:
    """Refuses files of metrics that may not run, as `require_consent` does; `users` are metrics by file and sha256.

    Raises:
        UserError: Some may not run; the message says how to trust them.
    """
    digests = trusted_digests()
    plugins = [
        PluginTrust(
            file, (Path(file),), code, (), (), code in digests, exposure(Path(file)), metrics=tuple(sorted(names))
        )
        for (file, code), names in users.items()
    ]
    _require_trust(plugins, command, allowed=allowed)


def _require_trust(plugins: Sequence[PluginTrust], command: str, *, allowed: bool) -> None:
    if exposed := [plugin for plugin in plugins if plugin.exposed]:
        lines = [
            f"{plugin.what}: {plugin.exposed} can be written by anybody; `chmod o-w {plugin.exposed}`"
            for plugin in exposed
        ]
        raise UserError("\n  ".join(["plug-ins are not run from places that others can write to:", *lines]))
    untrusted = [] if allowed else [plugin for plugin in plugins if not plugin.trusted]
    if untrusted:
        raise UserError(_how_to_trust(untrusted, command))


def _how_to_trust(untrusted: list[PluginTrust], command: str) -> str:
    names = "\n".join(f"  {one_line(each.what)} ({_users_of(each)}){_files_of(each)}" for each in untrusted)
    entries = "\n".join(
        f"\n  [[plugin]]\n  path = {quoted(each.what)}\n  sha256 = {quoted(each.sha256)}" for each in untrusted
    )
    kinds = {"commands" if each.is_command else "Python files": None for each in untrusted}
    return (
        f"this matrix asks to run {' and '.join(kinds)} that you have not trusted yet:\n"
        f"{names}\n"
        "A plug-in is a program and runs with your rights. Read it. Then, to trust it for one run:\n"
        f"  {command} --allow-plugins\n"
        f"or, to trust exactly this content for good, add to {trust_file()}:{entries}"
    )


def _users_of(plugin: PluginTrust) -> str:
    """Who needs a plug-in, in words."""
    users = {one_of(kind): getattr(plugin, kind) for kind in KINDS}
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in users.items() if names)


def _files_of(plugin: PluginTrust) -> str:
    """The files that a command names, in words."""
    return f", with {', '.join(map(str, plugin.files))}" if plugin.is_command and plugin.files else ""
