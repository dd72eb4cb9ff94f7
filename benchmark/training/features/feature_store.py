"""The cache of features on disk: arrays written whole or not at all, shared by cells, within a size limit.

`<cache>/features/<key>/` holds `features.npy` [n, …] and `meta.json` with what it was made of and the seconds it took.
All entries together stay below `BENCH_FEATURES_GIB` (4 by default; 0 keeps nothing and switches reuse off) and below
a quarter of the disk that is free or already theirs; the least recently used ones are removed first. An entry that is
removed while a cell reads it stays readable to that cell, since it is memory-mapped.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import ml_dtypes
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from benchmark import faults, layout
from benchmark.catalog.prepared_size_limit import limit_gib
from benchmark.files import make_own_folder, publish_folder

LIMIT_VARIABLE = "BENCH_FEATURES_GIB"
_DEFAULT_GIB = 4.0
_SHARE_OF_FREE_DISK = 0.25

_ASIDE = ".partial"
_WAIT_SECONDS = 0.2
"""Time between attempts at a lock that another cell holds; `beat` is called in between."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeatureUse:
    """Whether stages computed or reused features of their frozen layers, and what it took.

    Attributes:
        how: `none`, `computed` (at least once), or `reused`.
        seconds: Time spent: looking up, waiting for another cell, computing and writing.
        alone_seconds: What it would have been with an empty cache.
    """

    how: str = "none"
    seconds: float = 0.0
    alone_seconds: float = 0.0

    def plus(self, later: FeatureUse) -> FeatureUse:
        """The sum of both."""
        how = next((how for how in ("computed", "reused") if how in {self.how, later.how}), "none")
        return FeatureUse(how, self.seconds + later.seconds, self.alone_seconds + later.alone_seconds)


