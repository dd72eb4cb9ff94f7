"""What a shell completes beside commands, options and choices: paths, selections of cells, settings, metrics, executors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from benchmark.errors import BenchError

_TYPEABLE = re.compile(r"[\w.:/+*-]+")
"""Names that need no quotes in a shell; others are not offered."""


def complete_path(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Lets the shell complete the path of a file, in what may be something else as well."""
    del context, parameter
    return [CompletionItem(incomplete, type="file")]


def complete_selection(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The keys of a selection, `model=`; after one its values; after a comma the same again."""
    from benchmark.matrix.selection import KEYS

    del parameter
    before, comma, term = incomplete.rpartition(",")
    return [f"{before}{comma}{each}" for each in _assignments(context, term, KEYS)]


def complete_selection_or_path(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """A selection where one is begun, else the path of a file."""
    selections = complete_selection(context, parameter, incomplete) if incomplete else []
    return selections or complete_path(context, parameter, incomplete)


def complete_setting(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The settings, `epochs=`; after one its values."""
    from benchmark.matrix.settings import SETTINGS

    del parameter
    return _assignments(context, incomplete, SETTINGS)


def complete_metric(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The metrics that a report can judge."""
    from benchmark.reporting.rows.metrics import METRICS

    del context, parameter
    return [
        key for key, metric in METRICS.items() if metric.higher_is_better is not None and key.startswith(incomplete)
    ]


def complete_executor(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The places where cells can run."""
    from benchmark.scheduling.executors.executor_registry import executor_names

    del context, parameter
    return [name for name in executor_names() if name.startswith(incomplete)]


def _assignments(context: click.Context, text: str, keys: Iterable[str]) -> list[str]:
    key, equals, value = text.partition("=")
    if not equals:
        return [f"{each}=" for each in keys if each.startswith(key)]
    return [f"{key}={each}" for each in _values(context, key) if each.startswith(value) and _TYPEABLE.fullmatch(each)]


def _values(context: click.Context, key: str) -> Iterable[str]:
    """The values of a key, where they are names or words of a closed list."""
    from benchmark.matrix.selection import NAME_KEYS
    from benchmark.matrix.settings import SETTINGS
    from benchmark.matrix.values import Choice
    from benchmark.status import Status

    if key in NAME_KEYS:
        return _names(key, context.params.get("path") or context.params.get("matrix"))
    if key == "status":
        return (each.value for each in Status)
    kind = SETTINGS[key].kind if key in SETTINGS else None
    return kind.options if isinstance(kind, Choice) else ()


def _names(family: str, matrix: str | None) -> Iterable[str]:
    from benchmark.layout import MATRIX
    from benchmark.matrix.listing import defined_names

    path = matrix or MATRIX
    try:
        return defined_names(family, path if Path(path).exists() else None)
    except (BenchError, OSError):
        # a file that is being written; `bench plan` names its mistakes
        return defined_names(family)
