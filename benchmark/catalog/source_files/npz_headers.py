"""Lists the arrays of `.npz` archives with shape and type, from their headers alone; NumPy is imported for labels alone."""

from __future__ import annotations

import ast
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_MAGIC = b"\x93NUMPY"
_HEADER_LIMIT = 1 << 16

DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)
"""What `zipfile` raises besides OSError and ValueError for a damaged, encrypted or unusually compressed archive."""


@dataclass(frozen=True, slots=True)
class ArrayFacts:
    """Shape and NumPy's type code (`|u1`, `<f4`, …) of one array."""

    shape: tuple[int, ...]
    dtype: str


def array_facts(path: Path) -> dict[str, ArrayFacts]:
    """The shape and type of each array of an archive, by name; members that are no plain arrays are left out.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It is not an archive.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    facts = _facts(file)
                if facts is not None:
                    arrays[member.removesuffix(".npy")] = facts
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable .npz archive: {error}") from error
    return arrays


def has_several_labels(path: Path, name: str) -> bool:
    """Whether an array of an archive has rows of 0 and 1 that are not all of one 1; NumPy is imported, and the array read.

    Raises:
        OSError, ValueError: It cannot be read.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return bool((archive[name].sum(axis=1) != 1).any())
    except (TypeError, MemoryError, *DAMAGE) as error:
        raise ValueError(f"{path}: {name} is no array of labels: {error}") from error


def _facts(file: IO[bytes]) -> ArrayFacts | None:
    """Read an NPY header: magic, version, length, and a Python literal; None where there is none.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    start = file.read(8)
    if not start.startswith(_MAGIC):
        return None
    try:
        (length,) = struct.unpack("<H", file.read(2)) if start[6] == 1 else struct.unpack("<I", file.read(4))
        header = ast.literal_eval(file.read(min(length, _HEADER_LIMIT)).decode("utf-8"))
        return ArrayFacts(tuple(int(size) for size in header["shape"]), str(header["descr"]))
    except (ValueError, SyntaxError, LookupError, TypeError, MemoryError, RecursionError, struct.error):
        return None
