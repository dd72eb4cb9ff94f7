"""Reads `[[report.published]]`: published figures to show beside the measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.problems import INVALID, KeyPath, Problems
from benchmark.matrix.report_spec import PublishedColumn, PublishedRow, PublishedTable
from benchmark.matrix.values import BOOLEAN, Choice, Kind, ListOf, Name, Number, read_table

METRICS = (
    "epochs", "best_epoch", "train_accuracy", "train_loss", "val_accuracy", "val_loss", "test_accuracy", "test_loss",
    "parameters", "fit_seconds", "images_per_second",
)  # fmt: skip
"""The metrics that figures can be of: columns of the view `results`."""

EXPECTED = 'a table with title, source, columns and rows; see docs/matrix.md, "Published figures"'
_ACCURACIES = tuple(name for name in METRICS if name.endswith("accuracy"))
_TEXT = Name()


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


def read_published(
    value: Any, path: KeyPath, problems: Problems, families: Mapping[str, Kind]
) -> PublishedTable | None:
    """Reads one `[[report.published]]`; None when it is invalid.

    Args:
        value: The value from TOML.
        path: Its position in the document.
        problems: Mistakes are added to it.
        families: For `dataset`, `model` and `strategy` the type that reads an existing name.
    """
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
