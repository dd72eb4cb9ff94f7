"""NaN in a database. SQLite stores NaN as NULL, PostgreSQL does not: here both store NULL and the column's name.

Infinities need no help: both databases keep them as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NAN_COLUMN = "nan_metrics"


def nan_to_null(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with None for NaN, and in `nan_metrics` the names of those that were NaN, in their order.

    -0.0 becomes 0.0, as SQLite keeps it, so that the databases agree.
    """
    names = [name for name, value in values.items() if isinstance(value, float) and math.isnan(value)]
    plain = {name: value + 0.0 if isinstance(value, float) else value for name, value in values.items()}
    return {**plain, **dict.fromkeys(names), NAN_COLUMN: " ".join(names) or None}


def null_to_nan(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The row with NaN where it was, and without the column that remembers it."""
    values = dict(row)
    for name in (values.pop(NAN_COLUMN, None) or "").split():
        if name in values:
            values[name] = math.nan
    return values
