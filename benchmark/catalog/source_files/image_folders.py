"""Finds the images of a folder with class folders, by names, sizes and times; no image is opened.

    flowers/rose/1.jpg              flowers/train/rose/1.jpg        flowers/train/rose/1.jpg
    flowers/tulip/2.png             flowers/test/rose/2.jpg         flowers/val/rose/2.jpg

All images in class folders, or training and test images apart: a folder `train` that holds folders itself means the
latter. Hidden files, and files that do not end like JPEG or PNG files, are no images; hidden folders, and those that
bench makes for results, figures and caches, are no classes. Names are compared and sorted in Unicode's composed form
(NFC), because systems and archives change the form in passing: `é` is one letter, however it is encoded.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from abc import abstractmethod
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import overload

from benchmark import faults
from benchmark.catalog.source_files.absent_files import DVC
from benchmark.catalog.source_files.split_names import TEST, TRAIN, VALIDATION_FOLDERS
from benchmark.files import is_own_folder

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".apng")
"""Of JPEG and PNG files."""


_looks: dict[Path, tuple[FoundFiles, list[str]]] | None = None


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as it was found.

    Attributes:
        path, name: Where it is.
        st_size, st_mtime_ns: As of `os.stat_result`.
    """

    path: str
    name: str
    st_size: int
    st_mtime_ns: int

    def __fspath__(self) -> str:
        return self.path

    def stat(self) -> FoundFile:
        """Size and time, as they were."""
        return self


class FileSequence(Sequence[FoundFile]):
    """Files that are made when they are asked for, by `file`."""

    @overload
    def __getitem__(self, index: int) -> FoundFile: ...
    @overload
    def __getitem__(self, index: slice) -> list[FoundFile]: ...
    def __getitem__(self, index: int | slice) -> FoundFile | list[FoundFile]:
        numbers = range(len(self))[index]
        return self.file(numbers) if isinstance(numbers, int) else [self.file(number) for number in numbers]

    @abstractmethod
    def file(self, number: int) -> FoundFile:
        """The file of a number from 0 on."""


class FoundFiles(FileSequence):
    """Files of one folder, looked up when the first of them is asked for: some 20 bytes of memory beside each name.

    Args:
        folder: The folder.
        names: Their names in it.
    """

    def __init__(self, folder: str, names: Sequence[str]) -> None:
        self._folder = folder
        encoded = [os.fsencode(name) for name in names]
        self._names = b"".join(encoded)
        self._ends = array("q", accumulate(map(len, encoded)))
        self._seen: tuple[array[int], array[int]] | None = None

    def __len__(self) -> int:
        return len(self._ends)

    def file(self, number: int) -> FoundFile:
        sizes, times = self._look()
        name = self._name(number)
        return FoundFile(self._path(name), name, sizes[number], times[number])

    def _name(self, number: int) -> str:
        return os.fsdecode(self._names[self._ends[number - 1] if number else 0 : self._ends[number]])

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)  # noqa: PTH118  a hundred thousand times

    def _look(self) -> tuple[array[int], array[int]]:
        if self._seen is None:
            sizes, times = array("q"), array("q")
            for number in range(len(self)):
                status = os.stat(self._path(self._name(number)))  # noqa: PTH116
                sizes.append(status.st_size)
                times.append(status.st_mtime_ns)
            self._seen = sizes, times
        return self._seen


class MissingFilesError(OSError):
    """A folder names files whose content is not there, such as links that lead nowhere."""


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """Which folders hold the class folders of a source.

    Attributes:
        train: Parent of the class folders of the training images, or of all images.
        test: Parent of those of the test images; None when test images are to be split off.
        validation: Parent of those of validation images beside the test images; None without.
        unused: Other folders, which are not read.
    """

    train: Path
    test: Path | None
    validation: Path | None = None
    unused: tuple[str, ...] = ()


def find_layout(root: Path) -> FolderLayout:
    """Find the class folders below a folder.

    Raises:
        OSError: It is not there, or cannot be read, or something in it is missing.
    """
    names = class_folders(root)
    if TRAIN not in names or not class_folders(root / TRAIN):
        return FolderLayout(root, None)
    there = [name for name in (TEST, *VALIDATION_FOLDERS) if name in names and class_folders(root / name)]
    test = there[0] if there else None
    validation = there[1] if test == TEST and len(there) > 1 else None
    unused = tuple(name for name in names if name not in {TRAIN, test, validation})
    return FolderLayout(root / TRAIN, root / test if test else None, root / validation if validation else None, unused)


