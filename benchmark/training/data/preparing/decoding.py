"""Decodes image files straight into a memory-mapped array, on several cores."""

from __future__ import annotations

import logging
import math
import mmap
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.source_files.image_folders import some
from benchmark.errors import DataError
from benchmark.images.pictures import WHITE, DecodedImage, decode_image
from benchmark.layout import compressed_file
from benchmark.training.data.preparing.sources import (
    CHANGED_FILES,
    DatasetRequest,
    decoded_images,
    save_places,
    why_compressed,
)
from benchmark.training.data.repeated_images_count import image_digest

Number = TypeVar("Number", bound=np.integer[Any])

log = logging.getLogger(__name__)

DECODED, TRANSPARENT, DAMAGED, CHANGED = 1, 2, 3, 4
"""What has become of an image; 0 while nothing has."""

PROGRESS_SECONDS = 0.5
_SHOWN = 5
IMAGES_FOR_A_PROCESS = 200
"""With fewer images than this another process takes longer to start than it saves."""

_IMAGES_OF_A_TASK, _BYTES_OF_A_TASK = 64, 4 << 20
"""How many images a process decodes before it says so, where they are decoded in order."""

_NUMBER_BYTES = 4
"""Of the number of a task in a pipe: so few are written and read as a whole."""


class SeenStatus(Protocol):
    """What a file was like when it was found; an `os.stat_result` is one."""

    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...


class ImageFile(Protocol):
    """An image file as it was found."""

    def __fspath__(self) -> str: ...

    @property
    def path(self) -> str: ...
    def stat(self) -> SeenStatus: ...


