"""A cell without its seeds and parent, which cells that differ in nothing else share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.cell import Architecture, Data, Stage
from benchmark.matrix.planning.contradictions import Contradiction
from benchmark.matrix.settings import DATA_SETTINGS, STAGE_SETTINGS, common_or_list


@dataclass(frozen=True, slots=True)
class CellTemplate:
    """Everything in a cell but its seeds and its parent.

    Attributes:
        cell: Settings of the whole cell, `keep` and `device_kind` among them.
        explicit_keep: Whether a definition or setting says which epoch to keep.
        canonical: Canonical JSON of each part of the cell's identity, see `identity.part_texts`.
        contradictions: What is wrong with the stages, which refuses the matrix.
        speed_key: With `threads = "auto"`, the key by which the number is looked up; None where it is given.
    """

    data: Data
    architecture: Architecture
    stages: tuple[Stage, ...]
    cell: Mapping[str, Any]
    explicit_keep: bool
    canonical: Mapping[str, str]
    contradictions: tuple[Contradiction, ...]
    speed_key: str | None = None

    def value_of(self, key: str) -> Any:
        """Returns a setting in normal form; a list when stages differ."""
        if key in STAGE_SETTINGS:
            return common_or_list(getattr(stage, key) for stage in self.stages)
        if key in DATA_SETTINGS:
            return getattr(self.data, key)
        return self.cell[key] if key in self.cell else dict(self.architecture.parameters).get(key)
