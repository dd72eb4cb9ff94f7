"""The probabilities that a program answers with: read from its files without executing anything, and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.training.scripts.script_lines import LINE_LIMIT_BYTES, ScriptProtocolError

SUM_TOLERANCE = 0.01
"""How far from 1 the probabilities of an image may sum up: half-precision networks round as much."""

SIZE_LIMIT_BYTES = 1 << 32

_TABLES = {"csv": ",", "tsv": "\t", "txt": None}
"""Endings of tables of numbers, with what stands between two of them; None is any white space."""


def read_probabilities(
    given: str | list[Any], folder: Path, name: str, shape: tuple[int, int], *, multi_label: bool
) -> NDArray[np.float32]:
    """Reads and checks the probabilities of a set of images.

    Args:
        given: The path of a file, `.npy`, `.csv`, `.tsv` or `.txt`, or the rows themselves.
        folder: Where relative paths start.
        name: What the program calls them, for messages.
        shape: Of what is expected: images and classes.
        multi_label: Whether an image may have several labels; else its probabilities sum to 1.

    Raises:
        ScriptProtocolError: They cannot be read, or are no probabilities of these images.
    """
    rows = _rows(given, folder, name)
    if rows.shape != shape:
        cure = ""
        if rows.ndim == 1 and len(rows) == shape[0]:
            cure = "; of predicted classes alone numpy.eye(classes)[predicted] makes such rows"
        raise ScriptProtocolError(
            f"{name}: expected an array of shape {shape}, a row for each image and a column for each class, found "
            f"{rows.shape}{cure}"
        )
    if not len(rows):
        return rows
    if not np.isfinite(rows).all():
        raise ScriptProtocolError(
            f"{name}: expected finite numbers, found {rows[~np.isfinite(rows)][0]} in row {_first(~np.isfinite(rows))}"
        )
    sums = rows.sum(axis=1, dtype=np.float64)
    wrong = (rows < -SUM_TOLERANCE) | (rows > 1 + SUM_TOLERANCE)
    if not multi_label:
        wrong |= (abs(sums - 1) > SUM_TOLERANCE)[:, None]
    if wrong.any():
        row = _first(wrong)
        shown = ", ".join(f"{value:.4g}" for value in rows[row][:4]) + (", …" if shape[1] > 4 else "")
        expected, end = "probabilities that sum to 1 for each image", "softmax"
        if multi_label:
            expected, end = "a probability from 0 to 1 for each label of each image", "sigmoid"
        raise ScriptProtocolError(
            f"{name}: expected {expected}, found {shown} with the sum {sums[row]:.4g} in row {row}; a network that gives logits "
            f"needs a {end}"
        )
    return np.clip(rows, 0.0, 1.0)


def _first(wrong: NDArray[np.bool_]) -> int:
    return int(wrong.any(axis=1).argmax())


def _rows(given: str | list[Any], folder: Path, name: str) -> NDArray[np.float32]:
    try:
        if isinstance(given, list):
            return np.array(given, dtype=np.float32)
        path = folder / given
        if not path.is_file() or path.stat().st_size > SIZE_LIMIT_BYTES:
            raise ScriptProtocolError(f"{name}: expected a file of at most 4 GiB at {path}, found none")
        if path.suffix[1:] in _TABLES:
            return _table(path, _TABLES[path.suffix[1:]])
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise ScriptProtocolError(
                f"{name}: expected an array of numbers in {path}, found {getattr(array, 'dtype', 'an archive')}"
            )
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    except (OSError, ValueError, TypeError, EOFError, OverflowError, MemoryError, SyntaxError) as error:
        what = given if isinstance(given, str) else "the rows of the line"
        raise ScriptProtocolError(
            f"{name}: expected numbers [images, classes] in a .npy, .csv, .tsv or .txt file, got from {what}: {error}"
        ) from error


def _table(path: Path, delimiter: str | None) -> NDArray[np.float32]:
    """A table of numbers, with or without a line of names above it."""
    with path.open(encoding="utf-8") as file:
        words = file.readline(LINE_LIMIT_BYTES).replace('"', "").split(delimiter)
    above = 0 if all(map(_is_number, words)) else 1
    return np.loadtxt(path, np.float32, delimiter=delimiter, skiprows=above, ndmin=2, encoding="utf-8", quotechar='"')


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
