"""Files that appear whole or not at all: written aside, fsynced, renamed; and their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, keep_previous: Path | None = None) -> None:
    """Makes `path` what `write` writes, or leaves everything as it was.

    Args:
        path: The file to appear.
        write: Is given the open temporary file, in the same directory.
        keep_previous: Where an existing file goes just before the new one takes its place.

    Raises:
        OSError: The disk is full or not writable; the temporary file is removed again.

    Side effects:
        Syncs the file and its directory to disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep_previous is not None and path.exists():
            path.replace(keep_previous)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes renames in `directory` survive a power loss."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Digest of a file's content, in hex. Reads it in pieces; raises `OSError` when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
