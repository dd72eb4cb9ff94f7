"""Reads the built-in definitions, once, in the same way as the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from benchmark.catalog.bundled_files import FAMILIES, definitions_text
from benchmark.errors import BenchError, MatrixError
from benchmark.matrix.problems import Problems
from benchmark.matrix.reading.definitions import Definition, read_definitions
from benchmark.matrix.reading.line_numbers import LineScanner
from benchmark.matrix.reading.toml import parse_toml


@cache
def builtin_definitions() -> Mapping[str, Sequence[Definition]]:
    """Returns all built-in definitions by family.

    Raises:
        BenchError: A file of the package has a mistake.
    """
    by_family = {}
    for family in FAMILIES:
        text = definitions_text(family)
        problems = Problems()
        definitions = read_definitions(parse_toml(text, f"built-in {family}"), problems, builtin=True)
        if problems:
            raise BenchError(str(MatrixError(f"built-in {family}", problems.located(LineScanner(text).scan().lines))))
        by_family[family] = definitions[family]
    return by_family
