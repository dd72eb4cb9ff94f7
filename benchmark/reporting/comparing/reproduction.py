"""Compares two executions of a cell: was the result reproduced, and what else changed. Pure functions.

Three verdicts. `identical`: the digests agree, so every recorded number is equal to the bit. `within seed noise`: the
test accuracy changed by no more than two of the cell's own seeds differ in 95 %. `different`: by more, or that spread is
unknown, or one of the executions did not complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.reporting.rows.audited_fields import AUDITED
from benchmark.reporting.statistics.intervals import measure, t_quantile

IDENTICAL, WITHIN_NOISE, DIFFERENT = "identical", "within seed noise", "different"


@dataclass(frozen=True, slots=True)
class Change:
    """An audited field whose value changed, and its heading."""

    area: str
    name: str
    before: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The second execution of a cell compared with the first.

    Attributes:
        verdict: `identical`, `within seed noise` or `different`.
        reason: Why, in words.
        difference: Test accuracy now minus before; None when either is missing.
        spread: Half width of the 95 % spread of the difference of two of its seeds; None for fewer than two seeds.
        seeds: From how many seeds the spread is computed.
        changes: What else changed.
    """

    verdict: str
    reason: str
    difference: float | None
    spread: float | None
    seeds: int
    changes: tuple[Change, ...]


def compare_executions(before: Mapping[str, Any], now: Mapping[str, Any], seeds: Iterable[float]) -> Reproduction:
    """Compare two executions of one cell.

    Args:
        before: Row of the first, with `digest`, `status`, `test_accuracy`, and the audited fields as far as known.
        now: Row of the second.
        seeds: Test accuracies of completed cells that differ from this cell in the seed alone, `before` included.
    """
    spread, count = seed_spread(seeds, before.get("test_examples"))
    accuracy_before, accuracy_now = before.get("test_accuracy"), now.get("test_accuracy")
    difference = None if accuracy_before is None or accuracy_now is None else accuracy_now - accuracy_before
    verdict, reason = _judge(before, now, difference, spread)
    changes = [
        Change(each.area, each.name, before.get(each.name), now.get(each.name))
        for each in AUDITED
        if before.get(each.name) != now.get(each.name)
    ]
    return Reproduction(verdict, reason, difference, spread, count, tuple(changes))


def seed_spread(seeds: Iterable[float], test_examples: int | None) -> tuple[float | None, int]:
    """Half width of the 95 % spread of the difference of two results, `t(0.975, n - 1) · sd · √2`, and n; None for n < 2.

    Both results are drawn from the law that the seeds show, so that their difference has twice its variance. The standard deviation is at least that of rounding to whole test images, a uniform error of width 1/m with the
    deviation `1 / (m √12)` for m test images, so that seeds that agree by chance do not look like certainty.
    """
    measured = measure(value for value in seeds if math.isfinite(value))
    if measured is None:
        return None, 0
    if measured.sd is None:
        return None, measured.n
    rounding = 1 / (test_examples * math.sqrt(12)) if test_examples else 0.0
    return t_quantile(measured.n - 1) * max(measured.sd, rounding) * math.sqrt(2), measured.n


def _judge(
    before: Mapping[str, Any], now: Mapping[str, Any], difference: float | None, spread: float | None
) -> tuple[str, str]:
    if now["digest"] is not None and now["digest"] == before["digest"]:
        return IDENTICAL, "every recorded number is identical to the last bit"
    if now["status"] != before["status"]:
        return DIFFERENT, f"it was {before['status']} before and is {now['status']} now"
    if difference is None or not math.isfinite(difference):
        return DIFFERENT, "there is no test accuracy to compare"
    if difference == 0:
        return WITHIN_NOISE, "the test accuracy is equal, but other numbers are not"
    moved = f"the test accuracy changed by {difference:+.4f}"
    if spread is None:
        return DIFFERENT, f"{moved}, and with fewer than two seeds the noise is not known"
    if abs(difference) <= spread:
        return WITHIN_NOISE, f"{moved}; its seeds spread by ±{spread:.4f}"
    return DIFFERENT, f"{moved}, more than its seeds spread (±{spread:.4f})"
