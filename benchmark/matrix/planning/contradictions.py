"""Says which settings of a stage exclude each other: a mistake of whoever wrote them, whatever the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.cell import Stage


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A setting that cannot be what it is beside another of its stage.

    Attributes:
        key: The setting.
        expected: What it may be there.
        found: What it is, in normal form.
        cure: What to change.
    """

    key: str
    expected: str
    found: Any
    cure: str


def contradictions(stage: Stage) -> Iterator[Contradiction]:
    """Yields all contradictions in a stage."""
    if stage.schedule != "constant" and stage.reduce_learning_rate is not None:
        yield Contradiction(
            "schedule",
            'no schedule but "constant" beside reduce_learning_rate in one stage',
            stage.schedule,
            "both set the learning rate: write reduce_learning_rate = false, or leave the schedule out",
        )
