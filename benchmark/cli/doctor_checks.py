"""The checks of `bench doctor`: each is a function that yields findings and changes nothing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from benchmark import __version__, layout, machine, units
from benchmark.catalog.backends import installed_backends, trains_networks
from benchmark.catalog.cache import default_cache_root, tfds_root
from benchmark.catalog.facts import SOURCES
from benchmark.catalog.keras_applications import PREFIX, PUBLISHED, keras_home
from benchmark.cli.options import machine_kind
from benchmark.errors import UserError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.problems import Problems
from benchmark.matrix.reading.plugins import entry_points, read_plugins
from benchmark.matrix.reading.toml import parse_toml, read_text
from benchmark.matrix.script_command import filled, program_of
from benchmark.matrix.trust import exposure, plugin_trust, trust_file, trusted_digests
from benchmark.results.store.engine import SQLITE_VERSION
from benchmark.results.store.location import locate
from benchmark.scheduling.processes.environment import ignored_variables

Verdict: TypeAlias = Literal["good", "note", "missing", "bad"]

PACKAGES = (
    "tensorflow", "keras", "numpy", "tensorflow-datasets", "importlib_resources", "scikit-learn", "sqlalchemy",
    "alembic", "pandas", "matplotlib", "click", "rich",
)  # fmt: skip

_OF_TENSORFLOW = frozenset({"tensorflow", "tensorflow-datasets", "importlib_resources"})
"""Not missed where another backend is installed."""

EXTRAS = ("jax", "torch", "torchvision", "timm", "lightning", "datasets", "psycopg")
"""What an extra of this package installs; not missed where it is not there."""

KERAS_FLOOR = (3, 13, 2)
"""Older ones load model files that run code or exhaust memory: CVE-2025-1550, -8747, -9905, -9906, CVE-2026-0897, -1462, -1669."""

WAL_RESET_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""SQLite 3.7.0 to 3.51.2 can corrupt a WAL database that two processes write and checkpoint at the same moment."""

