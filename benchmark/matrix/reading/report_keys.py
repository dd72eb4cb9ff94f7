"""Reads `[report]`: what is compared and judged, and published figures to show beside the measured ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UserError
from benchmark.matrix.problems import INVALID, KeyPath, Problems, nearest_hint
from benchmark.matrix.report_spec import (
    EnsembleSpec,
    PublishedColumn,
    PublishedRow,
    PublishedTable,
    ReportSpec,
    TransferSpec,
    margin_of,
)
from benchmark.matrix.selection import parse_selection
from benchmark.matrix.values import BOOLEAN, Choice, Kind, ListOf, Name, Number, items_of, read_table

METRICS = (
    "epochs", "best_epoch", "train_accuracy", "train_loss", "val_accuracy", "val_loss", "test_accuracy", "test_loss",
    "parameters", "fit_seconds", "images_per_second",
)  # fmt: skip
"""The metrics that figures can be of: columns of the view `results`."""

EXPECTED = 'a table with title, source, columns and rows; see docs/matrix.md, "Published figures"'
_ACCURACIES = tuple(name for name in METRICS if name.endswith("accuracy"))
_TEXT = Name()


def read_report(table: Mapping[str, Any], families: Mapping[str, Kind], problems: Problems) -> ReportSpec:
    """Reads the table `[report]`.

    Args:
        table: From TOML.
        families: For `dataset`, `model` and `strategy` the type that reads an existing name.
        problems: Mistakes are added to it.
    """
    path = ("report",)
    lists: dict[str, Callable[[Any, KeyPath], Any]] = {
        "transfer": lambda item, place: _transfer(item, place, families, problems),
        "progression": lambda item, place: _progression(item, place, families, problems),
        "ensemble": lambda item, place: _ensemble(item, place, problems),
        "published": lambda item, place: _published(item, place, families, problems),
    }
    single: dict[str, Callable[[Any, KeyPath], Any]] = {
        "baseline": lambda value, place: families["strategy"].read(value, place, problems),
        "margin": lambda value, place: _margin(value, place, problems),
        "metrics": lambda value, place: _metrics(value, place, problems),
    }
    for key in table:
        if key not in {*lists, *single}:
            known = (*lists, *single)
            problems.add((*path, key), Choice(known).expected, hint=nearest_hint(key, known))
    parts: dict[str, Any] = {key: read(table[key], (*path, key)) for key, read in single.items() if key in table}
    for key, read in lists.items():
        value = table.get(key, [])
        if not isinstance(value, list):
            expected = "a list of lists" if key == "progression" else "a list of tables"
            problems.add((*path, key), expected, value)
            continue
        items = [read(item, (*path, key, number)) for number, item in enumerate(value)]
        parts[key] = tuple(item for item in items if item is not None)
    return ReportSpec(**parts)


def _margin(value: Any, path: KeyPath, problems: Problems) -> float | None:
    margin = None if isinstance(value, bool) else margin_of(str(value))
    if margin is None:
        problems.add(path, 'a number above 0 in the unit of the metric, or points such as "0.5pp"', value)
    return margin


def _metrics(value: Any, path: KeyPath, problems: Problems) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        problems.add(path, 'a column of results such as "test_accuracy", or a list of them', value)
        return ()
    return tuple(names)


def _transfer(item: Any, path: KeyPath, families: Mapping[str, Kind], problems: Problems) -> TransferSpec | None:
    if not isinstance(item, dict):
        problems.add(path, "a table such as { fine_tuned = STRATEGY, scratch = STRATEGY }", item)
        return None
    kinds = {"fine_tuned": "strategy", "scratch": "strategy", "dataset": "dataset", "model": "model"}
    names: dict[str, Any] = {}
    for key, value in item.items():
        if key in kinds:
            names[key] = families[kinds[key]].read(value, (*path, key), problems)
        else:
            problems.add((*path, key), "fine_tuned, scratch, dataset or model", hint=nearest_hint(key, kinds))
    for key in ("fine_tuned", "scratch"):
        if key not in item:
            problems.add((*path, key), "the name of a strategy; it is missing")
            return None
    return TransferSpec(**names)


def _progression(item: Any, path: KeyPath, families: Mapping[str, Kind], problems: Problems) -> tuple[str, ...] | None:
    if not isinstance(item, list) or len(item) < 2:
        problems.add(path, "a list of at least two strategies", item)
        return None
    return tuple(families["strategy"].read(name, place, problems) for name, place in items_of(item, path))


def _ensemble(item: Any, path: KeyPath, problems: Problems) -> EnsembleSpec | None:
    if not isinstance(item, dict) or "cells" not in item:
        problems.add(path, 'a table such as { cells = "model=simple_cnn|resnet18,dataset=digits" }', item)
        return None
    for key in item.keys() - {"cells", "label"}:
        problems.add((*path, key), "cells or label", hint=nearest_hint(key, ("cells", "label")))
    label = Name().read(item["label"], (*path, "label"), problems) if "label" in item else ""
    expressions = [expression for expression, _ in items_of(item["cells"], path)]
    if not expressions or not all(isinstance(expression, str) for expression in expressions):
        problems.add((*path, "cells"), "a selection such as model=resnet*, or a list of them", item["cells"])
        return None
    try:
        parse_selection(expressions)
    except UserError as error:
        problems.add((*path, "cells"), "a selection as for --select", item["cells"], str(error))
    return EnsembleSpec(tuple(expressions), str(label))


@dataclass(frozen=True)
class _FigureKind:
    """A finite number, or a short text."""

    expected: str = 'a number, a text, or "" for none'

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        if value == "":
            return None
        return _TEXT.read(value, path, problems) if isinstance(value, str) else Number(0).read(value, path, problems)


@dataclass(frozen=True)
class _ColumnKind:
    """A table of `metric`, `title` and `percent`."""

    expected: str = "a table of metric, title and percent"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        fields: Mapping[str, Kind] = {"metric": Choice(METRICS), "title": _TEXT, "percent": BOOLEAN}
        read = read_table(value, path, problems, self.expected, fields, needed=("metric", "title"))
        if read is INVALID:
            return INVALID
        if read.get("percent") and read["metric"] not in _ACCURACIES:
            problems.add((*path, "percent"), f"percent for one of {', '.join(_ACCURACIES)} alone", True)
        return PublishedColumn(**read)


@dataclass(frozen=True)
class _RowKind:
    """A table of the names of cells, their label, and their figures."""

    families: Mapping[str, Kind]
    expected: str = "a table of label, dataset, model, strategy and figures"

    def read(self, value: Any, path: KeyPath, problems: Problems) -> Any:
        fields = {"label": ListOf(_TEXT), "figures": ListOf(_FigureKind()), **self.families}
        read = read_table(value, path, problems, self.expected, fields, needed=tuple(fields))
        return INVALID if read is INVALID else PublishedRow(**read)


def _published(value: Any, path: KeyPath, families: Mapping[str, Kind], problems: Problems) -> PublishedTable | None:
    """One `[[report.published]]`; None when it is invalid."""
    fields: Mapping[str, Kind] = {
        "title": _TEXT,
        "source": _TEXT,
        "headings": ListOf(_TEXT),
        "columns": ListOf(_ColumnKind()),
        "rows": ListOf(_RowKind(families)),
        "metrics_as_rows": BOOLEAN,
    }
    read = read_table(
        value, path, problems, EXPECTED, fields, needed=("title", "source", "headings", "columns", "rows")
    )
    if read is INVALID:
        return None
    table = PublishedTable(**read)
    for number, row in enumerate(table.rows):
        where = (*path, "rows", number)
        if len(row.label) != len(table.headings):
            problems.add((*where, "label"), f"{len(table.headings)} texts, one for each of `headings`", list(row.label))
        if len(row.figures) != len(table.columns):
            expected = f"{len(table.columns)} figures, one for each of `columns`"
            problems.add((*where, "figures"), expected, len(row.figures))
    return table
