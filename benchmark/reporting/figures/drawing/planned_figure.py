"""A figure that is planned but not drawn yet, the error when it cannot be drawn, and the names of its files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from benchmark.files import sha256_of

_LONGEST_SLUG = 40


@dataclass(frozen=True, slots=True)
class PlannedFigure:
    """A figure that a report wants.

    Attributes:
        kind: `samples`, `labels`, `curves`, `confusion`, `mistakes`, `time`, `transfer` or `explanation`.
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


class UndrawableError(Exception):
    """What a figure needs is missing; the message names the cure."""


def slug(name: str) -> str:
    """A name as part of a file name: lower-case ASCII; a changed name gets a short hash, so that names stay distinct."""
    readable = re.sub(r"[^a-z0-9_]+", "-", name.lower())[:_LONGEST_SLUG].strip("-_")
    if readable == name:
        return readable
    digest = sha256_of(name.encode("utf-8", "surrogatepass"))[:6]
    return "-".join(filter(None, [readable, digest]))


def file_stem(kind: str, *names: str, distinction: str = "") -> str:
    """The name of a figure's files without their ending: `curves-digits-simple_cnn-scratch-aac72af9`."""
    return "-".join(filter(None, [kind, *map(slug, names), distinction]))