SMALL_DISK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        area: Heading it stands under.
        verdict: `good`; `note` for facts; `missing` for what can be fetched; `bad` for what must be cured.
        cure: What to do about it; empty when there is nothing to do.
    """

    area: str
    name: str
    value: str
    verdict: Verdict = "good"
    cure: str = ""


def examine(database: str) -> list[Finding]:
    """All findings, in the order in which they are shown."""
    own = [*_plugins(), *_commands(layout.MATRIX)]
    return [*_machine(), *_versions(), *_shell(), *_files(database), *_datasets(), *_weights(), *own]


def _machine() -> Iterator[Finding]:
    from benchmark.cli.runs.noise_floor import known_noise

    facts = machine.facts()
    yield Finding("machine", "system", facts.os, "note")
    yield Finding("machine", "processor", f"{facts.cpu_model}, {units.plural(facts.cpu_cores, 'usable core')}", "note")
    yield Finding("machine", "memory", units.size(facts.memory_bytes), "note")
    for gpu in facts.gpus:
        value = f"{gpu.name}, {units.size(gpu.memory_bytes)}, driver {facts.gpu_driver}"
        yield Finding("machine", f"gpu:{gpu.index}", value)
    if not facts.gpus:
        yield Finding("machine", "gpu", 'none: device = "auto" means cpu', "note")
    floor = known_noise(machine.default_machine_name())
    measured = floor.in_words() if floor else "not measured: `bench doctor --noise`"
    yield Finding("machine", "noise floor", measured, "note")
    cores = facts.cpu_cores
    yield Finding("machine", "cells at once", f"{cores} with threads = 1, one with threads = {cores}", "note")


def _versions() -> Iterator[Finding]:
    facts = machine.package_versions(PACKAGES)
    yield Finding("versions", "bench", __version__, "note")
    yield Finding("versions", "python", machine.facts().python_version, "note")
    for name in PACKAGES:
        yield _package(name, facts.get(name))
    extras = machine.package_versions(EXTRAS)
    for name, version in extras.items():
        problem = unfit_torchvision(extras.get("torch"), version) if name == "torchvision" else ""
        yield Finding("versions", name, version, "bad" if problem else "good", problem)
    yield sqlite_finding(SQLITE_VERSION)


def unfit_torchvision(torch_version: str | None, version: str) -> str:
    """What is wrong with a torchvision beside this PyTorch, and its cure; empty when they fit, as far as is declared.

    Each release of torchvision is built for one of PyTorch, and does not import beside another: `operator torchvision::nms does
    not exist`.
    """
    try:
        declared = metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError:
        declared = []
    wanted = next((text.partition("==")[2] for text in declared if re.match(r"torch *==", text)), None)
    cure = "install both in one command from one index: pip install torch torchvision"
    if torch_version is None:
        return f"there is no PyTorch beside it; {cure}"
    if wanted is not None and numbers(wanted) != numbers(torch_version):
        return f"built for PyTorch {wanted.strip()}, found {torch_version}: cells with torchvision or timm fail; {cure}"
    builds = {text.partition("+")[2] for text in (torch_version, version)}
    if len(builds) > 1:
        return f"another build than PyTorch {torch_version}: cells with torchvision or timm may fail; {cure}"
    return ""


def _tensorflow_is_spared() -> bool:
    """Whether networks are trained here by other backends alone."""
    return any(map(trains_networks, there := installed_backends())) and "tensorflow" not in there


def _package(name: str, version: str | None) -> Finding:
    if version is None and name in _OF_TENSORFLOW and _tensorflow_is_spared():
        why = f'for backend = "tensorflow" and sources tfds:NAME alone: pip install {name}'
        return Finding("versions", name, "not installed", "note", why)
    if version is None:
        why = " (tensorflow-datasets imports it without declaring it)" if name == "importlib_resources" else ""
        return Finding("versions", name, "not installed", "bad", f"pip install {name}{why}")
    if name == "keras" and numbers(version) < KERAS_FLOOR:
        floor = ".".join(map(str, KERAS_FLOOR))
        cure = f"known to be unsafe before {floor}: pip install 'keras>={floor}'"
        return Finding("versions", name, version, "bad", cure)
    return Finding("versions", name, version)


def sqlite_finding(version: str) -> Finding:
    """SQLite's version, with a note when it has the WAL-reset bug, which one writer at a time cannot meet."""
    release = numbers(version)
    fixed = release >= max(WAL_RESET_FIXED) or any(release[:2] == fix[:2] and release >= fix for fix in WAL_RESET_FIXED)
    if fixed or release < (3, 7, 0):
        return Finding("versions", "sqlite", version)
    note = "has the WAL-reset bug (fixed in 3.44.6, 3.50.7, 3.51.3); bench has one writer and cannot meet it"
    return Finding("versions", "sqlite", version, "note", f"{note}: let no other program write to the database")


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `3.15.1rc0` is (3, 15, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _shell() -> Iterator[Finding]:
    """What surrounds bench and is kept from workers, so that nobody believes that it has an effect."""
    ignored = ", ".join(ignored_variables(os.environ))
    why = "workers do not see them: settings of a cell stand in the matrix"
    yield Finding("shell", "ignored variables", ignored or "none", "note", why if ignored else "")
    passed = machine.library_variables()
    yield Finding("shell", "libraries", passed or "none preloaded", "note", "recorded with results" if passed else "")
    configuration = keras_home() / "keras.json"
    if configuration.exists():
        yield Finding("shell", "keras.json", str(configuration), "note", "not read: workers have Keras's own defaults")


def _files(database: str) -> Iterator[Finding]:
    yield _place("cache (BENCH_CACHE)", default_cache_root())
    yield _place("tfds (TFDS_DATA_DIR)", tfds_root())
    yield _place("keras (KERAS_HOME)", keras_home())
    try:
        path = locate(database).path
    except UserError as error:
        yield Finding("files", "results (BENCH_DB)", str(error), "bad", "correct the variable")
        return
    if path is not None:
        yield _place("results (BENCH_DB)", path.parent)


def _place(name: str, place: Path) -> Finding:
    existing = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    value = f"{place}, {units.size(free)} free" + ("" if existing == place else ", not made yet")
    cure = "less than 1 GiB is free: make room" if free < SMALL_DISK_BYTES else ""
    if not os.access(existing, os.W_OK):
        cure = f"{existing} cannot be written: choose another place with the variable"
    return Finding("files", name, value, "bad" if cure else "good", cure)


def _datasets() -> Iterator[Finding]:
    prepared = layout.prepared_folder(default_cache_root())
    for source in SOURCES:
        name = source.removeprefix("tfds:")
        if name == source:
            yield Finding("datasets", name, "comes with scikit-learn")
        elif list(tfds_root().glob(f"{name}/*/dataset_info.json")):
            yield Finding("datasets", name, f"present in {tfds_root() / name}")
        elif any(prepared.glob(f"{name}-*/{layout.META}")):
            yield Finding("datasets", name, "present, prepared in the cache")
        else:
            cure = "`bench prepare` or the first `bench run` that needs it downloads it"
            yield Finding("datasets", name, "not downloaded yet", "missing", cure)


def _weights() -> Iterator[Finding]:
    """Published weights that are there, and of the most used ones also that they are not."""
    for name, published in PUBLISHED.items():
        if published.path.exists():
            yield Finding("weights", name, f"{published.path}, {units.size(published.path.stat().st_size)}")
        elif not name.startswith(PREFIX):
            folder = published.path.parent
            cure = f"`bench prepare`, or the first `bench run` that needs them, downloads them to {folder}"
            yield Finding("weights", f"{name} (imagenet)", "not downloaded yet", "missing", cure)


def _plugins() -> Iterator[Finding]:
    """Consent to plug-ins: the trust file, models of installed packages, and the files of the matrix in this folder."""
    try:
        digests = trusted_digests()
        contents = units.plural(len(digests), "trusted plug-in") if trust_file().exists() else "not made yet"
        yield Finding("plug-ins", "trust file", f"{trust_file()}, {contents}", "note")
    except UserError as error:
        digests = frozenset()
        yield Finding("plug-ins", "trust file", str(error), "bad", "correct it, or remove it")
    for point in entry_points():
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        yield Finding("plug-ins", f"plugin:{point.name}", f"of the installed package {package}")
    yield from _plugin_files(layout.MATRIX, digests)


def _plugin_files(matrix: str, digests: frozenset[str]) -> Iterator[Finding]:
    try:
        document = parse_toml(read_text(matrix), matrix)
    except UserError:
        return  # no matrix here, or one that `bench plan` explains
    for file in read_plugins(document, Path.cwd(), Problems()).files:
        exposed = exposure(file.file)
        yield _consent("plug-ins", file.written, "", file.sha256, trusted=file.sha256 in digests, exposed=exposed)


def _commands(matrix: str) -> Iterator[Finding]:
    """Models of the matrix in this folder that are commands: whether their programs can be started, and may be."""
    try:
        models = parse_toml(read_text(matrix), matrix).get("model")
        if not isinstance(models, dict) or not any("command" in model for model in models.values()):
            return
        cells = load_matrix(matrix, machine_kind=machine_kind()).cells
        commands = [
            (cell, plugin_trust([cell])[0])
            for cell in {cell.model: cell for cell in cells if cell.architecture.command is not None}.values()
        ]
    except (UserError, TypeError):
        return  # likewise
    for cell, trust in commands:
        program, problem = program_of(filled(cell)[0], Path(cell.architecture.folder or ""))
        if problem:
            yield Finding("commands", cell.model, f"cannot be started: {trust.what}", "bad", problem)
        else:
            place = f"{program}, "
            yield _consent("commands", cell.model, place, trust.sha256, trusted=trust.trusted, exposed=trust.exposed)


def _consent(area: str, name: str, what: str, sha256: str, *, trusted: bool, exposed: str) -> Finding:
    """Whether a plug-in file or a command may run; `what` stands before the answer."""
    if exposed:
        cure = f"it is not run: chmod o-w {exposed}"
        return Finding(area, name, f"{what}{exposed} can be written by anybody", "bad", cure)
    if trusted:
        return Finding(area, name, f"{what}trusted")
    cure = f'read it; then `bench run --allow-plugins`, or add sha256 = "{sha256}" to {trust_file()}'
    return Finding(area, name, f"{what}not trusted, so it is not run", "missing", cure)
