"""What the standard library says of a mistake in TOML, in plain words and with its cure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TEXTS_IN_QUOTES = 'texts stand in quotes: name = "digits"'
_ESCAPES = "write \\\\ for a backslash, or put the text in single quotes"

_WORDS: Mapping[str, tuple[str, str]] = {
    r"Invalid value": ("a value", _TEXTS_IN_QUOTES),
    r"Invalid statement": ("key = value, or a [table]", ""),
    r"Expected newline or end of document after a statement": (
        "the end of the line",
        f"each key stands on a line of its own, and {_TEXTS_IN_QUOTES}",
    ),
    r"Expected '=' after a key in a key/value pair": ("= after the key", "write key = value"),
    r"Invalid initial character for a key part": (
        "a key",
        "keys are made of letters, digits, _ and -; put others in quotes",
    ),
    r"Expected '\]\]?' at the end of an? (table|array) declaration": (
        "a closing bracket after the name of the table",
        "",
    ),
    r"Unclosed array": ("a comma or a closing ]", "the items of a list are separated by commas"),
    r"Unclosed inline table": ("a comma or a closing }", "the keys of a table in one line are separated by commas"),
    r"Duplicate inline table key .*": ("each key once", "take one of the two out"),
    r"Cannot overwrite a value": ("each key once", "it has a value already: take one of the two out"),
    r"Cannot declare .* twice": (
        "each table once",
        "write its keys below the first of the two; [[…]] begins another row",
    ),
    r"Cannot (mutate|redefine) .*": (
        "a table that is not closed yet",
        "it was written in one line above: add the key there",
    ),
    r"Unterminated string": ("a closing quote", ""),
    r"Expected ['\"]{5}": ("closing quotes", "a text in three quotes ends with three"),
    r"Expected [\"']{3}": ("a closing quote", ""),
    r"Illegal character '(\\n|\\r)'": ("a closing quote on the same line", ""),
    r"Found invalid character .*": ("no control characters", "remove it"),
    r"Illegal character .*": ("no control characters", "write them as escapes, such as \\t"),
    r"Unescaped '\\' in a string": ("a known escape", _ESCAPES),
    r"Invalid hex value": ("hexadecimal digits", _ESCAPES),
    r"Invalid date or datetime": ("a date that exists", "put it in quotes if it is a text"),
}

_VALUES = {
    r"[+-]?\.\d": "a number has a digit before its point, such as 0.5",
    r"(True|False)\b": "truth values are written true and false",
    r"(None|null|nil)\b": "leave the key out where it has no value",
    r"\(": "lists stand in brackets: [1, 2]",
}
"""By how a value begins that is none, the cure."""


def in_words(message: str, value: str = "") -> tuple[str, str]:
    """What is expected, and the cure, which may be empty; `value` is the line from the place of the mistake on."""
    if message == "Invalid value":
        for pattern, cure in _VALUES.items():
            if re.match(pattern, value):
                return "a value", cure
    if value.startswith(".") and message.startswith(("Expected newline", "Unclosed")):
        return "a value", "a number has a digit after its point, such as 1.0"
    for pattern, words in _WORDS.items():
        if re.fullmatch(pattern, message):
            return words
    return "TOML", ""
