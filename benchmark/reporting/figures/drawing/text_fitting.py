"""Text in pictures: names from outside made harmless and legible, measured, wrapped and cut to the room there is."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, cast

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

from benchmark.reporting.harmless_text import plain

MAIN_FAMILY = "DejaVu Sans"
"""Comes with matplotlib, so that a picture looks alike on every machine."""

_OTHER_FAMILIES = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "Hiragino Sans", "PingFang SC",
    "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS", "Noto Sans", "Noto Emoji",
)  # fmt: skip
_DOTS_PER_INCH = 160
"""At which text is measured; hinting makes it wider at fewer."""


@cache
def families() -> list[str]:
    """The main font, and of those that know other scripts the ones that this machine has."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return [MAIN_FAMILY, *(name for name in _OTHER_FAMILIES if name in installed)]


@cache
def _known_characters() -> frozenset[int]:
    paths = [font_manager.findfont(FontProperties(family=[name])) for name in families()]
    return frozenset(code for path in paths for code in FT2Font(path).get_charmap())


def legible(text: str) -> str:
    r"""The text on one line without control characters; what no font here can draw is written as `\u732b`."""
    known = _known_characters()
    return "".join(
        character if ord(character) in known else f"\\u{ord(character):04x}" for character in plain(text).strip()
    )


@lru_cache(maxsize=20_000)
def width(text: str, points: float, *, bold: bool = False) -> float:
    """How wide a text is, in inches."""
    font = FontProperties(family=families(), size=points, weight="bold" if bold else "normal")
    with mpl.rc_context({"text.usetex": False}):
        measured: tuple[float, float, float] = _renderer().get_text_width_height_descent(text, font, ismath=False)
    return measured[0] / _DOTS_PER_INCH


@cache
def _renderer() -> Any:
    # Any: matplotlib's stubs leave its renderers untyped
    return cast("Any", RendererAgg)(8, 8, _DOTS_PER_INCH)


def cut(text: str, points: float, inches: float, *, bold: bool = False) -> str:
    """The text, made legible, as far as it fits into so many inches; what is cut off leaves an `…`."""
    text = legible(text)
    if width(text, points, bold=bold) <= inches:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = width(text[:middle].rstrip() + "…", points, bold=bold) <= inches
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "…"


def cut_apart(texts: list[str], points: float, inches: float) -> list[str]:
    """Each text cut to the room; those that would come out alike keep their number, so that they stay apart."""
    short = [cut(text, points, inches) for text in texts]
    if len(set(short)) == len(short):
        return short
    twice = {text for text in short if short.count(text) > 1}
    return [
        f"{number} {cut(text, points, max(inches - width(f'{number} ', points), 0))}" if found in twice else found
        for number, (text, found) in enumerate(zip(texts, short, strict=True))
    ]


def wrapped(text: str, points: float, inches: float, *, most_lines: int, bold: bool = False) -> list[str]:
    """The text in lines that fit, broken between words where that is possible, at most so many; the last one is cut."""
    lines: list[str] = []
    rest = legible(text)
    while rest and len(lines) < most_lines - 1:
        line = _first_line(rest, points, inches, bold=bold)
        lines.append(line.rstrip())
        rest = rest[len(line) :].lstrip()
    return [*lines, cut(rest, points, inches, bold=bold)] if rest else lines


def _first_line(text: str, points: float, inches: float, *, bold: bool) -> str:
    if width(text, points, bold=bold) <= inches:
        return text
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = width(text[:middle].rstrip(), points, bold=bold) <= inches
        low, high = (middle, high) if fits else (low, middle - 1)
    space = text.rfind(" ", 0, low + 1)
    return text[: space + 1] if space > low // 2 else text[:low]
