"""Says which settings of a stage exclude each other: a mistake of whoever wrote them, whatever the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmark.matrix.cell import Stage
from benchmark.matrix.optimizers import OPTIMIZERS, OWN_SETTINGS, optimizers_with
from benchmark.matrix.problems import quoted


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
    for name in OWN_SETTINGS:
        value = getattr(stage, name)
        if value not in {None, False} and name not in OPTIMIZERS[stage.optimizer]:
            having = ", ".join(optimizers_with(name))
            yield Contradiction(
                name,
                f"false beside optimizer = {quoted(stage.optimizer)}, which has no {name}",
                value,
                f"leave it out, or take one of {having}",
            )
    if stage.clip_norm is not None and stage.clip_value is not None:
        yield Contradiction(
            "clip_norm",
            f"false beside clip_value = {stage.clip_value:g} in one stage",
            stage.clip_norm,
            "gradients are clipped by one of the two: set the other to false",
        )
