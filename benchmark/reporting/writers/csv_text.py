"""Writes a report as CSV: one header, raw numbers, a line for each row of each table.

The header is the union of the columns of all tables, so that `pandas.read_csv` takes the whole file; the first column
names the table, and columns that a table does not have are empty. A measurement becomes `…_mean`, `…_half_width` and
`…_n`, a difference also `…_p` (corrected), `…_sign_flip_p` and `…_method`; a published figure becomes `…_published`.
"""

from __future__ import annotations

import csv
from io import StringIO
from typing import TypeAlias

from benchmark.reporting.statistics import Difference, Measurement
from benchmark.reporting.table import Published, Report, Row, Table, Tally, Value
from benchmark.text import encodable, plain

Field: TypeAlias = str | int | float | None
_MEASURED = ("mean", "half_width", "n")
_COMPARED = (*_MEASURED, "p", "sign_flip_p", "method")
_SPECIAL = (Tally, Measurement, Difference, Published)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(report: Report, *, encoding: str = "utf-8") -> str:
    """The report as CSV text with bare line feeds."""
    tables = [
        (table, [_record(table, row, number) for number, row in enumerate(table.rows)]) for table in report.tables
    ]
    header: dict[str, None] = {"table": None}
    for _, records in tables:
        for record in records:
            header.update(dict.fromkeys(record))
    header["remark"] = header.pop("remark", None)
    stream = StringIO()
    writer = csv.DictWriter(stream, list(header), lineterminator="\n", restval="")
    writer.writeheader()
    for _, records in tables:
        writer.writerows({key: _field(value) for key, value in record.items()} for record in records)
    return encodable(stream.getvalue(), encoding)


def _record(table: Table, row: Row, number: int) -> dict[str, Field]:
    record: dict[str, Field] = {"table": table.name, **table.about}
    if table.name != "summary":
        record["position"] = number + 1
    for column in table.columns:
        for shape in _shapes(table, column.key):
            record.update(_fields(column.key, row.cells.get(column.key), shape))
    return {**record, "remark": row.remark}


def _shapes(table: Table, key: str) -> list[type | None]:
    """The types in a column that need several fields, so that a missing value has the same fields as a present one."""
    shapes = dict.fromkeys(type(row.cells.get(key)) for row in table.rows)
    return [shape for shape in shapes if shape in _SPECIAL] or [None]


def _fields(key: str, value: Value, shape: type | None) -> dict[str, Field]:
    if shape is Published:
        return {f"{key}_published": value.value if isinstance(value, Published) else None}
    if shape is Tally:
        tally = value if isinstance(value, Tally) else Tally(0, 0)
        return {key: tally.completed, f"{key}_planned": tally.planned}
    if shape is Measurement:
        measured = value if isinstance(value, Measurement) else None
        fields = (measured.mean, measured.half_width, measured.n) if measured else (None, None, 0)
        return {f"{key}_{name}": field for name, field in zip(_MEASURED, fields, strict=True)}
    if shape is Difference:
        return {f"{key}_{name}": field for name, field in zip(_COMPARED, _compared(value), strict=True)}
    return {key: value if isinstance(value, str | int | float) else None}


def _compared(value: Value) -> tuple[Field, ...]:
    if not isinstance(value, Difference):
        return (None, None, 0, None, None, None)
    return value.mean, value.half_width, value.n, value.adjusted_p, value.sign_flip_p, value.method


def _field(value: Field) -> str | int | float:
    """A number stays a number; a text that a spreadsheet would read as a formula gets a `'` before it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    # both texts are checked: cleaning removes a tab at the start, which makes a formula in some spreadsheets
    safe = plain(value)
    return f"'{safe}" if value.startswith(_FORMULA) or safe.lstrip().startswith(_FORMULA) else safe
