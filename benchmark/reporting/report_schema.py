"""The JSON Schema of the documents that `bench report` and `bench compare` print with `--format json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import get_args

from benchmark.matrix.json_schema.value_schemas import DIALECT, Schema, reference
from benchmark.reporting.statistics.intervals import Interval, Measurement
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.statistics.robust import Robust
from benchmark.reporting.table import FigureFile, Kind, MissingFigure
from benchmark.reporting.tables.registry import TABLES
from benchmark.reporting.writers.json_document import DOCUMENT_VERSION, FIELDS
from benchmark.status import Status

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_P: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_ODD: Schema = {"enum": ["nan", "inf", "-inf"]}
_MAYBE: Schema = {"type": ["number", "null"]}
_VERDICTS = ("better", "worse", "equivalent", "not resolved", "not comparable")

_MEANINGS: Mapping[str, tuple[Schema, str]] = {
    "mean": (_MAYBE, "the arithmetic mean, of a difference B minus A; null where `nonfinite` says what it was"),
    "difference": (_MAYBE, "the same as `mean`"),
    "half_width": (_MAYBE, "half of the 95 % interval; null where there is none"),
    "low": (_MAYBE, "the lower end of the 95 % interval"),
    "high": (_MAYBE, "the upper end of the 95 % interval"),
    "sd": (_MAYBE, "the sample standard deviation; null for one value"),
    "n": (_COUNT, "values, of a difference pairs of seeds"),
    "values": ({"type": "array", "items": _MAYBE}, "the values of the seeds, in their order"),
    "method": (_TEXT, "the test: paired by seed, or unpaired"),
    "p": (_P, "of the test, two-sided"),
    "adjusted_p": (_P, "the same, corrected for the number of comparisons"),
    "comparisons": (_COUNT, "how many comparisons were corrected for"),
    "sign_flip_p": (_P, "of the exact sign-flip test of the pairs"),
    "least_sign_flip_p": (_P, "the least that this test can give with so many pairs"),
    "verdict": ({"enum": [*_VERDICTS, None]}, "on the second side; null where nothing is judged"),
    "margin": (_MAYBE, "what counts as equivalent, in the unit of the metric"),
    "remark": (_TEXT, "what a reader must know beside it"),
}
"""What each field of `FIELDS` holds, and its meaning."""


def report_schema() -> Schema:
    """The JSON Schema, draft 2020-12, of a document of `bench report` or `bench compare`."""
    document = {
        "schema_version": _described({"const": DOCUMENT_VERSION}, "raised when a field goes or gets another meaning"),
        "created_utc": _described({"type": ["string", "null"], "format": "date-time"}, "when the document was made"),
        "machine": _described({"type": ["string", "null"]}, "whose results these are"),
        "runs": _described(
            {"type": "array", "items": _COUNT, "uniqueItems": True},
            "ids of the runs whose results are shown, ascending",
        ),
        "package_version": _described(_TEXT, "the version of bench that made the document"),
        "answer": _described(
            {**_texts(), "maxItems": 3}, "what was compared, what came of it, and what is not resolved"
        ),
        "tables": _described({"type": "array", "items": reference("table")}, "in the order of the report"),
        "notes": _described(_texts(), "what holds for all tables"),
        "figures": _described(
            {"type": "array", "items": reference("figure")}, "the figures that were drawn, where some were asked for"
        ),
        "missing_figures": _described(
            {"type": "array", "items": reference("missing_figure")}, "those that could not be drawn"
        ),
    }
    optional = {"figures", "missing_figures"}
    return {
        "$schema": DIALECT,
        "title": "report",
        "description": "What `bench report --format json` and `bench compare --format json` print.",
        **_object(document, [name for name in document if name not in optional]),
        "$defs": _definitions(),
    }


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(report_schema(), indent=1, ensure_ascii=False) + "\n"


def _definitions() -> dict[str, Schema]:
    cells = ("measurement", "difference", "tally", "published", "nonfinite")
    return {
        "table": _object(
            {
                "name": _described({"enum": [*TABLES, "compare"]}, "which table; several may share a name"),
                "title": _TEXT,
                "about": _described({"type": "object", "additionalProperties": _TEXT}, "what holds for the whole table"),
                "columns": {"type": "array", "items": reference("column")},
                "rows": {"type": "array", "items": reference("row")},
                "footnotes": _described(_texts(), "the texts of marked cells; a row has its own in `remark`"),
                "notes": _described(_texts(), "what a reader must know to judge the table"),
            }
        ),
        "column": _object(
            {
                "key": _described(_TEXT, "the name of the cell in every row"),
                "title": _TEXT,
                "kind": reference("kind"),
                "unit": _described({"enum": ["", "s", "bytes", "images/s"]}, "empty for numbers without one"),
            }
        ),
        "row": _described(
            {
                "type": "object",
                "required": ["remark"],
                "properties": {"remark": _TEXT, "kind": reference("kind")},
                "additionalProperties": reference("cell"),
            },
            "a cell for each column, by its key; `kind` where metrics are rows",
        ),
        "kind": _described({"enum": list(get_args(Kind))}, "what a number is; accuracy is a fraction of 0 to 1"),
        "cell": {
            "anyOf": [{"type": ["string", "number", "boolean", "null"]}, *map(reference, cells)],
            "description": "null where nothing was measured",
        },
        "measurement": _described(_fields(Measurement), "a metric over the seeds of a group"),
        "difference": _described(_fields(Difference, over_images=_interval(), robust=_robust()), "two groups compared"),
        "tally": _described(_object({Status.COMPLETED: _COUNT, "planned": _COUNT}), "seeds with a result, of how many"),
        "published": _described(_object({"published": {"type": ["number", "string"]}}), "a figure of a publication"),
        "nonfinite": _described(_object({"value": {"type": "null"}, "nonfinite": _object({"value": _ODD})}), "no number"),
        "figure": _object({**_names_of(FigureFile), "cells": _texts()}),
        "missing_figure": _object(_names_of(MissingFigure)),
    }  # fmt: skip


def _fields(kind: type, **more: Schema) -> Schema:
    """The fields of a measurement or a difference, with `nonfinite` where some are no numbers."""
    own = {name: _described(*_MEANINGS[name]) for name in FIELDS[kind]}
    positions = {"type": "object", "additionalProperties": _ODD}
    odd = _described(
        {"type": "object", "properties": {"values": positions}, "additionalProperties": _ODD},
        "which number stood where null stands now; of `values` by position",
    )
    return _object({**own, **more, "nonfinite": odd}, [*own, *more])


def _interval() -> Schema:
    whole = _object({each.name: _NUMBER for each in fields(Interval)})
    return _described({"anyOf": [whole, {"type": "null"}]}, "the 95 % interval over seeds and test images")


def _robust() -> Schema:
    numbers = {each.name: _NUMBER for each in fields(Robust) if each.name != "interval"}
    whole = _object({**numbers, "interval": _object({each.name: _NUMBER for each in fields(Interval)})})
    return _described({"anyOf": [whole, {"type": "null"}]}, "what outliers cannot move; null with fewer than ten seeds")


def _names_of(kind: type) -> dict[str, Schema]:
    return {each.name: _TEXT for each in fields(kind)}


def _object(properties: Mapping[str, Schema], required: Sequence[str] | None = None) -> Schema:
    return {
        "type": "object",
        "required": list(properties if required is None else required),
        "properties": dict(properties),
    }


def _texts() -> Schema:
    return {"type": "array", "items": _TEXT}


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}
