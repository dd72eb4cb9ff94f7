"""Writes a report as one JSON document with raw numbers: what it was made of, `answer`, `tables` and `notes`.

Reports with figures have `figures` and `missing_figures` too. What stands where: `reporting/report_schema.py`.

JSON has no NaN and no infinity: such a number becomes null, and its object names it under `nonfinite`. All text is
ASCII with escapes, so that no control character or direction mark reaches a terminal. A row of a table is one line.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from benchmark import __version__
from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Advised, Published, Qualified, Report, Row, Table, Tally, Value
from benchmark.reporting.writers.page import Page
from benchmark.status import Status

DOCUMENT_VERSION = 2
"""Raised when a field of the document goes or gets another meaning; a new field leaves it as it is."""

FIELDS: dict[type, tuple[str, ...]] = {
    Measurement: ("mean", "half_width", "low", "high", "sd", "n", "values"),
    Difference: (
        "mean", "difference", "low", "high", "half_width", "n", "method", "p", "adjusted_p", "comparisons", "sign_flip_p",
        "least_sign_flip_p", "verdict", "margin", "remark",
    ),
}  # fmt: skip

_READ = {kind: attrgetter(*names) for kind, names in FIELDS.items()}

_SURELY_FINITE = 1e300

_DEPTH_OF_ROWS = 4
"""A row is in a list of a table of a list of the document."""

_on_one_line = json.JSONEncoder(allow_nan=False).encode


def render(report: Report, _page: Page) -> str:
    """The report as JSON text."""
    document: dict[str, Any] = {
        "schema_version": DOCUMENT_VERSION,
        "created_utc": report.created_utc,
        "machine": report.machine,
        "runs": list(report.runs),
        "package_version": __version__,
        "answer": list(report.answer),
        "tables": [_table(table) for table in report.tables],
        "notes": Advised.shown(report.notes),
    }
    if report.figures is not None:
        document["figures"] = [{**asdict(figure), "path": str(figure.path)} for figure in report.figures]
        document["missing_figures"] = [asdict(figure) for figure in report.missing_figures]
    return _indented(document, _DEPTH_OF_ROWS) + "\n"


def _indented(value: Any, depth: int, margin: str = "") -> str:
    """JSON text with a line for each item down to a depth; Python's own indentation has no end and is slow."""
    if depth == 0 or not value or not isinstance(value, dict | list):
        return _on_one_line(value)
    deeper = margin + "  "
    if isinstance(value, dict):
        items = [f"{_on_one_line(key)}: {_indented(each, depth - 1, deeper)}" for key, each in value.items()]
    else:
        items = [_indented(each, depth - 1, deeper) for each in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{margin}{closing}"


def _table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "about": dict(table.about),
        "columns": [
            {"key": column.key, "title": column.title, "kind": column.kind, "unit": column.unit}
            for column in table.columns
        ],
        "rows": [_row(table, row) for row in table.rows],
        "footnotes": list(table.footnotes),
        "notes": Advised.shown(table.notes),
    }


def _row(table: Table, row: Row) -> dict[str, Any]:
    cells = {column.key: _value(row.cells.get(column.key)) for column in table.columns}
    kind = {"kind": row.kind} if row.kind else {}
    return {**cells, **kind, "remark": row.remark}


def _value(value: Value) -> Any:
    if isinstance(value, Measurement | Difference):
        kind = type(value)
        fields = dict(zip(FIELDS[kind], _READ[kind](value), strict=True))
        # the rest follows from these two; no comparison with NaN holds
        if not abs(value.mean) + (value.half_width or 0.0) < _SURELY_FINITE:
            fields = _finite(fields)
        if isinstance(value, Difference):
            fields["over_images"] = value.over_images and asdict(value.over_images)
            fields["robust"] = value.robust and asdict(value.robust)
        return fields
    if isinstance(value, Qualified):
        return value.word
    if isinstance(value, Published):
        return {"published": value.value}
    if isinstance(value, Tally):
        return {Status.COMPLETED: value.completed, "planned": value.planned}
    return _finite({"value": value}) if _is_odd(value) else value


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with null for what JSON cannot hold, and `nonfinite` saying what stood there."""
    if not any(map(_is_odd, itertools.chain(fields.values(), fields.get("values", ())))):
        return fields
    nonfinite: dict[str, Any] = {}
    clean: dict[str, Any] = {}
    for key, value in fields.items():
        is_many = isinstance(value, tuple)
        numbers = value if is_many else (value,)
        kept = [None if _is_odd(each) else each for each in numbers]
        odd = {str(index): str(each) for index, each in enumerate(numbers) if _is_odd(each)}
        clean[key] = kept if is_many else kept[0]
        if odd:
            nonfinite[key] = odd if is_many else odd["0"]
    return {**clean, "nonfinite": nonfinite} if nonfinite else clean


def _is_odd(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
