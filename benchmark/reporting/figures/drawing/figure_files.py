"""Writes figures as PNG and SVG files, atomically; equal figures give equal bytes."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.errors import StorageError, UserError
from benchmark.files import write_whole
from benchmark.reporting.figures.drawing.style import styled

METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""By format, what is left out: dates and the version of matplotlib would make equal figures differ."""


@styled
def encode(figure: Figure, file_format: str) -> bytes:
    """The figure in one of the formats of `METADATA`; text in an SVG stays text."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, metadata=METADATA[file_format])
    return buffer.getvalue()


def save(figure: Figure, directory: Path, name: str) -> list[Path]:
    """Write `NAME.png` and `NAME.svg` into a folder, replacing files of these names; returns both paths.

    Raises:
        StorageError: The disk is full, or writing is not allowed.
    """
    written = []
    for file_format in METADATA:
        path = directory / f"{name}.{file_format}"
        try:
            write_whole(path, encode(figure, file_format))
        except OSError as error:
            raise StorageError(
                f"cannot write the figure {path}: {error.strerror or error}; give another folder"
            ) from error
        written.append(path)
    return written


def make_folder(directory: Path, option: str) -> None:
    """Make the folder that figures go to, with its parents, where it is missing.

    Args:
        directory: The folder.
        option: The option that named it, for messages.

    Raises:
        UserError: There is a file of that name.
        StorageError: It cannot be made.
    """
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{option} {directory}: expected a folder for figures, found a file; name another one")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{option} {directory}: cannot be made: {error.strerror}; name another folder") from error
