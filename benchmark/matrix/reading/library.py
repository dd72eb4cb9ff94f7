"""Reads all definitions that a matrix can use: the built-in ones, once, in the same way as the user's, and these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.catalog.bundled_files import FAMILIES, definitions_text
from benchmark.errors import BenchError, MatrixError
from benchmark.matrix.problems import Problems
from benchmark.matrix.reading.definitions import Definition, Library, read_definitions
from benchmark.matrix.reading.inheritance import merge_library
from benchmark.matrix.reading.line_numbers import LineScanner
from benchmark.matrix.reading.plugins import Plugins, own_metrics, read_plugins
from benchmark.matrix.reading.toml import parse_toml
from benchmark.matrix.reading.user_files import located


def read_library(document: Mapping[str, Any], base: Path, problems: Problems) -> tuple[Library, Plugins]:
    """Reads and merges all definitions; `base` is the folder of the document, from which relative paths start."""
    plugins = read_plugins(document, base, problems)
    problems.own_metrics = own_metrics(plugins)
    definitions = located(read_definitions(document, problems, builtin=False), base, plugins, problems)
    return merge_library(builtin_definitions(), definitions, problems), plugins


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
