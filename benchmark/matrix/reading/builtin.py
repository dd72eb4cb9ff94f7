"""The built-in definitions, read once with the same grammar as users' own."""

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
    """All built-in definitions by family.

    Raises:
        BenchError: A mistake in our own files.
    """
    found: dict[str, list[Definition]] = {family: [] for family in FAMILIES}
    for family in FAMILIES:
        text = definitions_text(family)
        problems = Problems()
        definitions = read_definitions(parse_toml(text, f"built-in {family}"), problems, builtin=True)
        if problems:
            raise BenchError(str(MatrixError(f"built-in {family}", problems.located(LineScanner(text).scan().lines))))
        found[family].extend(definitions[family])
    return found
