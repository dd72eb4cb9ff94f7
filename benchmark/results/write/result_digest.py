"""The digest of a finished execution: equal for equal numbers, whatever they took to compute.

Two undisturbed runs of a deterministic cell agree, so does one that was killed and resumed, and a bit that flipped on
the disk shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmark.files import sha256_of

EPOCH_FIELDS = (
    "epoch",
    "stage",
    "stage_epoch",
    "train_accuracy",
    "train_loss",
    "val_accuracy",
    "val_loss",
    "learning_rate",
)
RESULT_FIELDS = (
    "status",
    "epochs",
    "best_epoch",
    "train_accuracy",
    "train_loss",
    "val_accuracy",
    "val_loss",
    "test_accuracy",
    "test_loss",
    "tta_accuracy",
    "tta_loss",
    "parameters",
    "trainable_parameters",
    "train_examples",
    "validation_examples",
    "test_examples",
    "data_fingerprint",
)


def execution_digest(cell_id: str, result: Mapping[str, Any], epochs: Iterable[Mapping[str, Any]]) -> str:
    """sha256 over the canonical rows of an execution: no timings, no ids of runs or attempts, no dates.

    Args:
        cell_id: The cell.
        result: Its row, with NaN restored.
        epochs: The rows of its epochs in their order, with NaN restored.
    """
    lines = [
        [cell_id],
        [exact(result[name]) for name in RESULT_FIELDS],
        *([exact(epoch[name]) for name in EPOCH_FIELDS] for epoch in epochs),
    ]
    return sha256_of(json.dumps(lines, separators=(",", ":")).encode())


def exact(value: Any) -> Any:
    """The value with every bit of a float shown, NaN and infinities named; -0.0 is 0.0, as SQLite keeps it."""
    return (value + 0.0).hex() if isinstance(value, float) else value
