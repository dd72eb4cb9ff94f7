"""Text as LaTeX prints it with any engine, font and input encoding: ASCII source, and how wide it comes out."""

from __future__ import annotations

import itertools
import re
import unicodedata
from functools import lru_cache

from benchmark.text import ASCII_FORMS, encodable, plain

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", "`": r"\textquoteleft{}", "\u00b1": r"$\pm$", "\u00d7": r"$\times$",
    "\u2192": r"$\rightarrow$", "\u2190": r"$\leftarrow$", "\u2264": r"$\leq$", "\u2265": r"$\geq$", "\u2260": r"$\neq$",
    "\u2212": "$-$", "\u00b7": r"$\cdot$", "\u00b5": r"$\mu$", "\u221e": r"$\infty$", "\u2248": r"$\approx$",
    "\u00b2": "$^2$", "\u00b3": "$^3$", "\u00b0": r"$^\circ$", "\u2026": r"\dots{}", "\u2013": "--", "\u2014": "---",
    "\u2018": r"\textquoteleft{}", "\u2019": r"\textquoteright{}", "\u201c": r"\textquotedblleft{}",
    "\u201d": r"\textquotedblright{}", "\u00df": r"\ss{}", "\u00e6": r"\ae{}",
    "\u00c6": r"\AE{}", "\u0153": r"\oe{}", "\u0152": r"\OE{}", "\u00f8": r"\o{}", "\u00d8": r"\O{}",
    "\u0142": r"\l{}", "\u0141": r"\L{}", "\u0131": r"\i{}", "\u00a7": r"\S{}", "\u00b6": r"\P{}", "\u00a9": r"\copyright{}",
    "\u00a3": r"\pounds{}", "\u00a1": "!{`}", "\u00bf": "?{`}",
}  # fmt: skip
"""What every font encoding of LaTeX has; braces keep the next character from joining in a ligature."""

_ACCENTS = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0306\u0304\u0307\u030b\u0327\u0323",
        ("`", "'", "^", "~", '"', "r", "v", "u", "=", ".", "H", "c", "d"),
        strict=True,
    )
)
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
}  # fmt: skip
_LIKE_LATIN = dict(
    zip(
        (
            "omicron",
            "Alpha",
            "Beta",
            "Epsilon",
            "Zeta",
            "Eta",
            "Iota",
            "Kappa",
            "Mu",
            "Nu",
            "Omicron",
            "Rho",
            "Tau",
            "Chi",
        ),
        "oABEZHIKMNOPTX",
        strict=True,
    )
)
_WIDTHS = {
    character: width
    for width, characters in {
        0.28: "!',.:;[]`il|", 0.31: "fj", 0.36: "-I_ ", 0.39: "()rt", 0.4: "s", 0.45: "cez", 0.5: '"$*/0123456789\\^ago{}~',
        0.53: "kqvxyJ", 0.56: "Sbdhnpu?", 0.66: "ZLF", 0.75: "EPBCTwRAHNUVXY", 0.85: "D&+=@KOQG<>#%m", 1.04: "MW",
    }.items()
    for character in characters
}  # fmt: skip
"""Widths of the letters of Computer Modern at 8 points in em, rounded up."""

_OTHER_WIDTH = 0.85
NARROWEST = 9.0
"""Width of the narrowest columns in which texts wrap, in em; wider words may be broken there."""
_LONGEST_WORD = 120
_LONGEST_CELL = 200
_BREAK = "\x1f"
"""`plain` has left none of these: here it stands for a place where a line may break."""


def printed(text: str) -> str:
    r"""The text on one line, with what LaTeX has no letter for as `\u65e5`, and endless words cut off."""
    whole = "".join(map(_printed, unicodedata.normalize("NFC", plain(text))))
    return re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", lambda word: word.group()[: _LONGEST_WORD - 1] + "\u2026", whole)


def short(text: str) -> str:
    """The text as `printed` has it, cut off where no cell is that long."""
    whole = printed(text)
    return whole if len(whole) <= _LONGEST_CELL else whole[: _LONGEST_CELL - 1] + "\u2026"


def escape(text: str, *, wraps: bool = False) -> str:
    """Any text as LaTeX source in ASCII that prints it literally.

    Args:
        text: What to print.
        wraps: The text stands where lines break, so that long words may be broken too.
    """
    text = printed(text)
    if wraps:
        text = re.sub(r"\S+", lambda word: _breakable(word.group()), text)
    opened = re.sub(r'(?<![^\s(=])"(?=\S)', "\u201c", text).replace('"', "\u201d")
    source = "".join(map(_source, opened))
    # no two of these join in a dash or a quotation mark
    return re.sub(r"(?<=([-',]))(?=\1)", "{}", source).replace(_BREAK, r"\allowbreak{}")


@lru_cache(maxsize=1 << 14)
def width_of(text: str) -> float:
    """How wide a printed text is, in em."""
    return sum(_WIDTHS.get(character) or _width(character) for character in text)


def _printed(character: str) -> str:
    if character.isascii() or _source(character):
        return character
    return " " if unicodedata.category(character) == "Zs" else encodable(character, "ascii")


def _source(character: str) -> str:
    """LaTeX of a character; empty where it has none."""
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character.isascii() or character == _BREAK:
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        # an accent takes the place of the dot
        letter = rf"\{base}" if base in "ij" else base
        return rf"\{_ACCENTS[marks[0]]}{{{letter}}}"
    script, _, name = unicodedata.name(character, "").rpartition(" LETTER ")
    if script in {"GREEK SMALL", "GREEK CAPITAL"} and name.lower().replace("lamda", "lambda") in _GREEK:
        letter = name.lower().replace("lamda", "lambda")
        letter = letter.capitalize() if script.endswith("CAPITAL") else letter
        return _LIKE_LATIN.get(letter) or rf"$\{letter}$"
    return ""


def _width(character: str) -> float:
    base = unicodedata.normalize("NFD", character)[0]
    return _WIDTHS.get(base) or max((_width(each) for each in ASCII_FORMS.get(base, "")), default=_OTHER_WIDTH)


def _breakable(word: str) -> str:
    """A word that is wider than a column with places for breaks behind signs, and within long runs of other characters."""
    if width_of(word) <= NARROWEST:
        return word
    parts = re.findall(r"[^-_/.,=:+]+[-_/.,=:+]*|[-_/.,=:+]+", word)
    pieces = [re.findall(".{1,6}", part) if width_of(part) > NARROWEST else [part] for part in parts]
    return _BREAK.join(itertools.chain.from_iterable(pieces))
