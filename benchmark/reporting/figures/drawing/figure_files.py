"""Figures that are planned but not drawn yet, the names of their files, and writing them as PNG and SVG, atomically."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmark.errors import StorageError, UserError
from benchmark.files import is_own_folder, make_own_folder, sha256_of, write_whole
from benchmark.reporting.figures.drawing.style import DOTS_PER_INCH, alternative_of, styled
from benchmark.reporting.figures.drawing.text_fitting import unescaped
from benchmark.text import plain

_LONGEST_SLUG = 40
_LONGEST_SETTINGS = 80
METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""By format, what is left out: dates and the version of matplotlib would make equal figures differ."""


@dataclass(frozen=True, slots=True)
class PlannedFigure:
    """A figure that a report wants.

    Attributes:
        kind: Such as `curves`; docs/figures.md lists them.
        name: Of its files, without an ending; safe on every file system.
        title: What it shows, in words.
        cells: Ids of the cells that it shows.
        draw: Draws it; raises `UndrawableError` where what it needs is missing.
    """

    kind: str
    name: str
    title: str
    cells: tuple[str, ...]
    draw: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class DrawnFigure:
    """A figure that was drawn, for a folder or for a page.

    Attributes:
        plan: What it was planned as: kind, name, title, cells.
        figure: The figure; it is laid out, so that PNG and SVG are alike.
        alternative: What it shows, for who cannot see it: title, n, what is measured how, and what stands below it.
    """

    plan: PlannedFigure
    figure: Figure
    alternative: str


class UndrawableError(Exception):
    """What a figure needs is missing; the message names the cure."""


def slug(name: str) -> str:
    """A name as part of a file name: lower-case ASCII; a changed name gets a short hash, so that names stay distinct."""
    readable = re.sub(r"[^a-z0-9_]+", "-", name.lower())[:_LONGEST_SLUG].strip("-_")
    if readable == name:
        return readable
    return "-".join(filter(None, [readable, _digest(name)]))


def file_stem(kind: str, *names: str, settings: Sequence[str] = (), distinction: str = "") -> str:
    """The name of a figure's files without their ending: `curves-digits-simple_cnn-scratch-learning_rate-0.01-aac72af9`.

    Args:
        kind: Of the figure.
        names: Of what it shows.
        settings: Those that tell it from others of these names, in words.
        distinction: The end of the name.
    """
    return "-".join(filter(None, [kind, *map(slug, names), _settings_slug(settings), distinction]))


def _settings_slug(settings: Sequence[str]) -> str:
    """Settings as part of a file name; no two texts give one, as with `slug`, but a point within a number stays."""
    whole = "-".join(settings).lower()
    readable = re.sub(r"[^a-z0-9_.]+|(?<!\d)\.|\.(?!\d)", "-", whole)
    short = readable[:_LONGEST_SETTINGS].strip("-_.")
    # what only lacks its spaces needs no hash
    is_plain = short == re.sub(r" +", "-", "-".join(settings))
    return short if is_plain else "-".join(filter(None, [short, _digest("-".join(settings))]))


def _digest(name: str) -> str:
    return sha256_of(name.encode("utf-8", "surrogatepass"))[:6]


@styled
def encode(figure: Figure, file_format: str) -> bytes:
    """The figure in one of the formats of `METADATA`; text in an SVG stays text."""
    buffer = io.BytesIO()
    # `savefig` draws everything once more beforehand, for layouts; these figures are laid out
    # Any: the stubs of matplotlib leave its canvases untyped
    canvas: Any = (FigureCanvasAgg if file_format == "png" else FigureCanvasSVG)(figure)
    (canvas.print_png if file_format == "png" else canvas.print_svg)(buffer, metadata=METADATA[file_format])
    figure.set_dpi(DOTS_PER_INCH)  # SVG is drawn at 72
    FigureCanvasAgg(figure)
    return buffer.getvalue() if file_format == "png" else unescaped(buffer.getvalue().decode()).encode()


def save(figure: Figure, directory: Path, name: str, title: str) -> list[Path]:
    """Write `NAME.png` and `NAME.svg` into a folder, replacing files of these names; returns both paths.

    The SVG has the title and what the figure shows as its `title` and `desc`.

    Raises:
        StorageError: The disk is full, or writing is not allowed.
    """
    written = []
    for file_format in METADATA:
        path = directory / f"{name}.{file_format}"
        try:
            drawn = encode(figure, file_format)
            write_whole(path, drawn if file_format == "png" else _described(drawn, name, title, alternative_of(figure)))
        except OSError as error:
            raise StorageError(
                f"cannot write the figure {path}: {error.strerror or error}; give another folder"
            ) from error
        written.append(path)
    return written


def _described(drawing: bytes, name: str, title: str, description: str) -> bytes:
    """An SVG that tells what it shows to who cannot see it; its ids begin with its name, so that pages may hold several."""
    ids = {part: f"{name}--{part}" for part in ("title", "desc")}
    texts = {"title": plain(title), "desc": plain(description)}
    words = "".join(f"<{part} id={quoteattr(ids[part])}>{escape(text)}</{part}>" for part, text in texts.items())
    labelled = f'<svg role="img" aria-labelledby={quoteattr(" ".join(ids.values()))} '
    before, opening, rest = drawing.decode().partition("<svg ")
    start, end, body = rest.partition(">")
    assert opening
    return f"{before}{labelled}{start}{end}{words}{body}".encode()


def make_folder(directory: Path, option: str, image_folders: Iterable[str | None] = ()) -> None:
    """Make the folder that figures go to, with its parents, where it is missing.

    Args:
        directory: The folder.
        option: The option that named it, for messages.
        image_folders: Where the datasets of what is drawn lie, if users brought them: figures must not become images.

    Raises:
        UserError: There is a file of that name, or a folder of images.
        StorageError: It cannot be made.
    """
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{option} {directory}: expected a folder for figures, found a file; name another one")
    around = [Path(place) for place in image_folders if place and Path(place) in directory.resolve().parents]
    if around and directory.exists() and not is_own_folder(directory):
        raise UserError(
            f"{option} {directory}: expected a folder for figures, found one among the images of {around[0]}, where "
            "figures would be taken for images; name a new folder"
        )
    try:
        make_own_folder(directory)
    except OSError as error:
        raise StorageError(f"{option} {directory}: cannot be made: {error.strerror}; name another folder") from error
