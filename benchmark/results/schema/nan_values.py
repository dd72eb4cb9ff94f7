"""Stores NaN as NULL and the column's name, on both databases alike.

SQLite turns NaN into NULL (https://sqlite.org/floatingpoint.html), PostgreSQL keeps it. Infinities both keep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NAN_COLUMN = "nan_metrics"
"""The column that holds the names of the row's columns that are NaN, separated by spaces."""


def nan_to_null(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces NaN by None, and adds the names of these columns as `nan_metrics`.

    -0.0 becomes 0.0, because SQLite does not keep the sign of zero.
    """
    names = [name for name, value in values.items() if isinstance(value, float) and math.isnan(value)]
    plain = {name: value + 0.0 if isinstance(value, float) else value for name, value in values.items()}
    return {**plain, **dict.fromkeys(names), NAN_COLUMN: " ".join(names) or None}


def null_to_nan(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Puts NaN back where `nan_metrics` names a column, and drops `nan_metrics` itself."""
    return restored(dict(row))


def restored(values: dict[str, Any]) -> dict[str, Any]:
    """The same dictionary, changed in place as by `null_to_nan`."""
    for name in (values.pop(NAN_COLUMN, None) or "").split():
        if name in values:
            values[name] = math.nan
    return values
