"""A cell without its seed and parent: what cells of one place in the matrix share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.cell import Architecture, Data, Stage
from benchmark.matrix.settings import DATA_SETTINGS, STAGE_SETTINGS, common_or_list


@dataclass(frozen=True, slots=True)
class CellTemplate:
    """All of a cell but its seed and its parent.

    Attributes:
        cell: Settings of the whole cell, `keep` and `device_kind` among them.
        explicit_keep: Whether anything says which epoch to keep.
        canonical: Canonical JSON of each part that decides the cell's identity.
        speed_key: Where its threads are `auto`: the key by which they are looked up; None where they are a number.
    """

    data: Data
    architecture: Architecture
    stages: tuple[Stage, ...]
    cell: Mapping[str, Any]
    explicit_keep: bool
    canonical: Mapping[str, str]
    speed_key: str | None = None

    def value_of(self, key: str) -> Any:
        """A setting in normal form; a list when stages disagree."""
        if key in STAGE_SETTINGS:
            return common_or_list(getattr(stage, key) for stage in self.stages)
        if key in DATA_SETTINGS:
            return getattr(self.data, key)
        return self.cell[key] if key in self.cell else dict(self.architecture.parameters).get(key)
