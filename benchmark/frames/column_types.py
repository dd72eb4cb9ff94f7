"""The pandas type of each column, whatever its values are: flags, times, names, whole numbers that may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmark.results.schema.views import CATEGORIES, FLAGS_WITH_GAPS, Kind, kind_of

_ALWAYS_THERE = frozenset(
    {"execution_id", "run_id", "seed", "epoch", "stage", "stage_epoch", "image", "label", "predicted"}
)
_TIME: Any = "datetime64[ns, UTC]"
_TYPES: dict[Kind, Any] = {
    "flag": "bool", "time": _TIME, "category": "category", "integer": "Int64", "real": "float64", "text": "string",
}  # fmt: skip


def type_of(name: str, values: type) -> Any:
    """The type of a column of a view, by its name and the Python type of its values."""
    if name in FLAGS_WITH_GAPS:
        return "boolean"
    return "int64" if name in _ALWAYS_THERE and values is int else _TYPES[kind_of(name, values)]


def as_type(values: Sequence[Any] | pd.Series[Any], kind: Any) -> pd.Series[Any]:
    """Values of the database as a column of one of these types; None is missing, which NaN of a real number is too."""
    if kind == "category":
        # of an empty column the categories would be no texts
        texts = pd.CategoricalDtype(pd.Index(sorted(set(pd.Series(values, dtype=object).dropna())), dtype="string"))
        return pd.Series(pd.Categorical(values, dtype=texts))
    if kind == _TIME:
        times: pd.Series[Any] = pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601").astype(
            _TIME
        )
        return times
    column: pd.Series[Any] = pd.Series(values, dtype=kind)
    return column


def fitting(name: str, values: Sequence[Any]) -> pd.Series[Any]:
    """Values as a column of the type that fits all of them; tables and lists stay what they are."""
    kinds = {type(value) for value in values if value is not None}
    if name in CATEGORIES and kinds <= {str}:
        return as_type(values, "category")
    if not kinds or kinds == {bool}:
        return pd.Series(values, dtype="boolean" if kinds else "object")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64" if float in kinds else "Int64")
    return pd.Series(values, dtype="string" if kinds == {str} else "object")
