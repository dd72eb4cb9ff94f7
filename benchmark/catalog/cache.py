"""Where caches lie: pure path computations, so that the scheduler can name a prepared dataset without opening one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import platformdirs

from benchmark import layout
from benchmark.catalog.facts import SOURCES, prepared_size
from benchmark.catalog.image_folders import folder_state, some, untested_classes
from benchmark.errors import UserError
from benchmark.files import read_record, sha256_of

PREPARATION_VERSION = 1
"""Raised when the same source would be decoded to other arrays; part of every prepared dataset's path."""

_FILES_VERSION = 2
"""The same of users' own files alone."""


def default_cache_root() -> Path:
    """`$BENCH_CACHE`, else the platform's cache folder for `bench`. Creates nothing.

    Raises:
        UserError: The variable is not set, and this user has no home folder.
    """
    chosen = os.environ.get("BENCH_CACHE")
    try:
        root = Path(chosen).expanduser().absolute() if chosen else platformdirs.user_cache_path("bench")
    except RuntimeError:
        root = Path()
    if not root.is_absolute():
        raise UserError(
            "the cache folder: expected a home folder for this user to put it in, found none. "
            "Set HOME, or name a folder with BENCH_CACHE"
        )
    return root


def prepared_directory(
    source: str,
    image_size: int,
    color: str,
    cache_root: str | os.PathLike[str],
    state: str = "",
    resize: str = "squeeze",
) -> Path:
    """The folder of the prepared arrays of one source, size, colour and way to squares, whether it exists or not.

    The readable part of the name is for people; the hash alone distinguishes sources, so that a user's path in
    `folder:PATH` never becomes part of this path.

    Args:
        source: `digits`, `tfds:NAME`, `folder:PATH` or `npz:PATH`.
        image_size: Height and width in pixels that the cell asks for; see `facts.prepared_size`.
        color: `grey` or `rgb`.
        cache_root: See `default_cache_root`.
        state: See `source_state`; empty for a source without files of the user.
        resize: `squeeze`, `crop` or `pad`.
    """
    image_size = prepared_size(source, image_size)
    parts = [PREPARATION_VERSION, source, image_size, color, *([state] if state else [])]
    if resize != "squeeze":
        parts.append({"resize": resize})
    key = json.dumps(parts, ensure_ascii=True)
    digest = sha256_of(key.encode())[:12]
    kind, _, name = source.partition(":")
    word = name if kind == "tfds" else kind
    readable = re.sub(r"[^a-z0-9]+", "_", word.lower())[:40].strip("_") or "data"
    return layout.prepared_folder(cache_root) / f"{readable}-{image_size}-{color}-{digest}"


def tfds_root() -> Path:
    """Where TFDS keeps its datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets").expanduser().absolute()


def user_files(source: str, location: str | None, data_directory: str | None = None) -> Path | None:
    """The file or folder that a source is made of and a user may change; None where its content is fixed.

    Of a TFDS dataset it is the folder of its versions. Those that bench knows are published files with digests.
    """
    if location is not None:
        return Path(location)
    if not source.startswith("tfds:") or source in SOURCES:
        return None
    name = source.removeprefix("tfds:").partition(":")[0]
    return (Path(data_directory).absolute() if data_directory else tfds_root()) / name


def source_state(
    source: str,
    location: str | None,
    test_fraction: float | None,
    class_names: tuple[str, ...] | None,
    background: str | None = None,
    data_directory: str | None = None,
) -> str:
    """What decides the prepared arrays beside source, size and colour, as a digest; empty for built-in sources.

    For a user's files this covers path, names, sizes and times, so that prepared arrays of older files are never used
    for newer ones. No file is opened; a folder of 100,000 images takes about half a second. The arguments are as the
    `Data` of a cell has them, and `data_directory` is where TFDS keeps its datasets, None for `tfds_root()`.
    """
    files = user_files(source, location, data_directory)
    is_built = location is None and files is not None and files.is_dir()
    if location is None and test_fraction is None and not is_built:
        return ""
    parts: list[Any] = [location, location and _files_state(Path(location)), test_fraction, class_names]
    if location is not None:
        parts += [_FILES_VERSION, background]
    elif is_built and files is not None:
        parts += [str(files.resolve()), _build_state(files)]
    return sha256_of(json.dumps(parts, ensure_ascii=True).encode())


def _files_state(path: Path) -> str:
    try:
        if path.is_dir():
            return folder_state(path)
        status = path.stat()
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"


def _build_state(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times (ns) of the files of a TFDS dataset, without those of a build that goes on."""
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if "incomplete" not in name]
        for name in names:
            with suppress(OSError):
                status = (path := Path(place, name)).stat()
                files.append((str(path.relative_to(folder)), status.st_size, status.st_mtime_ns))
    return sorted(files)


class DataSpec(Protocol):
    """What decides which prepared arrays are needed; the `Data` of a cell is one."""

    @property
    def source(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def color(self) -> str: ...
    @property
    def location(self) -> str | None: ...
    @property
    def test_fraction(self) -> float | None: ...
    @property
    def class_names(self) -> tuple[str, ...] | None: ...
    @property
    def background(self) -> str | None: ...
    @property
    def resize(self) -> str: ...


class PreparedDirectories:
    """Finds the folders of prepared datasets; the state of a user's files is read once and kept."""

    def __init__(self, cache_root: str | os.PathLike[str]) -> None:
        self._cache_root = cache_root
        self._states: dict[tuple[object, ...], str] = {}

    def of(self, data: DataSpec) -> Path:
        key = (data.source, data.location, data.test_fraction, data.class_names, data.background)
        # a TFDS dataset that is not there yet has no state of its own before it is
        state = self._states.get(key) or source_state(*key)
        self._states[key] = state
        return prepared_directory(data.source, data.image_size, data.color, self._cache_root, state, data.resize)


def fingerprint(directory: Path) -> str | None:
    """The digest of the prepared arrays, as their builder wrote it down; None when there are none."""
    value = (read_record(directory / layout.META) or {}).get("fingerprint")
    return value if isinstance(value, str) else None


def remarks(directory: Path) -> list[str]:
    """What the builder of a prepared dataset noted on its source, such as files that it skipped."""
    value = (read_record(directory / layout.META) or {}).get("notes")
    return [str(remark) for remark in value] if isinstance(value, list) else []


def data_notes(datasets: Iterable[DataSpec], directories: PreparedDirectories) -> list[str]:
    """What is known to be remarkable of users' own images: as they were prepared, else as their folders look."""
    notes: dict[str, None] = {}
    for data in datasets:
        if data.location is not None:
            known = remarks(directories.of(data))
            if not known and data.source.startswith("folder:"):
                # an error is said when the images are prepared
                with suppress(OSError):
                    untested = untested_classes(Path(data.location))
                    known = [absent_images_note(data.source, "test", untested)] if untested else []
            notes.update(dict.fromkeys(known))
    return list(notes)


def absent_images_note(source: str, part: str, names: Collection[str]) -> str:
    """Says that classes have no images to train on (`training`), or none to be tested on (`test`)."""
    lost = "learned" if part == "training" else "measured"
    return f"{source}: no {part} image of {some(names)}, so that nothing can be {lost} there"
