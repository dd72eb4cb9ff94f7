"""Writes a report as CSV: one header, raw numbers, a line for each row of each table.

The header is the union of the columns of all tables, so that `pandas.read_csv` takes the whole file; the first column
names the table, and columns that a table does not have are empty. `files` gives each table a file of its own. A measurement becomes `…_mean`, `…_half_width` and
`…_n`, a difference also `…_p` (corrected), `…_sign_flip_p` and `…_method`; a published figure becomes `…_published`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TypeAlias

from benchmark.reporting.statistics.intervals import Measurement
from benchmark.reporting.statistics.mean_difference import Difference
from benchmark.reporting.table import Published, Qualified, Report, Row, Table, Tally
from benchmark.reporting.writers.page import Page
from benchmark.status import Status
from benchmark.text import encodable, plain

Field: TypeAlias = str | int | float | None
_FIELDS: dict[type, dict[str, tuple[str, Field]]] = {
    Tally: {"": (Status.COMPLETED, 0), "_planned": ("planned", 0)},
    Published: {"_published": ("value", None)},
    Qualified: {"": ("word", None)},
    Measurement: {
        "_mean": ("mean", None),
        "_half_width": ("half_width", None),
        "_low": ("low", None),
        "_high": ("high", None),
        "_n": ("n", 0),
    },
    Difference: {
        "_mean": ("mean", None),
        "_half_width": ("half_width", None),
        "_low": ("low", None),
        "_high": ("high", None),
        "_n": ("n", 0),
        "_p": ("adjusted_p", None),
        "_sign_flip_p": ("sign_flip_p", None),
        "_method": ("method", None),
        "_comparisons": ("comparisons", None),
        "_margin": ("margin", None),
    },
}
"""Values that need several fields: for each the ending of its name, the attribute, and what stands for none."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(report: Report, page: Page) -> str:
    """The report as CSV text with bare line feeds."""
    return _text(report.tables, page)


def files(report: Report, page: Page) -> dict[str, str]:
    """The texts of one file for each table, by their names: `summary.csv`.

    Tables of a name that have the same columns, such as several transfers, share a file; others are numbered
    (`time-2.csv`).
    """
    alike: dict[str, dict[tuple[str, ...], list[Table]]] = {}
    for table in report.tables:
        columns = (*table.about, *(column.key for column in table.columns))
        alike.setdefault(table.name, {}).setdefault(columns, []).append(table)
    return {
        f"{name}{'' if number == 1 else f'-{number}'}.csv": _text(tables, page)
        for name, groups in alike.items()
        for number, tables in enumerate(groups.values(), start=1)
    }


def _text(tables: Sequence[Table], page: Page) -> str:
    rows = [record for table in tables for record in records(table)]
    header: dict[str, None] = {"table": None}
    for record in rows:
        header.update(dict.fromkeys(record))
    header["remark"] = header.pop("remark", None)
    stream = StringIO()
    writer = csv.DictWriter(stream, list(header), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({key: _field(value) for key, value in record.items()} for record in rows)
    return encodable(stream.getvalue(), page.encoding)


def records(table: Table) -> list[dict[str, Field]]:
    """The rows of a table by the columns that they have in CSV, with text as it is."""
    kinds = _kinds(table)
    return [_record(table, kinds, row, number) for number, row in enumerate(table.rows)]


def _kinds(table: Table) -> dict[str, list[type]]:
    """The kinds of values in each column that need several fields."""
    return {
        column.key: [
            kind for kind in dict.fromkeys(type(row.cells.get(column.key)) for row in table.rows) if kind in _FIELDS
        ]
        for column in table.columns
    }


def _record(table: Table, kinds: Mapping[str, Sequence[type]], row: Row, number: int) -> dict[str, Field]:
    record: dict[str, Field] = {"table": table.name, **table.about}
    if table.name != "summary":
        record["position"] = number + 1
    for column in table.columns:
        value = row.cells.get(column.key)
        # a missing value has the same fields as the present ones of its column
        for kind in kinds[column.key]:
            for ending, (attribute, none) in _FIELDS[kind].items():
                record[column.key + ending] = getattr(value, attribute) if isinstance(value, kind) else none
        if not kinds[column.key]:
            record[column.key] = value if isinstance(value, str | int | float) else None
    return {**record, "remark": row.remark}


def _field(value: Field) -> str | int | float:
    """A number stays a number; a text that a spreadsheet would read as a formula gets a `'` before it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    # both texts are checked: cleaning removes a tab at the start, which makes a formula in some spreadsheets
    safe = plain(value)
    return f"'{safe}" if value.startswith(_FORMULA) or safe.lstrip().startswith(_FORMULA) else safe
