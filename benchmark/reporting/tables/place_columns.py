"""The columns that say which group a row is about; shared by tables with a row for each group."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.reporting.rows.flat_settings import describe
from benchmark.reporting.rows.groups import Group
from benchmark.reporting.rows.metrics import METRICS
from benchmark.reporting.table import TableColumn, Value


def place_columns(varying: Sequence[str]) -> tuple[TableColumn, ...]:
    """Dataset, model, strategy, and the settings that tell groups of the same names apart."""
    return (
        TableColumn("dataset", "dataset", "text", identifies=True, heads=True),
        TableColumn("model", "model", "text", identifies=True, heads=True),
        TableColumn("strategy", "strategy", "text", identifies=True),
        *(TableColumn(_setting_key(name), name.replace("_", " "), "text", identifies=True) for name in varying),
    )


def place_cells(group: Group, varying: Sequence[str]) -> dict[str, Value]:
    """Of a group, the cells of these columns."""
    settings = {_setting_key(name): describe(group.settings.get(name)) if group.settings else None for name in varying}
    return {"dataset": group.dataset, "model": group.model, "strategy": group.strategy, **settings}


def _setting_key(name: str) -> str:
    """The key of a setting's column; the setting `epochs` (planned) must not collide with the metric (trained)."""
    return f"setting_{name}" if name in METRICS or name in {"n", "dataset", "model", "strategy"} else name
