"""Types of values in a matrix: each converts a TOML value to a hashable normal form, or adds a `Problem`.

Normal forms compare and hash by meaning: whole numbers stay integers, fractions become floats, tables become sorted
pairs or the frozen values of `cell.py`. A boolean is never taken for a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmark.catalog.backends import BACKENDS, runs_commands
from benchmark.catalog.channels import MOST_CHANNELS, color_named
from benchmark.matrix.cell import Parameters
from benchmark.matrix.problems import INVALID, KeyPath, Problems, close_hint, name_problem, nearest_hint, normal_name

LARGEST_INTEGER = 2**63 - 1
TEXT_LIMIT = 4096
"""Characters of a text that is no name, such as one with a path in it."""


class Kind(Protocol):
    """Reads values of one type."""

    @property
    def expected(self) -> str:
        """Describes the allowed values, for messages."""

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        """Returns the normal form of `value`, or `INVALID` after adding a problem."""


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Integer:
    """A whole number in a closed range, or `word`, which is read as `meaning`."""

    minimum: int
    maximum: int = LARGEST_INTEGER
    word: str = ""
    meaning: str | None = None

    @property
    def expected(self) -> str:
        limit = f"≥ {self.minimum}" if self.maximum == LARGEST_INTEGER else f"from {self.minimum} to {self.maximum}"
        return f"an integer {limit}" + (f', or "{self.word}"' if self.word else "")

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if self.word and value == self.word:
            return self.meaning
        if is_integer(value) and self.minimum <= value <= self.maximum:
            return value
        return problems.add(path, self.expected, value, number_hint(value))


@dataclass(frozen=True)
class Number:
    """A finite number; `above` excludes the minimum itself, `below` the maximum."""

    minimum: float
    maximum: float = math.inf
    above: bool = False
    below: bool = False

    @property
    def expected(self) -> str:
        low = f"{'>' if self.above else '≥'} {self.minimum:g}"
        high = f" and {'<' if self.below else '≤'} {self.maximum:g}" if self.maximum < math.inf else ""
        return f"a number {low}{high}"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        number = _as_float(value)
        if number is not None and self._allows(number):
            return number + 0.0  # -0.0 becomes 0.0
        return problems.add(path, self.expected, value, number_hint(value))

    def _allows(self, number: float) -> bool:
        low = number > self.minimum if self.above else number >= self.minimum
        return low and (number < self.maximum if self.below else number <= self.maximum) and math.isfinite(number)


@dataclass(frozen=True)
class OrFalse:
    """Values of one type, or false for none, which is None."""

    kind: Kind

    @property
    def expected(self) -> str:
        return f"false, or {self.kind.expected}"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        normal = None if value is False else self.kind.read(value, path, Problems())
        return problems.add(path, self.expected, value, number_hint(value)) if normal is INVALID else normal


def _as_float(value: Any) -> float | None:
    if isinstance(value, float):
        return value
    try:
        return float(value) if is_integer(value) else None
    except OverflowError:
        return None


def number_hint(value: Any) -> str:
    """The cure of a number that was written as a text."""
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9.][0-9_.eE+-]*\s*", value):
        # of the command line, where there are no quotes, a text is what TOML takes for none
        bare = value.strip().lstrip("+-")
        return f"write numbers {'with digits before and after the point' if '.' in (bare[0], bare[-1]) else 'without quotes'}"
    return ""


@dataclass(frozen=True)
class Checked:
    """Values that `convert` brings into their normal form, `INVALID` for any other; `schema` is their JSON Schema."""

    expected: str
    convert: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        normal = self.convert(value)
        return problems.add(path, self.expected, value) if normal is INVALID else normal


BOOLEAN = Checked(
    "true or false", lambda value: value if isinstance(value, bool) else INVALID, schema={"type": "boolean"}
)


def pattern(regex: str, expected: str) -> Checked:
    """A text that matches a regular expression."""
    return Checked(
        expected,
        lambda value: value if is_text(value) and re.fullmatch(regex, value) else INVALID,
        schema={"type": "string", "pattern": f"^({regex})$"},
    )


def printable_text(expected: str) -> Checked:
    """A text that is kept as it is, such as one with a path in it."""
    return Checked(
        expected,
        lambda value: value if is_text(value) and value and value.isprintable() else INVALID,
        schema={"type": "string", "minLength": 1, "maxLength": TEXT_LIMIT},
    )


def is_text(value: Any) -> bool:
    """Whether a value is a text of at most `TEXT_LIMIT` characters."""
    return isinstance(value, str) and len(value) <= TEXT_LIMIT


def _color(value: Any) -> Any:
    color = {"white": "#ffffff", "black": "#000000"}.get(value, value.lower()) if isinstance(value, str) else ""
    if re.fullmatch("#[0-9a-f]{6}", color):
        return None if color == "#ffffff" else color
    return INVALID


COLOR = Checked(
    '"white", "black", or a colour such as "#e0e0e0"',
    _color,
    schema={"anyOf": [{"enum": ["white", "black"]}, {"type": "string", "pattern": "^#[0-9A-Fa-f]{6}$"}]},
)
"""White, which is the default everywhere, is None."""


@dataclass(frozen=True)
class Choice:
    """One word of a closed list."""

    options: tuple[str, ...]

    @property
    def expected(self) -> str:
        return " or ".join(filter(None, [", ".join(self.options[:-1]), self.options[-1]]))

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if isinstance(value, str) and value in self.options:
            return value
        return problems.add(path, self.expected, value, close_hint(value, self.options))


@dataclass(frozen=True)
class Channels(Choice):
    """`grey`, `rgb`, or a number of channels, which is kept as a word of `catalog/channels.py`."""

    options: tuple[str, ...] = ("grey", "rgb")

    @property
    def expected(self) -> str:
        return f"{super().expected}, or a number of channels from 1 to {MOST_CHANNELS}"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        return color_named(value) or super().read(value, path, problems)


@dataclass(frozen=True)
class BackendName(Choice):
    """The name of a registered backend that a matrix may choose; hints offer only those that train networks."""

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        is_known = isinstance(value, str) and value in BACKENDS and not runs_commands(value)
        return value if is_known else super().read(value, path, problems)


@dataclass(frozen=True)
class WordList:
    """false, one word of a closed list, or several in a list; kept in the order of `options`, without those in `implied`."""

    options: tuple[str, ...]
    implied: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        return f"false, {Choice((*self.options, *self.implied)).expected}, or a list of these"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if value is False:
            return ()
        word = Choice((*self.options, *self.implied))
        read = [word.read(item, place, problems) for item, place in items_of(value, path)]
        return INVALID if INVALID in read else tuple(option for option in self.options if option in read)


@dataclass(frozen=True)
class Name:
    """A text that is shown, stored and compared, never used as a path."""

    expected: str = "a text"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        reason = name_problem(value) if isinstance(value, str) else self.expected
        if not reason:
            return normal_name(value)
        return problems.add(path, reason, value)


@dataclass(frozen=True)
class ListOf:
    """A list of values of one type, with at least one."""

    item: Kind

    @property
    def expected(self) -> str:
        return f"a list, each {self.item.expected}"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if not isinstance(value, list) or not value:
            return problems.add(path, self.expected, value)
        items = tuple(self.item.read(item, (*path, index), problems) for index, item in enumerate(value))
        return INVALID if INVALID in items else items


def read_fields(
    fields: Mapping[str, Kind], table: Mapping[str, Any], path: KeyPath, problems: Problems
) -> dict[str, Any]:
    """Reads a table; returns its valid fields, and adds a problem for every unknown or invalid one."""
    values = {}
    for key, value in table.items():
        kind = fields.get(key)
        if kind is None:
            problems.add((*path, key), "a known key", hint=nearest_hint(key, fields))
            continue
        normal = kind.read(value, (*path, key), problems)
        if normal is not INVALID:
            values[key] = normal
    return values


def read_table(
    value: Any,
    path: KeyPath,
    problems: Problems,
    expected: str,
    fields: Mapping[str, Kind],
    needed: Sequence[str] = (),
) -> Any:
    """Reads a table that must be valid as a whole, with all fields that are `needed`; else returns `INVALID`."""
    if not isinstance(value, dict):
        return problems.add(path, expected, value)
    before = len(problems)
    read = read_fields(fields, value, path, problems)
    for key in needed:
        if key not in value:
            problems.add((*path, key), f"{fields[key].expected}; it is missing")
    return INVALID if len(problems) > before else read


@dataclass(frozen=True)
class NameOrTable:
    """A name of a closed list, or a table of that `kind` and its parameters, of which those at their defaults are left out.

    Attributes:
        parameters: By name, the values and the default of each parameter.
        needed: Parameters that must be written where a kind has them.
    """

    parameters: Mapping[str, Mapping[str, tuple[Kind, Any]]]
    needed: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        return f"{self._names.expected}, or a table of kind and its parameters"

    @property
    def _names(self) -> Choice:
        return Choice(tuple(self.parameters))

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        table = value if isinstance(value, dict) else {"kind": value}
        if "kind" not in table:
            return problems.add((*path, "kind"), f"{self._names.expected}; it is missing")
        kind = self._names.read(table.get("kind"), (*path, "kind") if isinstance(value, dict) else path, problems)
        if kind is INVALID:
            return INVALID
        fields = self.parameters[kind]
        kinds = {"kind": self._names, **{name: field for name, (field, _) in fields.items()}}
        read = read_table(table, path, problems, self.expected, kinds, [name for name in self.needed if name in fields])
        if read is INVALID:
            return INVALID
        own = {name: value for name, value in read.items() if name == "kind" or value != fields[name][1]}
        return tuple(sorted(own.items())) if len(own) > 1 else kind

    def all_parameters(self, value: str | Parameters) -> tuple[str, dict[str, Any]]:
        """The name in a normal form, and all parameters that it has."""
        written = {"kind": value} if isinstance(value, str) else dict(value)
        kind = written.pop("kind")
        return kind, {**{name: default for name, (_, default) in self.parameters[kind].items()}, **written}


def items_of(value: Any, path: KeyPath) -> list[tuple[Any, KeyPath]]:
    """The items of a list, or any other value as the only item, each with its path."""
    return (
        [(item, (*path, number)) for number, item in enumerate(value)] if isinstance(value, list) else [(value, path)]
    )
