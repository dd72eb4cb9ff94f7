"""What cells had come to within a budget of seconds or epochs: rows as if each had ended there, from recorded epochs alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from benchmark.prediction_metrics import LOWER_IS_BETTER, METRICS, VAL
from benchmark.reporting.rows.flat_settings import settings_of
from benchmark.reporting.rows.latest import ResultRow
from benchmark.status import Status
from benchmark.units import number

Epochs: TypeAlias = Sequence[Mapping[str, Any]]
"""Rows of the view `history` of one execution, in the order of the epochs."""

LoadEpochs: TypeAlias = Callable[[Iterable[int]], Mapping[int, Epochs]]
"""Reads recorded epochs by execution id; executions without any are left out."""

_AFTER_THE_END = (
    "test_accuracy", "test_loss", "tta_accuracy", "tta_loss", "plain_test_accuracy", "plain_test_loss",
    "images_per_second", "peak_rss_bytes", "total_seconds", "evaluate_seconds",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingBudget:
    """What each cell may use: so many seconds since it began, or so many epochs."""

    seconds: float = math.inf
    epochs: float = math.inf

    def holds(self, epoch: Mapping[str, Any]) -> bool:
        """Whether an epoch had ended within it."""
        return bool(epoch["epoch"] <= self.epochs and (epoch["elapsed_seconds"] or 0.0) <= self.seconds)

    def is_used_up_by(self, epochs: Epochs) -> bool:
        """Whether the epochs reach to its end, so that nothing that came later could change them."""
        last = epochs[-1]
        return bool(last["epoch"] >= self.epochs or (last["elapsed_seconds"] or 0.0) >= self.seconds)

    def __str__(self) -> str:
        return f"{number(self.seconds)} s" if math.isfinite(self.seconds) else f"epoch {number(self.epochs)}"


def within(budget: TrainingBudget, rows: Sequence[ResultRow], load: LoadEpochs) -> list[ResultRow]:
    """The rows as if each cell had ended where its budget ends, with the figures of its best epoch until then.

    A cell that failed, diverged or was stopped counts as completed where it had used up the budget before; one without an
    epoch within it has no result. What is measured only at the end of a cell is empty.
    """
    epochs = load([row["execution_id"] for row in rows if row.get("execution_id")])
    return [_within(budget, row, epochs.get(row.get("execution_id") or 0, ())) for row in rows]


def _within(budget: TrainingBudget, row: ResultRow, epochs: Epochs) -> ResultRow:
    used = [epoch for epoch in epochs if budget.holds(epoch)]
    empty = dict.fromkeys(
        [*_AFTER_THE_END, *(name for name in row if name.startswith("test_") and name != "test_examples")]
    )
    if not used and row["status"] == Status.COMPLETED:
        return {
            **row,
            **empty,
            "status": Status.INTERRUPTED,
            "cause": None,
            "detail": f"no epoch had ended by {budget}",
        }
    if not used or not (row["status"] == Status.COMPLETED or budget.is_used_up_by(epochs)):
        return row
    best = best_epoch(row, used)
    return {
        **row,
        **empty,
        **{name: best[name] for name in ("train_accuracy", "train_loss", "val_accuracy", "val_loss")},
        "status": Status.COMPLETED,
        "cause": None,
        "epochs": used[-1]["epoch"],
        "best_epoch": best["epoch"],
        "fit_seconds": used[-1]["elapsed_seconds"],
    }


def best_epoch(row: ResultRow, epochs: Epochs) -> Mapping[str, Any]:
    """The epoch whose weights would have been kept, by the rules of the row's cell.

    As in training: the best by `monitor`, of equal ones by `val_accuracy` that with the lower validation loss, then the
    first; the last with `keep = "last"` or without validation.
    """
    settings = settings_of(row)
    if settings.get("keep", "best") == "last" or all(epoch["val_loss"] is None for epoch in epochs):
        return epochs[-1]
    monitor = settings.get("monitor", "val_accuracy")
    if monitor.removeprefix(VAL) not in METRICS:
        # which way a user's own metric is better is known where it was computed alone
        return next((epoch for epoch in reversed(epochs) if epoch["improved"]), epochs[-1])
    if monitor not in epochs[0]:
        return max(epochs, key=lambda epoch: _gain(epoch, "monitored", monitor))
    return max(epochs, key=lambda epoch: (_gain(epoch, monitor, monitor), _gain(epoch, "val_loss", "val_loss")))


def _gain(epoch: Mapping[str, Any], column: str, monitor: str) -> float:
    """The value of a column, which is the metric `monitor`, with the sign that makes larger better."""
    value = epoch[column]
    if value is None or not math.isfinite(value):
        return -math.inf
    return -float(value) if monitor.removeprefix("val_") in LOWER_IS_BETTER else float(value)
