"""Computes the digest of a finished execution: equal for equal results, however long they took.

Two runs of a deterministic cell have the same digest, also when one was killed and resumed; a bit that flipped on the
disk changes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmark.files import sha256_of

EPOCH_FIELDS = (
    "epoch", "stage", "stage_epoch", "train_accuracy", "train_loss", "val_accuracy", "val_loss", "learning_rate",
)  # fmt: skip
RESULT_FIELDS = (
    "status", "epochs", "best_epoch", "train_accuracy", "train_loss", "val_accuracy", "val_loss", "test_accuracy",
    "test_loss", "tta_accuracy", "tta_loss", "parameters", "trainable_parameters", "train_examples",
    "validation_examples", "test_examples", "data_fingerprint",
)  # fmt: skip
LATER_FIELDS = ("plain_test_accuracy", "plain_test_loss")
"""Fields of a result that older versions did not know: in its digest only where it has them, so that theirs stay."""


def execution_digest(cell_id: str, result: Mapping[str, Any], epochs: Iterable[Mapping[str, Any]]) -> str:
    """Returns the sha256 of an execution's results and epochs, without timings, dates, and ids of runs and attempts.

    Args:
        cell_id: The cell.
        result: The row of the execution, with NaN restored.
        epochs: The rows of its epochs in their order, with NaN restored.
    """
    lines = [
        [cell_id],
        [exact(result[name]) for name in RESULT_FIELDS],
        *([exact(value)] for name in LATER_FIELDS if (value := result.get(name)) is not None),
        *([exact(epoch[name]) for name in EPOCH_FIELDS] for epoch in epochs),
    ]
    return sha256_of(json.dumps(lines, separators=(",", ":")).encode())


def exact(value: Any) -> Any:
    """Returns floats as hexadecimal text without rounding, other values unchanged; -0.0 is 0.0, as SQLite stores it."""
    return (value + 0.0).hex() if isinstance(value, float) else value
