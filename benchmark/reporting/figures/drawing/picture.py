"""What a picture is before it is drawn, and what stands in the place of one that cannot be drawn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

_LONGEST_SLUG = 40


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that can be drawn.

    Attributes:
        kind: `samples`, `labels`, `curves`, `confusion`, `mistakes`, `time`, `transfer` or `explanation`.
        name: Of its files, without an ending; safe on every file system.
        title: What it shows, in words.
        cells: Ids of the cells that it is about.
        draw: Makes the figure; may find out only then that it cannot (`UndrawableError`).
    """

    kind: str
    name: str
    title: str
    cells: tuple[str, ...]
    draw: Callable[[], Figure]


class UndrawableError(Exception):
    """What a picture needs is not there; the message names the cure."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A picture that was wanted and is not there."""

    kind: str
    title: str
    reason: str


def slug(name: str) -> str:
    """A name as part of a file name: lower-case ASCII; names that would come out alike differ in a short hash."""
    readable = re.sub(r"[^a-z0-9_]+", "-", name.lower())[:_LONGEST_SLUG].strip("-_")
    if readable == name:
        return readable
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return "-".join(filter(None, [readable, digest]))


def file_stem(kind: str, *names: str, distinction: str = "") -> str:
    """`curves-digits-simple_cnn-scratch-aac72af9`."""
    return "-".join(filter(None, [kind, *map(slug, names), distinction]))
