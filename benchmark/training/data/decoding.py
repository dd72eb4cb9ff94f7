"""Decodes image files straight into a memory-mapped array, on several cores."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.image_folders import some
from benchmark.training.data.images import WHITE, DecodedImage, decode_image
from benchmark.training.data.sources import CHANGED_FILES, DatasetRequest, new_images
from benchmark.training.process.failures import DataError

log = logging.getLogger(__name__)

DECODED, TRANSPARENT, DAMAGED, CHANGED = 1, 2, 3, 4
"""What has become of an image; 0 while nothing has."""

PROGRESS_SECONDS = 0.5
_SHOWN = 5
IMAGES_FOR_A_PROCESS = 200
"""With fewer images than this another process takes longer to start than it saves."""


class ImageFile(Protocol):
    """An image file as it was found; an `os.DirEntry` is one."""

    def __fspath__(self) -> str: ...

    @property
    def path(self) -> str: ...
    def stat(self) -> os.stat_result: ...


def write_images(parts: Mapping[str, Sequence[ImageFile]], request: DatasetRequest, directory: Path) -> list[str]:
    """Writes the images of all parts of a dataset, by `train`, `test` or `validation`; returns notes on them.

    Raises:
        DataError: Images cannot be read, or files changed meanwhile.

    Side effects: as `decode_images`.
    """
    transparent, damaged, changed = 0, [], []
    for part, files in parts.items():
        array = new_images(directory, part, len(files), request)
        states = decode_images(files, array, request, f"{part} images")
        array.flush()
        transparent += int(np.count_nonzero(states == TRANSPARENT))
        damaged += [Path(files[index]) for index in np.flatnonzero(states == DAMAGED).tolist()]
        changed += [files[index].path for index in np.flatnonzero(states == CHANGED).tolist()]
    if changed:
        raise DataError(f"{some(changed)}: {CHANGED_FILES}")
    if damaged:
        raise DataError(*_damage_message(damaged, request))
    if not transparent:
        return []
    shown = request.background or f"white ({WHITE}), unless the dataset has a `background`"
    count = sum(map(len, parts.values()))
    return [f"{request.source}: {transparent} of {count} images are transparent: shown on {shown}"]


def _damage_message(damaged: Sequence[Path], request: DatasetRequest) -> list[str]:
    """What cannot be read: the first on the first line, which may be all that is shown of it."""
    first, *others = [problem_of(path, request) for path in damaged[:_SHOWN]]
    more = len(damaged) - _SHOWN
    count = f" ({len(damaged) - 1} more cannot be read)" if others else ""
    lines = [f"{first}; remove or replace it, and run again{count}", *others]
    return [*lines, f"… and {more} more"] if more > 0 else lines


def decode_images(
    files: Sequence[ImageFile], array: NDArray[np.uint8], request: DatasetRequest, name: str
) -> NDArray[np.uint8]:
    """Decodes each file into its place in an array.

    Small images take most of their time in Python, which threads share and processes do not: on two cores, two threads
    were half as fast as one.

    Args:
        files: JPEG and PNG files, as they were found.
        array: Mapped from a file and shared, uint8 [n, h, w, c]; written in place.
        request: The size, the colours, and how many processes may work.
        name: What they are, in plural, for messages on progress.

    Returns:
        What has become of each image [n]: `DECODED`, `TRANSPARENT` (it was shown on the background), `DAMAGED`, or
        `CHANGED` since it was found.

    Raises:
        DataError: A process ended before its work was done.

    Side effects: starts processes, which are gone afterwards.
    """
    states = np.frombuffer(mmap.mmap(-1, max(len(files), 1)), np.uint8, len(files))
    count = max(1, min(request.processes, len(files) // IMAGES_FOR_A_PROCESS))

    def decode(rank: int) -> None:
        shown = time.monotonic()
        for index in range(rank, len(files), count):
            try:
                image = _decoded(Path(files[index]), request)
            except DataError:
                states[index] = CHANGED if _has_changed(files[index]) else DAMAGED
            else:
                array[index] = image.pixels
                whole = TRANSPARENT if image.is_transparent else DECODED
                states[index] = CHANGED if _has_changed(files[index]) else whole
            if rank == 0 and time.monotonic() - shown >= PROGRESS_SECONDS:
                shown = time.monotonic()
                log.info("decoded %s of %s %s", f"{np.count_nonzero(states):,}", f"{len(files):,}", name)

    children: list[int] = []
    try:
        children.extend(_forked(decode, rank) for rank in range(1, count))
        decode(0)
        while children:
            _, status = os.waitpid(children[-1], 0)
            children.pop()
            if status:
                code = os.waitstatus_to_exitcode(status)
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
                raise DataError(
                    f"a process that decoded images {how}, maybe for want of memory; nothing was kept, so run again"
                )
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return states


def _has_changed(file: ImageFile) -> bool:
    # an entry keeps what it was asked first
    seen = file.stat()
    try:
        now = os.stat(file.path)  # noqa: PTH116  asked for each image
    except OSError:
        return True
    return (seen.st_size, seen.st_mtime_ns) != (now.st_size, now.st_mtime_ns)


def problem_of(path: Path, request: DatasetRequest) -> str:
    """Why an image is `DAMAGED`, with its path."""
    try:
        _decoded(path, request)
    except DataError as error:
        return str(error)
    return f"{path} could not be read a moment ago"


def _decoded(path: Path, request: DatasetRequest) -> DecodedImage:
    return decode_image(path, request.image_size, request.channels, request.background or WHITE, request.resize)


def _forked(decode: Callable[[int], None], rank: int) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        decode(rank)
        code = 0
    finally:
        # what the parent holds open must not be closed, flushed or removed twice
        os._exit(code)
