r"""Text that came from outside (names, labels, tracebacks) made harmless before any format's own escaping.

Line breaks and tabs become spaces; control characters (C0, C1, ESC) and halves of surrogate pairs go; characters that
change the direction of text or cannot be seen at all are shown as `\u202e`, so that nobody is misled by them.
"""

from __future__ import annotations

import re

_SPACES = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x9f]")
# joiners (200C, 200D) stay: scripts and emoji need them
_MISLEADING = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\ufff0-\uffff"
    r"\ud800-\udfff\U000e0000-\U000e0fff]"
)
_ASCII = {
    "\u00b1": "+/-",  # plus or minus
    "\u00d7": "x",  # times
    "\u2013": "-",  # en dash
    "\u2014": "-",  # em dash
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2026": "...",
    "\u2192": "->",
    "\u2264": "<=",
    "\u2265": ">=",
}


def plain(text: str) -> str:
    """The text on one line, without anything that steers a terminal or deceives a reader."""
    one_line = _SPACES.sub(" ", text)
    return _MISLEADING.sub(lambda found: _escape(found.group()), _CONTROLS.sub("", one_line))


def encodable(text: str, encoding: str) -> str:
    r"""The text with characters that an encoding lacks replaced: `±` by `+/-`, others by `\u…`."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_replacement(character, encoding) for character in text)
    return text


def can_encode(text: str, encoding: str) -> bool:
    return encodable(text, encoding) == text


def _replacement(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _ASCII.get(character) or _escape(character)
    return character


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
