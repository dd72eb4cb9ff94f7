"""Writes rows of a view as a Parquet file whose columns have types: flags, times, categories, whole numbers with gaps."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmark.results.read.rows import Row
from benchmark.results.schema.views import CATEGORIES, FLAGS, VIEWS

_ROWS_AT_ONCE = 20_000


def write_parquet(path: Path, view: str, rows: Iterator[Row]) -> None:
    """Writes rows of a view to a new file; NULL stays missing, NaN and infinities stay what they are.

    Args:
        path: The file.
        view: `results`, `history` or `predictions`.
        rows: With the columns of that view.

    Raises:
        OSError: The file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {name: _type_of(name, column.type.python_type) for name, column in VIEWS[view].items()}
    schema = pa.schema(list(types.items()), metadata={b"pandas": _pandas_types(types)})
    with parquet.ParquetWriter(path, schema) as writer:
        while part := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            columns = [pa.array([_value(name, row[name]) for row in part], kind) for name, kind in types.items()]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _type_of(name: str, values: type) -> Any:
    import pyarrow as pa

    if name in FLAGS:
        return pa.bool_()
    if name.endswith("_utc"):
        return pa.timestamp("ns", tz="UTC")
    if values is int:
        return pa.int64()
    if values is float:
        return pa.float64()
    return pa.dictionary(pa.int32(), pa.string()) if name in CATEGORIES else pa.string()


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in FLAGS:
        return bool(value)
    return datetime.fromisoformat(value) if name.endswith("_utc") else value


def _pandas_types(types: Mapping[str, Any]) -> bytes:
    """What pandas reads whole numbers as, which would become fractions where one is missing.

    The form: https://pandas.pydata.org/docs/development/developer.html
    """
    whole = [name for name, kind in types.items() if str(kind) == "int64"]
    columns = [
        {"name": name, "field_name": name, "pandas_type": "int64", "numpy_type": "Int64", "metadata": None}
        for name in whole
    ]
    return json.dumps({"index_columns": [], "column_indexes": [], "columns": columns}).encode()
