"""How worn a test set is: of many strategies that it has judged, the best looks better than it is."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from benchmark import units
from benchmark.reporting.rows.latest import ResultRow
from benchmark.reporting.rows.metrics import TEST_ACCURACY, in_words
from benchmark.reporting.statistics.intervals import mean_of, sample_deviation
from benchmark.reporting.statistics.sequential import expected_maximum
from benchmark.status import Status

FRESH = 2
"""So many strategies must have been judged before there is anything to compare."""


@dataclass(frozen=True, slots=True)
class Wear:
    """What a test set has been used for.

    Attributes:
        strategies: How many different ones were tested on it.
        runs: In how many runs.
        too_good: By how much the best of them is expected to look better than it is, in accuracy.
    """

    strategies: int
    runs: int
    too_good: float

    @property
    def text(self) -> str:
        return (
            f"{self.strategies} strategies were evaluated on this test set in "
            f"{units.plural(self.runs, 'run')}; the best of {self.strategies} looks about "
            f"{in_words(self.too_good, TEST_ACCURACY)} too good"
        )


def wear(rows: Sequence[ResultRow], executions: Collection[int]) -> Wear | None:
    """The wear of the test set that these executions were tested on; None where no more than two strategies were.

    The best of k that are equally good exceeds the truth by the deviation of one mean times the expected largest of k
    standard normals (Tippett 1925; `sequential.expected_maximum`). That deviation has two parts: which images are in the
    test set, `p (1 - p) / m`, and the seeds, their variance over their number. Strategies that err on the same images
    differ by less, so that it is an upper estimate.

    Args:
        rows: All results.
        executions: Some that were tested on it.
    """
    chosen = set(executions)
    prints = {row["data_fingerprint"] for row in rows if row["execution_id"] in chosen} - {None}
    tested = [
        row
        for row in rows
        if row["status"] == Status.COMPLETED and row["test_accuracy"] is not None and row["data_fingerprint"] in prints
    ]
    of: dict[str, list[float]] = {}
    for row in tested:
        of.setdefault(row["strategy"], []).append(row["test_accuracy"])
    if len(of) <= FRESH:
        return None
    mean = mean_of([mean_of(values) for values in of.values()])
    images = [row["test_examples"] for row in tested if row.get("test_examples")]
    variance = mean * (1 - mean) / min(images) if images else 0.0
    spreads = [
        sample_deviation(values, mean_of(values)) ** 2 / len(values) for values in of.values() if len(values) > 1
    ]
    variance += mean_of(spreads) if spreads else 0.0
    runs = {row["run_id"] for row in tested}
    return Wear(len(of), len(runs), math.sqrt(max(variance, 0.0)) * expected_maximum(len(of)))
