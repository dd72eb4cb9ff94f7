"""How a matrix writes what a user's own function or program is given: arguments, the keys of a command, and the command."""

from __future__ import annotations

import keyword
import math
import re
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.problems import INVALID, KeyPath, Problems
from benchmark.matrix.values import LARGEST_INTEGER, TEXT_LIMIT, Checked, is_integer, is_text


@dataclass(frozen=True)
class Parameter:
    """A keyword argument of a user's own function: a plain value, or a list of these, in lists up to three deep."""

    name: str
    expected: str = "a number, a text, true, false, or a list of these"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if not self.name.isidentifier() or keyword.iskeyword(self.name) or self.name in {"input_shape", "num_classes"}:
            return problems.add(path, "the name of a keyword argument other than input_shape and num_classes")
        read = _argument(value, 3)
        if read is INVALID:
            problems.add(path, self.expected, value)
        return read


def _argument(value: Any, depth: int) -> Any:
    if isinstance(value, list) and depth:
        items = tuple(_argument(item, depth - 1) for item in value)
        return INVALID if INVALID in items else items
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else INVALID
    fits = isinstance(value, str | bool) or (is_integer(value) and abs(value) <= LARGEST_INTEGER)
    return value if fits else INVALID


@dataclass(frozen=True)
class CommandKey:
    """A key of a model with a command: a plain value as `Parameter` takes it, for the braces of the command."""

    name: str
    expected: str = "a number, a text, true, false, or a list of these"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if re.fullmatch(r"[\w-]+", self.name) is None:
            return problems.add(path, "a key of letters, digits, _ and -, which braces in the command can name")
        read = _argument(value, 3)
        if read is INVALID or "\0" in str(value):
            problems.add(path, self.expected, value)
        return read


def _words(value: Any) -> Any:
    texts = value if isinstance(value, list) else []
    fits = texts and all(is_text(text) and "\0" not in text for text in texts) and texts[0]
    return tuple(texts) if fits and len(texts) <= 1000 else INVALID


COMMAND = Checked(
    'a list of texts, program and arguments, such as ["python", "train.py"]',
    _words,
    schema={
        "type": "array",
        "items": {"type": "string", "maxLength": TEXT_LIMIT},
        "prefixItems": [{"type": "string", "minLength": 1}],
        "minItems": 1,
        "maxItems": 1000,
    },
)
