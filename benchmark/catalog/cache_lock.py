"""Keeps caches from being emptied while they are used: a lock of the kernel, which ends with its holder.

Whoever uses prepared data, features or compiled programs holds the lock together with others; `bench gc --caches
--delete` needs it alone. The cache belongs to all databases, so the lock of one database would not do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from benchmark import layout
from benchmark.errors import BusyError


class CacheUse:
    """Holds the caches of a folder until it is closed; waits while they are being emptied.

    Where the lock cannot be had, because the folder cannot be written or its file system has no locks, nothing is held;
    so it is where there is no folder, unless `make` says that one is needed.
    """

    def __init__(self, cache_root: Path, *, make: bool = True) -> None:
        self._handle: int | None = None
        with contextlib.suppress(OSError):
            self._handle = _open(cache_root, make=make)
            fcntl.flock(self._handle, fcntl.LOCK_SH)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextlib.contextmanager
def unused_caches(cache_root: Path) -> Iterator[None]:
    """Holds the caches alone.

    Raises:
        BusyError: A command uses them.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            handle = _open(cache_root, make=False)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError(
                    f"{cache_root}: another bench command uses these caches, maybe for another database. Nothing was "
                    "deleted; wait for it to end, or leave out --caches"
                ) from error
        yield


def _open(cache_root: Path, *, make: bool = True) -> int:
    if make:
        cache_root.mkdir(parents=True, exist_ok=True)
    # whoever may write to the cache may hold it: the file says nothing
    return os.open(cache_root / layout.CACHE_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
