"""The views and tables that users may ask, with the type and the meaning of each column."""

from __future__ import annotations

from benchmark.results.schema.tables import TABLES
from benchmark.results.schema.views import COMPUTED, VIEWS


def described_columns() -> list[dict[str, str]]:
    """A row for each column, with `table`, `kind` (view or table), `column`, `type` and `meaning`; views come first."""
    views = [
        (name, "view", key, column.type, COMPUTED.get(key) or getattr(column, "doc", None) or "")
        for name, columns in VIEWS.items()
        for key, column in columns.items()
    ]
    tables = [
        (table.name, "table", column.name, column.type, column.doc or "")
        for table in TABLES
        for column in table.columns
    ]
    return [
        {"table": name, "kind": kind, "column": key, "type": str(of), "meaning": doc}
        for name, kind, key, of, doc in (*views, *tables)
    ]
