"""Fits text into figures: makes it harmless and legible, measures, wraps and shortens it."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache, lru_cache
from typing import Any, cast

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

from benchmark.text import plain

MAIN_FAMILY = "DejaVu Sans"
"""Comes with matplotlib, so that a figure looks alike on every machine."""

_OTHER_FAMILIES = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "Hiragino Sans", "PingFang SC",
    "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS", "Noto Sans", "Noto Emoji",
)  # fmt: skip
_ESCAPED = "\u2063"
"""Stands around each escape of `legible`: it is drawn as nothing, and `plain` leaves none in a text."""
_DOTS_PER_INCH = 160
"""The resolution at which text is measured; hinting makes text wider at lower ones."""


@cache
def font_families() -> list[str]:
    """The main font, then those installed here that cover other scripts."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return [MAIN_FAMILY, *(name for name in _OTHER_FAMILIES if name in installed)]


@cache
def _known_characters() -> frozenset[int]:
    paths = [font_manager.findfont(FontProperties(family=[name])) for name in font_families()]
    return frozenset(code for path in paths for code in FT2Font(path).get_charmap())


def legible(text: str) -> str:
    r"""The text on one line without control characters; characters that no font has are drawn as `\u732b`."""
    known = _known_characters()
    return "".join(
        character if ord(character) in known else f"{_ESCAPED}\\u{ord(character):04x}{_ESCAPED}"
        for character in plain(text).strip()
    )


def is_drawable(text: str) -> bool:
    """Whether a font here has every character of a text."""
    return _ESCAPED not in legible(text)


def unescaped(markup: str) -> str:
    """The markup of a drawing in which text is text, with the characters that `legible` escaped.

    A reader's machine may have a font for them: the usual ones are named behind that of the drawing.
    """
    if _ESCAPED not in markup:
        return markup
    whole = re.sub(rf"{_ESCAPED}\\u([0-9a-f]+){_ESCAPED}", lambda escape: chr(int(escape[1], 16)), markup)
    others = ", ".join(f"'{name}'" for name in _OTHER_FAMILIES)
    return whole.replace(_ESCAPED, "").replace(f"'{MAIN_FAMILY}'", f"'{MAIN_FAMILY}', {others}")


@lru_cache(maxsize=20_000)
def width(text: str, points: float, *, bold: bool = False) -> float:
    """The width of a text of a size in points, in inches."""
    font = FontProperties(family=font_families(), size=points, weight="bold" if bold else "normal")
    with mpl.rc_context({"text.usetex": False}):
        measured: tuple[float, float, float] = _renderer().get_text_width_height_descent(text, font, ismath=False)
    return measured[0] / _DOTS_PER_INCH


@cache
def _renderer() -> Any:
    # Any: matplotlib's stubs leave its renderers untyped
    return cast("Any", RendererAgg)(8, 8, _DOTS_PER_INCH)


def cut(text: str, points: float, inches: float, *, bold: bool = False) -> str:
    """The text, made legible and shortened to a width in inches; an `…` ends a shortened text."""
    text = legible(text)
    if width(text, points, bold=bold) <= inches:
        return text
    return text[: _fitting(text, points, inches, "…", bold=bold)].rstrip() + "…"


def _fitting(text: str, points: float, inches: float, ending: str, *, bold: bool) -> int:
    """How many characters of a text fit into a width with an ending after them."""
    counts = range(1, len(text) + 1)
    return bisect_right(counts, inches, key=lambda count: width(text[:count].rstrip() + ending, points, bold=bold))


def cut_distinct(texts: list[str], points: float, inches: float) -> list[str]:
    """Each text shortened to a width in inches; texts that become equal get their number in front."""
    short = [cut(text, points, inches) for text in texts]
    if len(set(short)) == len(short):
        return short
    repeated = {text for text in short if short.count(text) > 1}
    return [
        f"{number} {cut(text, points, max(inches - width(f'{number} ', points), 0))}"
        if shorter in repeated
        else shorter
        for number, (text, shorter) in enumerate(zip(texts, short, strict=True))
    ]


def wrap(text: str, points: float, inches: float, *, most_lines: int, bold: bool = False) -> list[str]:
    """The text in at most `most_lines` lines of a width in inches, broken between words where possible; the last is cut."""
    lines: list[str] = []
    rest = legible(text)
    while rest and len(lines) < most_lines - 1:
        count = max(_fitting(rest, points, inches, "", bold=bold), 1)
        space = rest.rfind(" ", 0, count + 1)
        if count < len(rest) and space > count // 2:
            count = space
        lines.append(rest[:count].rstrip())
        rest = rest[count:].lstrip()
    return [*lines, cut(rest, points, inches, bold=bold)] if rest else lines
