"""Where caches lie: pure path computations, so that the scheduler can name a prepared dataset without opening one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import platformdirs

from benchmark import layout
from benchmark.catalog.facts import SOURCES, prepared_size
from benchmark.catalog.prepared_size_limit import room_note
from benchmark.catalog.source_files.image_folders import folder_state, some, untested_classes
from benchmark.catalog.source_files.label_tables import table_state
from benchmark.errors import UserError
from benchmark.files import read_record, sha256_of

PREPARATION_VERSION = 1
"""Raised when the same source would be decoded to other arrays; part of every prepared dataset's path."""

_FILES_VERSION = 2
"""The same of users' own files alone."""

OPTIONS: Mapping[str, Any] = {
    "location": None,
    "test_fraction": None,
    "class_names": None,
    "background": None,
    "resize": "squeeze",
    "validation": "split",
    "groups": None,
    "labels_file": None,
    "image_column": None,
    "label_column": None,
    "multi_label": False,
    "code": None,
    "file": None,
}
"""What decides the prepared arrays beside source, size and colour, and at which value it does nothing.

These are fields of the `Data` of a cell, and of the request that a source is prepared by.
"""


def options_of(data: DataSpec) -> dict[str, Any]:
    """Returns those of `OPTIONS` that do something."""
    return {name: value for name, default in OPTIONS.items() if (value := getattr(data, name)) != default}


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
        color: `grey`, `rgb`, or as `4-channel`.
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


def source_state(source: str, options: Mapping[str, Any], data_directory: str | None = None) -> str:
    """What decides the prepared arrays beside source, size and colour, as a digest; empty for built-in sources.

    For a user's files this covers path, names, sizes and times, so that prepared arrays of older files are never used
    for newer ones. No image is opened; a folder of 100,000 images takes about half a second.

    Args:
        source: As a cell has it.
        options: See `options_of`.
        data_directory: Where TFDS keeps its datasets; None for `tfds_root()`.
    """
    location, test_fraction, class_names, background = (options.get(name) for name in _FIRST_OPTIONS)
    later = {name: options[name] for name in sorted(options.keys() - {*_FIRST_OPTIONS, *_ELSEWHERE})}
    files = user_files(source, location, data_directory)
    is_built = location is None and files is not None and files.is_dir()
    if location is None and test_fraction is None and not is_built and not later:
        return ""
    state = location and _files_state(source, Path(location), options)
    parts: list[Any] = [location, state, test_fraction, class_names]
    if location is not None:
        parts += [_FILES_VERSION, background]
    elif is_built and files is not None:
        parts += [str(files.resolve()), _build_state(files)]
    return sha256_of(json.dumps([*parts, later] if later else parts, ensure_ascii=True).encode())


_FIRST_OPTIONS = ("location", "test_fraction", "class_names", "background")
"""Those that have a place of their own in a state; all later ones stand by their names."""

_ELSEWHERE = ("resize", "file")
"""Those that are in the name of the folder for themselves, or decide nothing."""


def _files_state(source: str, path: Path, options: Mapping[str, Any]) -> str | list[tuple[str, int, int]]:
    try:
        if "labels_file" in options:
            return table_state(path, options["labels_file"])
        if path.is_dir() and source.startswith("folder:"):
            return folder_state(path, validated="validation" in options)
        if path.is_dir():
            return _build_state(path)
        if not path.exists() and path.parent.is_dir():
            return _build_state(path.parent)  # a pattern of files
        status = path.stat()
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"


def _build_state(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times (ns) of the files below a folder, without those of a TFDS dataset that is being built."""
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if "incomplete" not in name]
        for name in names:
            with suppress(OSError):
                status = (path := Path(place, name)).stat()
                files.append((str(path.relative_to(folder)), status.st_size, status.st_mtime_ns))
    return sorted(files)


class DataSpec(Protocol):
    """What decides which prepared arrays are needed, with all of `OPTIONS` as fields; the `Data` of a cell is one."""

    @property
    def source(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def color(self) -> str: ...
    @property
    def resize(self) -> str: ...


class PreparedDirectories:
    """Finds the folders of prepared datasets; the state of a user's files is read once and kept."""

    def __init__(self, cache_root: str | os.PathLike[str]) -> None:
        self._cache_root = cache_root
        self._states: dict[tuple[object, ...], str] = {}

    def of(self, data: DataSpec) -> Path:
        options = options_of(data)
        key = (data.source, *options.items())
        # a TFDS dataset that is not there yet has no state of its own before it is
        state = self._states.get(key) or source_state(data.source, options)
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
    """What is known to be remarkable of images: as users' own were prepared, else as their folders look; what is too large.

    Raises:
        UserError: `BENCH_PREPARED_GIB` is no number.
    """
    notes: dict[str, None] = {}
    for data in datasets:
        folder = directories.of(data)
        if not folder.is_dir() and (note := room_note(data, folder)):
            notes[note] = None
        location, known = options_of(data).get("location"), remarks(folder)
        if not known and location and data.source.startswith("folder:") and "labels_file" not in options_of(data):
            # an error is said when the images are prepared
            with suppress(OSError):
                untested = untested_classes(Path(location))
                known = [absent_images_note(data.source, "test", untested)] if untested else []
        notes.update(dict.fromkeys(known))
    return list(notes)


def absent_images_note(source: str, part: str, names: Collection[str]) -> str:
    """Says that classes have no images to train on (`training`), or none to be tested on (`test`)."""
    lost = "learned" if part == "training" else "measured"
    return f"{source}: no {part} image of {some(names)}, so that nothing can be {lost} there"