def write_images(parts: Mapping[str, Sequence[ImageFile]], request: DatasetRequest, directory: Path) -> list[str]:
    """Writes the images of all parts of a dataset, by `train`, `test` or `validation`; returns notes on them.

    Where decoded images would take too much, the files are named instead, and decoded for the fingerprint alone.

    Raises:
        DataError: Images cannot be read, or files changed meanwhile.

    Side effects: as `decode_images`.
    """
    transparent, damaged, changed = 0, [], []
    for part, files in parts.items():
        if why_compressed(directory, len(files), request):
            states = name_images(files, part, request, directory)
        else:
            array = decoded_images(directory, part, len(files), request)
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
    states = _shared(len(files), np.uint8)
    count = max(1, min(request.processes, len(files) // IMAGES_FOR_A_PROCESS))

    def decode(rank: int) -> None:
        shown = time.monotonic()
        for index in range(rank, len(files), count):
            states[index] = _decode_into(array[index], files[index], request)
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
            _check_end(status)
    finally:
        _kill(children)
    return states


def _decode_into(pixels: NDArray[np.uint8], file: ImageFile, request: DatasetRequest) -> int:
    """Decodes a file into an array [h, w, c]; returns what has become of it."""
    try:
        image = _decoded(Path(file), request)
    except DataError:
        return CHANGED if _has_changed(file) else DAMAGED
    pixels[:] = image.pixels
    whole = TRANSPARENT if image.is_transparent else DECODED
    return CHANGED if _has_changed(file) else whole


def _check_end(status: int) -> None:
    if status:
        code = os.waitstatus_to_exitcode(status)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise DataError(
            f"a process that decoded images {how}, perhaps for lack of memory; nothing was kept, so run again"
        )


def _kill(children: Sequence[int]) -> None:
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def name_images(files: Sequence[ImageFile], part: str, request: DatasetRequest, directory: Path) -> NDArray[np.uint8]:
    """Writes down where the images of a part are, by which they are decoded while training; see `images/compressed_images.py`.

    Each is decoded once, for the fingerprint of the dataset. Returns what has become of each, as `decode_images`.

    Side effects: as `decode_images`.
    """
    name, shape = f"{part}_images", (len(files), *request.shape)
    places, begin = np.empty((len(files), 4), np.int64), 0
    with compressed_file(directory, name, "paths").open("wb") as paths:
        for number, file in enumerate(files):
            status, path = file.stat(), os.fsencode(file.path)
            places[number] = begin, begin + len(path), status.st_size, status.st_mtime_ns
            begin += paths.write(path)
    facts = {"shape": shape, "how": "paths", "background": request.background or WHITE, "resize": request.resize}
    save_places(directory, name, places, facts)
    states, digests = _shared(len(files), np.uint8), _shared(len(files), np.uint64)
    request.digests[name] = digests
    shown, first = time.monotonic(), 0
    for images in decode_in_order(files, states, digests, request):
        if request.stream is not None:
            request.stream.add(name, shape, first, images)
        first += len(images)
        if time.monotonic() - shown >= PROGRESS_SECONDS:
            shown = time.monotonic()
            log.info("looked at %s of %s %s images", f"{first:,}", f"{len(files):,}", part)
    return states


def decode_in_order(
    files: Sequence[ImageFile], states: NDArray[np.uint8], digests: NDArray[np.uint64], request: DatasetRequest
) -> Iterator[NDArray[np.uint8]]:
    """Decodes files on several cores; yields some images [b, h, w, c] at a time, in the order of the files.

    What was yielded is overwritten once more is asked for: the memory taken does not depend on how many files there are.

    Args:
        files: JPEG and PNG files, as they were found.
        states: Shared memory; is told what has become of each image [n].
        digests: Shared memory; is told `image_digest` of each [n].
        request: The size, the colours, and how many processes may work.

    Raises:
        DataError: A process ended before its work was done.

    Side effects: starts processes, which are gone afterwards.
    """
    size = max(1, min(_IMAGES_OF_A_TASK, _BYTES_OF_A_TASK // math.prod(request.shape)))
    tasks = range(0, len(files), size)
    count = max(1, min(request.processes, len(files) // IMAGES_FOR_A_PROCESS))
    room = 2 * count + 2
    # a task always lies in the same place, which is free again when the task so many before it was yielded
    shared = mmap.mmap(-1, room * size * math.prod(request.shape))
    places = np.frombuffer(shared, np.uint8).reshape(room, size, *request.shape)

    def decode(task: int) -> None:
        for row, index in enumerate(range(tasks[task], min(tasks[task] + size, len(files)))):
            pixels = places[task % room, row]
            states[index] = _decode_into(pixels, files[index], request)
            digests[index] = image_digest(pixels)

    orders, ends = os.pipe(), os.pipe()

    def work(_: int) -> None:
        os.close(orders[1])
        while order := os.read(orders[0], _NUMBER_BYTES):
            decode(int.from_bytes(order, "big"))
            os.write(ends[1], order)

    children = [_forked(work, rank) for rank in range(count)] if count > 1 else []
    done: set[int] = set()
    try:
        for task in range(min(room, len(tasks))):
            os.write(orders[1], task.to_bytes(_NUMBER_BYTES, "big"))
        for task, first in enumerate(tasks):
            if not children:
                decode(task)
            while children and task not in done:
                done |= _finished(ends[0], children)
            done.discard(task)
            yield places[task % room, : min(size, len(files) - first)]
            if children and task + room < len(tasks):
                os.write(orders[1], (task + room).to_bytes(_NUMBER_BYTES, "big"))
    finally:
        _kill(children)
        for pipe in (*orders, *ends):
            os.close(pipe)


def _finished(pipe: int, children: list[int]) -> set[int]:
    """The tasks that were finished since; waits a while for one.

    Raises:
        DataError: A process has ended, which none does by itself.
    """
    if not select.select([pipe], [], [], PROGRESS_SECONDS)[0]:
        for child in list(children):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                children.remove(child)
                _check_end(status or 1 << 8)
        return set()
    numbers = os.read(pipe, 1024 * _NUMBER_BYTES)
    return {
        int.from_bytes(numbers[start : start + _NUMBER_BYTES], "big") for start in range(0, len(numbers), _NUMBER_BYTES)
    }


def _shared(count: int, kind: type[Number]) -> NDArray[Number]:
    """Numbers [count], all 0, which forked processes write for each other."""
    return np.frombuffer(mmap.mmap(-1, max(count, 1) * np.dtype(kind).itemsize), kind, count)


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
