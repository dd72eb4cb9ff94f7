"""Images that stay compressed and are decoded where they are asked for, behind the same interface as arrays of them.

Beside the arrays of a prepared dataset an array of images `NAME` may lie as

    NAME.json          shape [n, h, w, c], how the images are kept, and what else decides their pixels
    NAME.places.npy    int64 [n, …]: where each image is
    NAME.paths         of image files: their paths one after the other; places are begin, end, size and time (ns) of the file
    NAME.packed        of other sources: decoded images, compressed without loss; places are begin and end

So a folder of images takes no room beside itself. Pixels are the same as those of decoded arrays, to the bit, in any order.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmark import layout, machine
from benchmark.errors import DataError
from benchmark.images.pictures import decode_image

BATCHES_AHEAD = 3
"""So many batches are decoded, or being decoded, while one is trained on."""

_LEVEL = 1
"""Of zlib: higher ones take several times as long and save little."""

Pixels = NDArray[np.uint8]


class CompressedImages:
    """An array of images [n, h, w, c], 0..255, of which those are decoded that are asked for.

    It is indexed as an array of NumPy is, and `numpy.asarray` makes one of it, decoding all.

    Args:
        shape: (n, h, w, c) of all images that are stored.
        decode: Writes the pixels of an image, by its number, into an array [h, w, c]; called from several threads.
        stored: Folder and name of the array, by which another process opens it; None where none can.
        numbers: Which of the stored images these are, [m]; None for all.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        shape: tuple[int, ...],
        decode: Callable[[int, Pixels], None],
        stored: tuple[Path, str] | None = None,
        numbers: NDArray[np.int64] | None = None,
    ) -> None:
        self.shape = shape if numbers is None else (len(numbers), *shape[1:])
        self._whole = shape
        self._decode = decode
        self._stored = stored
        self._numbers = numbers

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: Any) -> Pixels:
        """The image [h, w, c] of a number, those [b, h, w, c] of a slice or an array of numbers, or parts of their pixels."""
        if isinstance(which, tuple):
            return self._part(which)
        numbers = np.arange(len(self))[which]
        pixels: Pixels = np.empty((*np.shape(numbers), *self.shape[1:]), np.uint8)
        for number, place in zip(np.ravel(numbers).tolist(), pixels.reshape(-1, *self.shape[1:]), strict=True):
            self.decode(number, place)
        return pixels

    def _part(self, which: tuple[Any, ...]) -> Pixels:
        """Of `images[3, :, :, 0]` and the like: no more images are decoded than the first index asks for."""
        first, *others = which
        if first is Ellipsis or first is None or not all(isinstance(each, int | slice) for each in others):
            part: Pixels = self[:][which]
            return part
        images = self[first]
        return images[(slice(None),) * (images.ndim - 3) + tuple(others)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All images, decoded."""
        if copy is False:
            raise ValueError(
                "images that stay compressed cannot become an array without a copy: expected copy=None or True"
            )
        return np.asarray(self[:], dtype)

    def __reduce__(self) -> Any:
        """So that processes beside this one open the files themselves, such as those of a loader of PyTorch."""
        if self._stored is None:
            return super().__reduce__()
        return _opened_again, (*self._stored, self._numbers)

    def at(self, numbers: NDArray[np.int64]) -> CompressedImages:
        """Some of these images, by their numbers [m], as another such array."""
        own = np.asarray(numbers if self._numbers is None else self._numbers[numbers], np.int64)
        return CompressedImages(self._whole, self._decode, self._stored, own)

    def batches(self, order: Iterable[NDArray[np.int64]]) -> Generator[Pixels]:
        """The images [b, h, w, c] of each array of numbers, the next ones decoded meanwhile.

        Threads do it, as many as this process has cores less the one that trains: decoders leave Python to itself. They
        draw nothing at random and are gone when the iterator is closed.

        Raises:
            DataError: An image has changed, or cannot be read any more; the message names it.
        """
        tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        count = max(1, len(machine.available_cores()) - 1)
        threads = [threading.Thread(target=_serve, args=(tasks,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        waiting: deque[_Batch] = deque()
        try:
            for numbers in order:
                waiting.append(_Batch(self, numbers, tasks, count))
                if len(waiting) > BATCHES_AHEAD:
                    yield waiting.popleft().pixels()
            while waiting:
                yield waiting.popleft().pixels()
        finally:
            for batch in waiting:
                batch.cancelled = True
            for _ in threads:
                tasks.put(None)
            for thread in threads:
                thread.join()

    def decode(self, number: int, pixels: Pixels) -> None:
        """Writes an image into an array [h, w, c]."""
        self._decode(number if self._numbers is None else int(self._numbers[number]), pixels)


ImageArray: TypeAlias = Pixels | CompressedImages
"""Images of a prepared dataset [n, h, w, c], decoded or not."""


class _Batch:
    """A batch that threads decode, each some of its images."""

    def __init__(
        self, images: CompressedImages, numbers: NDArray[np.int64], tasks: queue.SimpleQueue[Any], shares: int
    ) -> None:
        self.cancelled = False
        self._images = images
        self._numbers = numbers.tolist()
        self._pixels: Pixels = np.empty((len(numbers), *images.shape[1:]), np.uint8)
        self._ends: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._shares = min(shares, len(numbers))
        for share in range(self._shares):
            tasks.put(partial(self._decode, share))

    def _decode(self, share: int) -> None:
        try:
            for place in range(share, len(self._numbers), self._shares):
                if self.cancelled:
                    return
                self._images.decode(self._numbers[place], self._pixels[place])
        except BaseException as error:  # noqa: BLE001  whoever waits for the batch raises it
            self._ends.put(error)
        else:
            self._ends.put(None)

    def pixels(self) -> Pixels:
        """The images, when all are decoded."""
        for _ in range(self._shares):
            if (error := self._ends.get()) is not None:
                raise error
        return self._pixels


def _serve(tasks: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (task := tasks.get()) is not None:
        task()


def batches_of(images: ImageArray | NDArray[Any], order: Iterable[NDArray[np.int64]]) -> Generator[NDArray[Any]]:
    """The images, or features, of each array of numbers, [b, …]."""
    return images.batches(order) if isinstance(images, CompressedImages) else (images[numbers] for numbers in order)


def open_array(directory: Path, name: str) -> NDArray[Any] | CompressedImages:
    """An array of a prepared dataset, mapped into memory, or images that are decoded where they are asked for.

    Raises:
        OSError, ValueError: It is missing or damaged.
    """
    file = layout.array_file(directory, name)
    if file.exists():
        # plain arrays: indexing an np.memmap creates an object of the subclass for each batch
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    facts = json.loads(layout.compressed_file(directory, name, "facts").read_text(encoding="utf-8"))
    places = np.load(layout.compressed_file(directory, name, "places"), mmap_mode="r", allow_pickle=False)
    shape, how = tuple(facts.pop("shape")), facts.pop("how")
    content = layout.compressed_file(directory, name, how)
    stored: Pixels = np.memmap(content, np.uint8, "r") if content.stat().st_size else np.empty(0, np.uint8)
    decode = _decode_file if how == "paths" else _decode_packed
    return CompressedImages(shape, partial(decode, np.asarray(stored), np.asarray(places), **facts), (directory, name))


def _opened_again(directory: Path, name: str, numbers: NDArray[np.int64] | None) -> Any:
    images = open_array(directory, name)
    return (
        images if numbers is None else images.at(numbers) if isinstance(images, CompressedImages) else images[numbers]
    )


def _decode_file(
    stored: Pixels, places: NDArray[np.int64], number: int, pixels: Pixels, *, background: str, resize: str
) -> None:
    begin, end, size, modified = places[number].tolist()
    path = Path(os.fsdecode(stored[begin:end].tobytes()))
    _check_file(path, size, modified)
    image = decode_image(path, pixels.shape[0], pixels.shape[-1], background, resize)
    _check_file(path, size, modified)
    pixels[:] = image.pixels


def _check_file(path: Path, size: int, modified: int) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read any more: {error.strerror}; bring it back, or run again") from error
    if (status.st_size, status.st_mtime_ns) != (size, modified):
        raise DataError(f"{path} has changed since its dataset was prepared; run again, so that it is prepared anew")


def packed(pixels: Pixels) -> bytes:
    """An image [h, w, c] without loss in fewer bytes: each pixel less the one before it in its row, by zlib."""
    differences = pixels.copy()
    differences[:, 1:] -= pixels[:, :-1]
    return zlib.compress(differences.data, _LEVEL)


def _decode_packed(stored: Pixels, places: NDArray[np.int64], number: int, pixels: Pixels) -> None:
    begin, end = places[number].tolist()
    try:
        differences = np.frombuffer(zlib.decompress(stored[begin:end].data), np.uint8).reshape(pixels.shape)
    except (zlib.error, ValueError) as error:
        raise DataError(
            f"image {number} of a prepared dataset is damaged ({error}); run `bench gc --delete --caches`"
        ) from error
    np.cumsum(differences, axis=1, dtype=np.uint8, out=pixels)
