"""Writes rows of a view as a Parquet file whose columns have types: flags, times, categories, whole numbers with gaps."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmark.results.read.rows import Row
from benchmark.results.schema.views import VIEWS, Kind, kind_of

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

    kinds = {name: kind_of(name, column.type.python_type) for name, column in VIEWS[view].items()}
    types = {
        "flag": pa.bool_(),
        "time": pa.timestamp("ns", tz="UTC"),
        "category": pa.dictionary(pa.int32(), pa.string()),
        "integer": pa.int64(),
        "real": pa.float64(),
        "text": pa.string(),
    }
    columns = [(name, types[kind]) for name, kind in kinds.items()]
    whole = [name for name, kind in kinds.items() if kind == "integer"]
    schema = pa.schema(columns, metadata={b"pandas": _pandas_types(whole)})
    with parquet.ParquetWriter(path, schema) as writer:
        while part := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            arrays = [pa.array([_value(kinds[name], row[name]) for row in part], of) for name, of in columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _value(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind == "flag":
        return bool(value)
    return datetime.fromisoformat(value) if kind == "time" else value


def _pandas_types(whole: Iterable[str]) -> bytes:
    """What pandas reads whole numbers as, which would become fractions where one is missing.

    The form: https://pandas.pydata.org/docs/development/developer.html
    """
    columns = [
        {"name": name, "field_name": name, "pandas_type": "int64", "numpy_type": "Int64", "metadata": None}
        for name in whole
    ]
    return json.dumps({"index_columns": [], "column_indexes": [], "columns": columns}).encode()
