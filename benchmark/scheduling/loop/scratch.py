"""The folder in which a process works at attempts whose artifacts go to a URL: its own, and gone afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmark import layout
from benchmark.errors import StorageError


@contextlib.contextmanager
def scratch_folder(cache_root: Path) -> Iterator[Path]:
    """Makes a folder in the cache and removes it at the end; those that killed processes have left are removed first.

    Raises:
        StorageError: It cannot be made.
    """
    place = layout.scratch_folder(cache_root)
    try:
        place.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place)
        folder, handle = _made(place)
    except OSError as error:
        raise StorageError(
            f"{place}: expected a folder of the cache that can be written, got: {error.strerror}. Set BENCH_CACHE to another one"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _made(place: Path) -> tuple[Path, int]:
    """A new folder, and the handle by which this process holds it."""
    while True:
        folder = place / os.urandom(8).hex()
        folder.mkdir()
        handle = _held(folder)
        # another process may have taken it for an abandoned one before it was held
        if folder.is_dir():
            return folder, handle
        os.close(handle)


def _held(folder: Path) -> int:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # where the file system has no locks, nobody takes the folder for an abandoned one either
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _remove_abandoned(place: Path) -> None:
    for folder in place.iterdir():
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
