"""Which batches of an epoch make one update of the weights, with gradient accumulation and without."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmark.matrix.cell import Stage


@dataclass(frozen=True, slots=True)
class Updates:
    """The updates of an epoch; what is left at its end makes one of its own, so that no gradient waits between epochs.

    Attributes:
        batches: In the epoch.
        gathered: Batches of an update, of which the last may have fewer.
    """

    batches: int
    gathered: int

    @property
    def per_epoch(self) -> int:
        return math.ceil(self.batches / self.gathered)

    def before(self, batch: int) -> int:
        """How many updates come before the one that a batch, counted from 1, belongs to."""
        return (batch - 1) // self.gathered

    def share_of(self, batch: int) -> float:
        """Share of a batch's gradient in the mean that makes its update."""
        return 1 / min(self.gathered, self.batches - self.before(batch) * self.gathered)

    def follow(self, batch: int) -> bool:
        """Whether the update is made with this batch, which is its last."""
        return batch == self.batches or batch % self.gathered == 0


def updates_of(stage: Stage, examples: int) -> Updates:
    """Those of an epoch of a stage on so many training images."""
    return Updates(math.ceil(examples / stage.batch_size), stage.gradient_accumulation)
