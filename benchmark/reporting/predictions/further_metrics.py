"""Metrics of older results, from their stored predictions: those that were recorded before there were such columns."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.prediction_metrics import prediction_metrics
from benchmark.reporting.predictions.best_probabilities import BestProbabilities
from benchmark.reporting.predictions.stored_predictions import LoadPredictions
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import FURTHER_METRICS, Metric
from benchmark.status import Status

_AT_ONCE = 10
"""Of how many executions predictions are held in memory at once."""


def with_further_metrics(
    rows: Sequence[ResultRow], metrics: Sequence[Metric], load: LoadPredictions
) -> list[ResultRow]:
    """The rows with all further metrics of the test set, where `metrics` has any; rows without predictions stay.

    `bench db upgrade` stores them, so that nothing is left to compute here.
    """
    lacking = [row for row in rows if row["status"] == Status.COMPLETED and row.get("test_log_loss") is None]
    if not lacking or not set(metrics) & set(FURTHER_METRICS):
        return list(rows)
    computed: dict[int, dict[str, float | None]] = {}
    for start in range(0, len(lacking), _AT_ONCE):
        for number, each in load([row["execution_id"] for row in lacking[start : start + _AT_ONCE]]).items():
            stored = each.probabilities
            known = (
                stored.metrics
                if isinstance(stored, BestProbabilities)
                else prediction_metrics(each.labels, each.predicted, stored)
            )
            computed[number] = {f"test_{name}": value for name, value in known.items()}
    return [{**row, **computed.get(row.get("execution_id") or 0, {})} for row in rows]
