"""Collects all mistakes in a matrix, worded alike: where, what was expected, what was found, the nearest valid name."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from benchmark.errors import Problem
from benchmark.text import quotable

KeyPath: TypeAlias = tuple[str | int, ...]
"""The position of a value in the document: keys, and indices (from 0) in arrays."""

NAME_LIMIT = 200
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
_NOTHING = object()


class _Invalid:
    """The result of reading an invalid value."""


INVALID = _Invalid()
_SHOWN_CHARACTERS = 80


class Problems:
    """The mistakes found so far.

    Attributes:
        own_metrics: Names of the metrics that plug-ins define, which `monitor` may name beside those of bench; None where
            the syntax of a file does not show all of them.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[KeyPath, str, str, str], None] = {}
        self.own_metrics: frozenset[str] | None = frozenset()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, path: KeyPath, expected: str, found: Any = _NOTHING, hint: str = "") -> _Invalid:
        """Adds a mistake, unless it was added before; returns `INVALID`, which stands for the value.

        `found` is the value from TOML, left out when a key is missing.
        """
        shown = "" if found is _NOTHING else shown_value(found)
        self._entries[path, expected, shown, hint] = None
        return INVALID

    def located(self, lines: Mapping[KeyPath, int]) -> tuple[Problem, ...]:
        """Returns all mistakes with their lines, in the order of the file."""
        problems = [
            Problem(path_text(path), expected, shown, line=_line(path, lines), hint=hint)
            for path, expected, shown, hint in self._entries
        ]
        return tuple(sorted(problems, key=lambda problem: problem.line or 0))


def _line(path: KeyPath, lines: Mapping[KeyPath, int]) -> int | None:
    """The line of the value, or of the nearest table or array around it that is in the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def path_text(path: KeyPath) -> str:
    """Writes a path like `strategy.two_phase.stage[1].train`; keys that are not bare are quoted and escaped."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{_key_text(part)}" if text else _key_text(part)
    return text


def _key_text(key: str) -> str:
    # an option such as `--set epochs` is shown as it was typed
    return key if BARE_KEY.fullmatch(key) else quotable(key) if key.startswith("--") else quoted(key)


def quoted(text: str) -> str:
    """Puts the text in double quotes, safe to print anywhere."""
    return quotable(json.dumps(text, ensure_ascii=False))


def shown_value(value: Any) -> str:
    """Writes a value as TOML, cut to a readable length."""
    text = toml_text(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def toml_text(value: Any) -> str:
    """Writes a value as TOML in one line; of long lists and tables the first twenty items."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value[: _SHOWN_CHARACTERS + 1])
    if isinstance(value, int):
        # str() of an integer of thousands of digits raises ValueError
        # (https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation)
        return str(value) if value.bit_length() <= 256 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_text(item) for item in value[:20]) + "]"
    if isinstance(value, Mapping):
        items = list(value.items())[:20]
        return "{" + ", ".join(f"{_key_text(str(key))} = {toml_text(item)}" for key, item in items) + "}"
    return quotable(str(value))


def nearest_hint(name: Any, known: Iterable[str], listing: str = "") -> str:
    """Suggests the nearest name, like `did you mean 'resnet18'?`, and says where all names are listed.

    Args:
        name: The mistyped name; a value that is no text has no nearest name.
        known: The valid names.
        listing: A command that lists them; without one, and without a near name, the hint lists them itself.
    """
    names = sorted(set(known))
    close = close_hint(name, names)
    if listing:
        return "; ".join(filter(None, [close, f"`{listing}` shows all"]))
    return close or (f"known: {', '.join(names)}" if names else "")


def close_hint(name: Any, known: Iterable[str]) -> str:
    """Suggests the nearest name alone; nothing where no name is near."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name[:NAME_LIMIT], names, n=1, cutoff=0.5) if isinstance(name, str) else []
    return f"did you mean {close[0]!r}?" if close else ""


def name_problem(name: str) -> str:
    """Says what is expected of a name where this one is invalid, else nothing.

    Names are shown, stored and compared, never used as paths.
    """
    if not name.strip():
        return "a name that is not empty"
    if len(name) > NAME_LIMIT:
        return f"a name of at most {NAME_LIMIT} characters"
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in name):
        return "a name without control characters, line breaks or lone surrogates"
    return ""


def normal_name(name: str) -> str:
    """Returns the name in Unicode's composed form (NFC), so that two encodings of é are the same name."""
    return unicodedata.normalize("NFC", name)
