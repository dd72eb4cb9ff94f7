"""Files that appear whole or not at all, and the sha256 by which a content is known.

Whatever is killed at any moment, or a disk that is full, leaves the old file or the new one, never half of one: a new
file is written aside, in the same folder, synced and then renamed. What a killed process leaves is hidden and ends in
`.partial`; `bench gc` knows it by `is_partial`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from benchmark import faults
from benchmark.layout import OWN_MARK

if TYPE_CHECKING:
    import tempfile

_unfinished: set[Path] = set()
"""What this process is writing aside."""
_PARTIAL = re.compile(r"\..*\.partial(\.\w+)*")


@contextlib.contextmanager
def appearing(
    path: Path, *, replace: bool = True, keep_previous: Path | None = None, ending: str = ""
) -> Iterator[Path]:
    """Gives the path of a file to write aside, which becomes `path` when the block ends well.

    Args:
        path: The file to appear.
        replace: Whether a file that is there already gives way.
        keep_previous: Where such a file goes, just before the new one takes its place.
        ending: Of the file aside, for writers that choose their format by it.

    Raises:
        FileExistsError: Something is there, and `replace` is False.
        OSError: The disk is full or not writable; the file aside is removed again.

    Side effects:
        Syncs the file and the names in its folder to disk.
    """
    with being_written(path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial{ending}")) as aside:
        yield aside
        faults.point("write")
        sync(aside)
        if not replace:
            # a link, unlike a rename, refuses to replace what is there
            os.link(aside, path)
        elif keep_previous is not None and path.exists():
            path.replace(keep_previous)
        if replace:
            aside.replace(path)
    sync(path.parent)


@contextlib.contextmanager
def being_written(aside: Path) -> Iterator[Path]:
    """Removes a file or folder that is written aside when the block ends, or Ctrl-C the process."""
    _unfinished.add(aside)
    try:
        yield aside
    finally:
        _remove(aside)
        _unfinished.discard(aside)


def remove_unfinished() -> None:
    """Removes what is being written, for a process that ends at once; SQLite has its journals beside a new database."""
    for aside in list(_unfinished):
        for path in (aside, *aside.parent.glob(f"{glob.escape(aside.name)}-*")):
            _remove(path)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Makes a folder in the system's place for them, which goes with the object, or when Ctrl-C ends the process at once."""
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix="bench-")
    _unfinished.add(Path(folder.name))
    return folder


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_whole(
    path: Path,
    content: bytes | Callable[[BinaryIO], object],
    *,
    replace: bool = True,
    keep_previous: Path | None = None,
) -> None:
    """Makes `path` a file of this content, its bytes or what writes them into the open file; otherwise as `appearing`."""
    with appearing(path, replace=replace, keep_previous=keep_previous) as aside, aside.open("xb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            content(file)


@contextlib.contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder of bench's own to fill aside, which becomes `folder` when the block ends well.

    Args:
        folder: The folder to appear; parents that are missing are made.

    Raises:
        FileExistsError: Something is there already; an empty folder gives way.
        OSError: The disk is full or not writable; the folder aside is removed again.

    Side effects:
        Syncs all files to disk.
    """
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    make_own_folder(folder.parent)
    with being_written(folder.with_name(f".{folder.name}.{os.urandom(4).hex()}.partial")) as aside:
        make_own_folder(aside)
        yield aside
        faults.point("write")
        for path in (*aside.rglob("*"), aside):
            sync(path)
        try:
            # of two folders, a rename refuses to replace one that has been filled meanwhile
            aside.rename(folder)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder)) from error
            raise
    sync(folder.parent)


def publish_folder(aside: Path, folder: Path) -> None:
    """Gives a folder that was filled aside its name, in the place of one that is there; raises `OSError`."""
    for path in aside.iterdir():
        sync(path)
    sync(aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    sync(folder.parent)


def publish_into(aside: Path, folder: Path) -> None:
    """Moves the files of a folder that was filled aside to the same places in another; raises `OSError`."""
    for place, _, names in os.walk(aside):
        target = folder / Path(place).relative_to(aside)
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            (Path(place) / name).replace(target / name)
        sync(target)


def is_partial(name: str) -> bool:
    """Whether a file of this name was being written by a process that was killed, or is being written now."""
    return _PARTIAL.fullmatch(name) is not None


def make_own_folder(folder: Path, *, adopt: bool = False) -> None:
    """Makes a folder with its parents, and marks those that were missing as bench's own: no source of images has them.

    Args:
        folder: The folder.
        adopt: Whether a folder that is there already is bench's own by its name.

    Raises:
        OSError: It is a file, or cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing or [folder] * adopt:
        # without the mark all is well but for a source of images around it
        with contextlib.suppress(OSError):
            (each / OWN_MARK).touch()


def is_own_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether bench made a folder, for results, figures or caches."""
    return os.path.exists(os.path.join(folder, OWN_MARK))  # noqa: PTH110, PTH118  asked for thousands of classes


def sync(path: Path) -> None:
    """Makes a file, or the names in a folder, survive a power loss; raises `OSError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():
            # a folder that may be written but not read; the rename itself has succeeded
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot sync a folder
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def read_record(path: Path) -> dict[str, Any] | None:
    """Reads the JSON object in a file; None when there is none that can be read."""
    import json

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def sha256_of(content: bytes | Path | io.BufferedIOBase) -> str:
    """The digest of some bytes, or of a file's content, in hex; a file is read in pieces, and may raise `OSError`."""
    import hashlib

    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    if not isinstance(content, Path):
        return hashlib.file_digest(content, "sha256").hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
