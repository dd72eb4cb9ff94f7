"""How cells are called in text, and how the one that a user means is found."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.matrix.cell import Cell
from benchmark.text import one_line

NAMES = ("dataset", "model", "strategy", "seed")
"""What a cell is called by."""


def cell_label(cell: Cell, axes: Sequence[str] = ()) -> str:
    """`digits simple_cnn scratch seed 0`, and the values of the settings that are axes of the matrix."""
    return one_line(f"{cell.dataset} {cell.model} {cell.strategy} seed {cell.seed}{_settings(cell, axes)}")


def varying_names(cell: Cell, axes: Sequence[str]) -> str:
    """What tells the cell apart from the others of its matrix, for narrow places; the model where nothing does."""
    names = {"dataset": cell.dataset, "model": cell.model, "strategy": cell.strategy, "seed": f"seed {cell.seed}"}
    shown = [text for name, text in names.items() if name in axes]
    return one_line(f"{' '.join(shown)}{_settings(cell, axes)}".strip() or cell.model)


def _settings(cell: Cell, axes: Sequence[str]) -> str:
    more = [axis for axis in axes if axis not in NAMES]
    if not more:
        return ""
    from benchmark.matrix.settings import cell_settings

    settings = cell_settings(cell)
    return "".join(f" {axis}={_short(settings[axis])}" for axis in more if axis in settings)


def short_id(cell_id: str) -> str:
    """The first eight digits: enough to tell cells apart by eye, and to be typed for CELL."""
    return cell_id[:8]


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict) and "kind" in value:
        arguments = ", ".join(f"{key}={_short(item)}" for key, item in value.items() if key != "kind")
        return f"{value['kind']}({arguments})"
    if isinstance(value, dict):
        return "+".join(value) or "off"
    if isinstance(value, list):
        return ",".join(map(_short, value))
    return "none" if value is None else str(value)


def setting_text(value: object) -> str:
    """A setting as a matrix writes it: `{kind = "focal", gamma = 1}`, and a single text without quotes."""
    from benchmark.matrix.problems import toml_text

    return value if isinstance(value, str) else toml_text(value)
