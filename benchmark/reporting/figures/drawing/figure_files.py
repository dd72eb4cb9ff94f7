"""Writes figures as PNG and SVG files, atomically; equal figures give equal bytes."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.errors import StorageError, UserError
from benchmark.files import write_whole
from benchmark.reporting.figures.drawing.style import styled

ENDINGS = (".png", ".svg")


@styled
def png(figure: Figure) -> bytes:
    """The figure as PNG; without the version of matplotlib, which would make equal figures differ."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@styled
def svg(figure: Figure) -> bytes:
    """The figure as SVG, whose text stays text; without a date, which would make equal figures differ."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def save(figure: Figure, directory: Path, name: str) -> list[Path]:
    """Write `NAME.png` and `NAME.svg` into a folder, replacing files of these names; returns both paths.

    Raises:
        StorageError: The disk is full, or writing is not allowed.
    """
    written = []
    for ending, content in zip(ENDINGS, (png(figure), svg(figure)), strict=True):
        path = directory / f"{name}{ending}"
        try:
            write_whole(path, content)
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