def class_folders(folder: Path) -> dict[str, Path]:
    """The folders in a folder by their names in NFC, sorted, without hidden ones and those that bench made.

    Raises:
        MissingFilesError: There is a link that leads nowhere: maybe to a class.
        OSError: The folder is not there, or cannot be read; or two have one name.
    """
    entries = {name: entry for name, entry in _entries(folder).items() if not name.startswith(".")}
    _check_missing(folder, entries, entries)
    names = sorted(
        (composed(name), name) for name, entry in entries.items() if entry.is_dir() and not is_own_folder(entry.path)
    )
    folders = {name: folder / actual for name, actual in names}
    if len(folders) < len(names):
        twice = {name for name, actual in names if folders[name].name != actual}
        raise OSError(f"{folder}: two folders of one name, whose letters are only encoded differently: {some(twice)}")
    return folders


def class_content(folder: Path) -> tuple[FoundFiles, list[str]]:
    """The images of a class folder, sorted by name, and the names of what else lies there; no file is opened.

    Raises:
        MissingFilesError: The content of an image is not there.
        OSError: The folder is not there, or cannot be read.
    """
    if (known := (_looks or {}).get(folder)) is not None:
        return known
    faults.point("look")
    images: dict[str, os.DirEntry[str]] = {}
    others: dict[str, os.DirEntry[str]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            (images if _is_image(entry.name) and entry.is_file() else others)[entry.name] = entry
    suspicious = [name for name in others if _is_image(name.removesuffix(DVC))]
    if suspicious:
        _check_missing(folder, images | others, suspicious)
    content = FoundFiles(str(folder), _sorted(images)), _sorted(others)
    if _looks is not None:
        _looks[folder] = content
    return content


@contextmanager
def looking_once() -> Iterator[None]:
    """Has each class folder looked at once within the block, by which its images have the sizes and times of that look."""
    global _looks  # noqa: PLW0603  one source is prepared at a time
    _looks = {}
    try:
        yield
    finally:
        _looks = None


def _sorted(names: Collection[str]) -> list[str]:
    plain = all(map(str.isascii, names))
    return sorted(names) if plain else sorted(names, key=lambda name: (composed(name), name))


def composed(name: str) -> str:
    """The name in NFC."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def some(names: Collection[str], most: int = 5) -> str:
    """The first names in a message, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - most
    return ", ".join(name[:100] for name in ordered[:most]) + (f" and {more} more" if more > 0 else "")


def _entries(folder: Path) -> dict[str, os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return {entry.name: entry for entry in entries}


def _check_missing(folder: Path, entries: dict[str, os.DirEntry[str]], names: Iterable[str]) -> None:
    """Refuses those of `names` that are links to nowhere, or stand for data that DVC has not fetched."""
    broken = [name for name in names if entries[name].is_symlink() and not Path(entries[name].path).exists()]
    if broken:
        raise MissingFilesError(
            f"{folder}: expected files or folders, found links that lead nowhere: {some(broken)}; bring back what they "
            "lead to (`git annex get` where it is in git-annex), or remove them"
        )
    absent = [data for name in names if name.endswith(DVC) and (data := name.removesuffix(DVC)) not in entries]
    if absent:
        raise MissingFilesError(
            f"{folder}: missing, because DVC keeps them elsewhere: {some(absent)}; `dvc pull` fetches them"
        )


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(IMAGE_ENDINGS)


def untested_classes(root: Path) -> list[str]:
    """The classes of which a folder of test images holds none.

    Raises:
        OSError: The folder is not there, or cannot be read.
    """
    parts = find_layout(root)
    if parts.test is None:
        return []
    tested = {name for name, folder in class_folders(parts.test).items() if _has_image(folder)}
    return [name for name in class_folders(parts.train) if name not in tested]


def _has_image(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_is_image(entry.name) for entry in entries)


def folder_state(root: Path, *, validated: bool = False) -> str:
    """A digest of the names of all classes, and of the names, sizes and times of all images.

    Args:
        root: The folder.
        validated: Whether validation images beside the test images count.

    Raises:
        OSError: The folder is missing or cannot be read.
    """
    digest = hashlib.sha256()
    parts = find_layout(root)
    for part in filter(None, (parts.train, parts.test, parts.validation if validated else None)):
        for folder in class_folders(part).values():
            digest.update(f"{str(folder.relative_to(root))!r}\n".encode("utf-8", "surrogateescape"))
            images, _ = class_content(folder)
            lines = "".join(f"{image.name!r} {image.st_size} {image.st_mtime_ns}\n" for image in images)
            digest.update(lines.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