@dataclass(frozen=True, slots=True)
class ArrayRequest:
    """Which array is asked of the cache.

    Attributes:
        key: Hexadecimal digest of everything that determines the array.
        shape: Of the whole array, [n, …].
        dtype: A name that NumPy or ml_dtypes knows, such as `float32` or `bfloat16`.
        notes: Written into `meta.json` for people who look into the cache.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str
    notes: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """Size of the array."""
        return math.prod(self.shape) * np.dtype(_stored_type(self.dtype)).itemsize


@dataclass(frozen=True, slots=True)
class CachedArray:
    """An array of the cache.

    Attributes:
        array: A view of the file, [n, …].
        computed: Whether this call computed it.
        seconds: How long computing it took, now or then.
    """

    array: NDArray[Any]
    computed: bool
    seconds: float


class FeatureStore:
    """A folder of arrays, of which the least recently used are removed to make room.

    Args:
        root: The folder; created when an array is written.
        beat: Called between pieces of work and while waiting for another cell; may raise to stop.
    """

    def __init__(self, root: Path, beat: Callable[[], object]) -> None:
        self._root = root
        self._beat = beat

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether so much may be kept at all, with all other entries removed."""
        return size_bytes <= self._limit_bytes()

    def get(
        self, request: ArrayRequest, make: Callable[[], Iterable[NDArray[Any]]], pinned: Collection[str] = ()
    ) -> CachedArray:
        """Returns the array, computing it if it is not there. Of cells that ask at once, one computes and others wait.

        Args:
            request: Which array.
            make: Yields consecutive pieces [b, …] of it.
            pinned: Keys of entries that must not be removed to make room for it.

        Raises:
            OSError: It cannot be written: no room, no permission; nothing of it stays behind.
        """
        if cached := self._open(request):
            return cached
        make_own_folder(self._root, adopt=True)
        with self._lock(request.key):
            if cached := self._open(request):
                return cached
            began = perf_counter()
            self._make(request, make, {request.key, *pinned}, began)
            computed = self._open(request)
        if computed is None:
            raise OSError(f"the features just written into {self._root / request.key} are no longer there")
        return CachedArray(computed.array, computed=True, seconds=perf_counter() - began)

    def _open(self, request: ArrayRequest) -> CachedArray | None:
        directory = self._root / request.key
        try:
            meta = json.loads((directory / layout.META).read_text(encoding="utf-8"))
            # a plain array: indexing an np.memmap creates an object of the subclass for each batch
            array = np.asarray(np.load(directory / layout.FEATURES, mmap_mode="r", allow_pickle=False))
            seconds = float(meta["seconds"])
            # changed since it was written: it may not be what the key says
            touched = (directory / layout.FEATURES).stat().st_mtime_ns != meta["modified_ns"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if touched or array.shape != request.shape or array.dtype != _stored_type(request.dtype):
            return None
        with suppress(OSError):  # a read-only cache; the time of last use is that of the meta file
            os.utime(directory / layout.META)
        dtype = ml_dtypes.bfloat16 if request.dtype == "bfloat16" else request.dtype
        return CachedArray(array.view(dtype), computed=False, seconds=seconds)

    def _make(
        self, request: ArrayRequest, make: Callable[[], Iterable[NDArray[Any]]], kept: Collection[str], began: float
    ) -> None:
        directory = self._root / request.key
        aside = self._root / f".{request.key}{_ASIDE}"
        shutil.rmtree(aside, ignore_errors=True)  # left by a killed cell, since we hold the lock
        try:
            with self._lock("room"):
                self._make_room(request.size_bytes, kept)
                aside.mkdir()
                _reserve(aside / layout.FEATURES, request.size_bytes)
            with (aside / layout.FEATURES).open("r+b") as file:
                stored = np.lib.format.dtype_to_descr(np.dtype(_stored_type(request.dtype)))
                header = {"descr": stored, "fortran_order": False, "shape": request.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for piece in make():
                    file.write(np.ascontiguousarray(piece).view(np.uint8).data)
                    faults.point("features")
                    self._beat()
                file.truncate()
            modified = (aside / layout.FEATURES).stat().st_mtime_ns
            notes = {**request.notes, "modified_ns": modified, "seconds": perf_counter() - began}
            (aside / layout.META).write_text(json.dumps(notes, indent=1), encoding="utf-8")
            publish_folder(aside, directory)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _make_room(self, size_bytes: int, kept: Collection[str]) -> None:
        """Removes the least recently used entries until `size_bytes` more are within the limit.

        Raises:
            OSError: There is no room.
        """
        limit = self._limit_bytes()
        entries = sorted(self._entries(), key=lambda entry: entry.used_at)
        total = sum(entry.size_bytes for entry in entries) + size_bytes
        for entry in entries:
            if total <= limit:
                return
            if entry.key not in kept and self._remove(entry):
                total -= entry.size_bytes
        if total > limit:
            raise OSError(
                f"{self._root}: {size_bytes:,} bytes of features do not fit into the {limit:,} that may be kept; "
                f"raise {LIMIT_VARIABLE} or free disk"
            )

    def _remove(self, entry: _CachedEntry) -> bool:
        is_aside = entry.path.name.endswith(_ASIDE)
        try:
            with FileLock(self._lock_path(entry.key), timeout=0) if is_aside else nullcontext():
                shutil.rmtree(entry.path, ignore_errors=True)
        except Timeout:  # another cell is writing it
            return False
        return True

    def _entries(self) -> Iterator[_CachedEntry]:
        for path in self._root.glob("*"):
            with suppress(OSError):
                size = (path / layout.FEATURES).stat().st_size
                meta = path / layout.META
                used_at = meta.stat().st_mtime if meta.exists() else 0.0
                yield _CachedEntry(path, path.name.removesuffix(_ASIDE).lstrip("."), size, used_at)

    def _limit_bytes(self) -> int:
        chosen = int(limit_gib(LIMIT_VARIABLE, _DEFAULT_GIB, "features") * 2**30)
        if not chosen:
            return 0
        existing = next((path for path in (self._root, *self._root.parents) if path.exists()), self._root)
        free = shutil.disk_usage(existing).free + sum(entry.size_bytes for entry in self._entries())
        return min(chosen, int(_SHARE_OF_FREE_DISK * free))

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        lock = FileLock(self._lock_path(name))
        while True:
            try:
                lock.acquire(timeout=_WAIT_SECONDS)
                break
            except Timeout:
                self._beat()
        try:
            yield
        finally:
            lock.release()

    def _lock_path(self, name: str) -> Path:
        # at most 256 files for any number of keys; two keys with one lock only wait for each other
        return layout.lock_file(self._root / f".{name[:2]}")


@dataclass(frozen=True, slots=True)
class _CachedEntry:
    path: Path
    key: str
    size_bytes: int
    used_at: float


def _reserve(path: Path, size_bytes: int) -> None:
    """Allocates the disk now, so that others count it and a full disk raises `OSError` before anything is computed."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(size_bytes, 1))
        else:
            file.truncate(size_bytes)


def _stored_type(name: str) -> Any:
    """The dtype in the file: `.npy` has no bfloat16 (https://github.com/jax-ml/ml_dtypes/issues/41), so its bits are kept."""
    return np.dtype(np.uint16) if name == "bfloat16" else np.dtype(name)
