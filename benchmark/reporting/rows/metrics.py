"""The metrics that reports compare: column, title, kind, and whether higher is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UserError
from benchmark.matrix.problems import close_hint
from benchmark.reporting.statistics.intervals import FRACTION
from benchmark.reporting.table import Kind
from benchmark.status import DISTURBED


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the view `results`.

    Attributes:
        key: The column of the view.
        title: Its heading in tables.
        kind, unit: As in `table.TableColumn`.
        higher_is_better: None where neither way is better.
        is_timing: Whether only executions with valid timings count.
        counted_on: The column with the number of images behind an accuracy; empty for other metrics.
    """

    key: str
    title: str
    kind: Kind
    unit: str = ""
    higher_is_better: bool | None = None
    is_timing: bool = False
    counted_on: str = ""

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest value that it can have."""
        return FRACTION if self.kind == "accuracy" else (-math.inf, math.inf)


EPOCHS = Metric("epochs", "epochs", "count")
BEST_EPOCH = Metric("best_epoch", "kept epoch", "count")
TRAIN_ACCURACY = Metric(
    "train_accuracy", "train accuracy", "accuracy", higher_is_better=True, counted_on="train_examples"
)
VAL_ACCURACY = Metric(
    "val_accuracy", "validation accuracy", "accuracy", higher_is_better=True, counted_on="validation_examples"
)
TEST_ACCURACY = Metric("test_accuracy", "test accuracy", "accuracy", higher_is_better=True, counted_on="test_examples")
TRAIN_LOSS = Metric("train_loss", "train loss", "loss", higher_is_better=False)
VAL_LOSS = Metric("val_loss", "validation loss", "loss", higher_is_better=False)
TEST_LOSS = Metric("test_loss", "test loss", "loss", higher_is_better=False)
TTA_ACCURACY = Metric("tta_accuracy", "TTA accuracy", "accuracy", higher_is_better=True, counted_on="test_examples")
TTA_LOSS = Metric("tta_loss", "TTA loss", "loss", higher_is_better=False)
PLAIN_ACCURACY = Metric(
    "plain_test_accuracy",
    "test accuracy without average",
    "accuracy",
    higher_is_better=True,
    counted_on="test_examples",
)
PLAIN_LOSS = Metric("plain_test_loss", "test loss without average", "loss", higher_is_better=False)
PARAMETERS = Metric("parameters", "parameters", "count")
FIT_SECONDS = Metric("fit_seconds", "fit seconds", "seconds", "s", higher_is_better=False, is_timing=True)
STEADY_SECONDS = Metric(
    "steady_seconds_per_epoch", "seconds per epoch", "seconds", "s", higher_is_better=False, is_timing=True
)
RATE = Metric("images_per_second", "images/s", "rate", "images/s", higher_is_better=True, is_timing=True)
PEAK_MEMORY = Metric("peak_rss_bytes", "peak memory", "bytes", "bytes")

SUMMARY_METRICS = (
    TRAIN_ACCURACY, VAL_ACCURACY, TEST_ACCURACY, TEST_LOSS, TTA_ACCURACY, TTA_LOSS, EPOCHS, BEST_EPOCH,
    PARAMETERS, FIT_SECONDS, RATE, PEAK_MEMORY,
)  # fmt: skip
"""The columns of the summary table; those of test-time augmentation are shown only where a group has them."""

COSTS = (FIT_SECONDS, PARAMETERS, PEAK_MEMORY)
"""What a group costs, for the table `pareto`."""

_FURTHER: dict[str, Kind] = {
    "balanced_accuracy": "accuracy", "macro_f1": "accuracy", "weighted_f1": "accuracy", "top5_accuracy": "accuracy",
    "auroc": "accuracy", "average_precision": "accuracy", "map": "accuracy", "subset_accuracy": "accuracy",
    "mcc": "score", "kappa": "score", "log_loss": "loss", "brier": "loss", "ece": "loss",
}  # fmt: skip
"""Further metrics of the test set, by kind."""

FURTHER_METRICS = tuple(
    Metric(f"test_{name}", f"test {name.replace('_', ' ')}", kind, higher_is_better=kind != "loss")
    for name, kind in _FURTHER.items()
)

METRICS = {
    metric.key: metric
    for metric in (*SUMMARY_METRICS, *FURTHER_METRICS, PLAIN_ACCURACY, PLAIN_LOSS, TRAIN_LOSS, VAL_LOSS, STEADY_SECONDS)
}
"""All metrics that a report can judge, by the column of the view `results`."""


def metric_named(name: str, own: Sequence[Metric] = ()) -> Metric:
    """The metric of a column of the view `results`, or one of the user's own.

    Raises:
        UserError: There is none of this name, or neither way is better in it.
    """
    metric = {each.key: each for each in own}.get(name) or METRICS.get(name)
    if metric is None or metric.higher_is_better is None:
        judged = [key for key, each in METRICS.items() if each.higher_is_better is not None]
        near = close_hint(name, [*judged, *(each.key for each in own)])
        raise UserError(f"metric: expected one of {', '.join(judged)}, got {name!r}{near and f'; {near}'}")
    return metric


def in_words(value: float, metric: Metric) -> str:
    """A difference in a metric as text with two significant digits: `1.2 points` of an accuracy, `3.4 s`."""
    size, unit = (100 * value, "points") if metric.kind == "accuracy" else (value, metric.unit)
    digits = f"{size:#.2g}".rstrip(".") if abs(size) < 100 else f"{size:.0f}"
    return f"{digits} {unit}".rstrip()


def value_of(row: Mapping[str, Any], metric: Metric) -> float | None:
    """The value of a row in a metric; None when it is missing, or a timing that is not valid."""
    value = row.get(metric.key)
    if value is None or not metric.is_timing:
        return None if value is None else float(value)
    if not has_valid_timing(row):
        return None
    # of a sum over epochs those that other load touched count as the others of their stage
    return float(value) - (row.get("lost_seconds") or 0.0 if metric.key == FIT_SECONDS.key else 0.0)


def has_valid_timing(row: Mapping[str, Any]) -> bool:
    """Whether a row was timed without interruption and without other load."""
    return bool(row.get("timing_valid")) and not row.get("resumed")


def invalid_timing(row: Mapping[str, Any]) -> str:
    """Why the timings of a row are not valid, in words."""
    if row.get("resumed"):
        return "resumed"
    _, recorded, what = (row.get("detail") or "").partition(DISTURBED)
    return f"disturbed: {what}" if recorded else "disturbed by other load"
