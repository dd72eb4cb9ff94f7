"""Lets one `bench run` at a time write a database, by a lock of the kernel or the server that ends with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmark import layout, machine
from benchmark.errors import StorageError
from benchmark.results.store.location import Location, kind_of, locate
from benchmark.results.store.reference import refuse_to_write
from benchmark.results.store.server_lock import POLL_SECONDS, Holder, busy, server_lock
from benchmark.text import without_passwords

WRITING_SECONDS = 0.5
"""How long a refused second run waits until the first has written its name into the lock file."""


@contextmanager
def lock_database(target: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Holds the database for this process until the block ends or the process dies.

    Args:
        target: Path or URL of the database.
        wait: Whether to wait for the holder to end instead of failing.

    Raises:
        BusyError: Another process holds it; the message names it.
        StorageError: The lock file cannot be created, or the server does not answer.
        UserError: It is the file of the reference results.

    Side effects:
        Leaves `<name>.lock` beside a SQLite file: if it were deleted, two runs could lock two files of one name.
    """
    location = locate(target)
    refuse_to_write(location)
    path = location.path
    with server_lock(location, wait=wait) if path is None else _file_lock(location, path, wait=wait):
        yield


@contextmanager
def _file_lock(location: Location, path: Path, *, wait: bool) -> Iterator[None]:
    lock = layout.lock_file(path)
    _check_kind(lock, location.name)
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise StorageError(
            f"{location.name}: the lock file {lock} cannot be made: {error.strerror}. "
            "Make its folder, or one that can be written, and give the path with --db"
        ) from error
    try:
        # one that an older bench made may hold a password, and everybody could read it
        with contextlib.suppress(OSError):
            os.fchmod(handle, 0o600)
        while not _try_lock(handle):
            if not wait:
                raise busy(location, _read_holder(handle))
            time.sleep(POLL_SECONDS)
        _write_holder(handle)
        yield
    finally:
        os.close(handle)


def _check_kind(lock: Path, name: str) -> None:
    # the lock file is truncated and written: a link could lead to another program's file
    with contextlib.suppress(OSError):
        mode = lock.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise StorageError(
                f"{name}: {lock}: expected a file of bench, found {kind_of(mode)}. It was not touched; take it away, or "
                "give another path with --db"
            )


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(handle: int) -> None:
    command = shlex.join(without_passwords(word, whole=True) for word in sys.argv)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder = Holder(os.getpid(), socket.gethostname(), machine.boot_id(), now, command)
    # on a full disk the lock holds all the same, without a description
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(holder)).encode() + b"\n", 0)


def _read_holder(handle: int) -> Holder | None:
    deadline = time.monotonic() + WRITING_SECONDS
    while True:
        try:
            return Holder(**json.loads(os.pread(handle, 1 << 16, 0)))
        except (ValueError, TypeError):
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)
