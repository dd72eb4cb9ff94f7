"""The numbers of an epoch: summed over its batches, and as the row that is reported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from benchmark.events import EpochFinished
from benchmark.training.evaluation import Scores
from benchmark.training.steps.base import BatchResult


@dataclass(slots=True)
class EpochSums:
    """Sums over the batches of an epoch; the times are wall-clock seconds."""

    examples: int = 0
    loss: float = 0.0
    correct: int = 0
    input_seconds: float = 0.0
    step_seconds: float = 0.0

    def add(self, result: BatchResult) -> bool:
        """Waits for the result of a batch and adds it; False when its loss is NaN or infinite."""
        loss = float(result.loss)
        self.examples += result.examples
        self.loss += loss * result.examples
        self.correct += int(result.correct)
        return math.isfinite(loss)

    def means(self) -> dict[str, Any]:
        """Loss and accuracy so far, as Keras names them."""
        return {"loss": self.loss / self.examples, "accuracy": self.correct / self.examples}


def watched_values(sums: EpochSums, validation: Scores | None) -> dict[str, float]:
    """What schedules of a network's own may watch of an epoch."""
    values = {f"train_{name}": value for name, value in sums.means().items()}
    return {**values, **({"val_loss": validation.loss, "val_accuracy": validation.accuracy} if validation else {})}


def epoch_row(
    stage: int,
    epoch: int,
    stage_epoch: int,
    sums: EpochSums,
    validation: Scores | None,
    learning_rate: float,
    validation_seconds: float,
    *,
    traced: bool,
) -> EpochFinished:
    """The row of a finished epoch, before it is known whether it is the best; `traced` as in `EpochFinished`."""
    spent = sums.input_seconds + sums.step_seconds
    return EpochFinished(
        stage=stage,
        epoch=epoch,
        stage_epoch=stage_epoch,
        train_accuracy=sums.correct / sums.examples,
        train_loss=sums.loss / sums.examples,
        val_accuracy=validation.accuracy if validation else None,
        val_loss=validation.loss if validation else None,
        learning_rate=learning_rate,
        seconds=spent + validation_seconds,
        input_seconds=sums.input_seconds,
        step_seconds=sums.step_seconds,
        validation_seconds=validation_seconds if validation else 0.0,
        checkpoint_seconds=0.0,
        images_per_second=sums.examples / spent,
        traced=traced,
        improved=False,
    )
