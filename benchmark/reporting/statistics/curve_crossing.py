"""From when on one of two learning curves is ahead of the other for good, with an interval.

The interval holds every time at which a test of the two curves' values does not reject that they are equal: where they
cross they are, so that it covers the crossing as often as that test errs not. Source: E. C. Fieller, "Some problems in
interval estimation", Journal of the Royal Statistical Society B 16 (1954), whose intervals of ratios are made so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from benchmark.reporting.statistics.mean_difference import Difference, compare

Curve: TypeAlias = Sequence[tuple[float, float]]
"""Times, rising, and the values at them."""

_TIMES = 100


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where two mean curves cross for the last time.

    Attributes:
        time: When; None where they do not in the time that all of both sides were watched.
        low, high: Its 95 % interval; None where it is open: the curves cannot be told apart where the watch begins or ends.
        second_leads: Whether the second is ahead at the end.
        n: Pairs of curves, or curves of the smaller side.
    """

    time: float | None
    low: float | None
    high: float | None
    second_leads: bool
    n: int


def crossing(first: Mapping[int, Curve], second: Mapping[int, Curve]) -> Crossing | None:
    """The last crossing of the mean curves of two groups of seeds, between whose points lines are drawn.

    Args:
        first: A curve for each seed.
        second: Likewise; higher is ahead.

    Returns:
        None where the curves have no time in common, or a side has none.
    """
    curves = [curve for side in (first, second) for curve in side.values()]
    if not first or not second or not all(curves):
        return None
    start, end = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    if start >= end:
        return None
    times = [start + (end - start) * step / (_TIMES - 1) for step in range(_TIMES)]
    known = {seed: _values(curve, times) for seed, curve in first.items()}
    others = {seed: _values(curve, times) for seed, curve in second.items()}
    differences = [
        compare({seed: each[at] for seed, each in known.items()}, {seed: each[at] for seed, each in others.items()})
        for at in range(_TIMES)
    ]
    return _last_crossing(times, [each for each in differences if each is not None])


def _last_crossing(times: Sequence[float], differences: Sequence[Difference]) -> Crossing | None:
    if len(differences) < len(times):
        return None
    means = [each.mean for each in differences]
    sign = 1 if means[-1] > 0 else -1
    at = None
    for index, (before, after) in enumerate(pairwise(means)):
        if sign * before <= 0 < sign * after:
            at = times[index] + (times[index + 1] - times[index]) * before / (before - after)
    alike = [index for index, each in enumerate(differences) if _may_be_equal(each)]
    has_interval = at is not None and alike and differences[0].half_width is not None
    low = times[alike[0]] if has_interval and alike[0] > 0 else None
    high = times[alike[-1]] if has_interval and alike[-1] < len(times) - 1 else None
    return Crossing(at, low, high, sign > 0, differences[0].n)


def _may_be_equal(difference: Difference) -> bool:
    return difference.half_width is None or abs(difference.mean) <= difference.half_width


def _values(curve: Curve, times: Sequence[float]) -> list[float]:
    import numpy as np

    points, values = zip(*curve, strict=True)
    interpolated: list[float] = np.interp(times, points, values).tolist()
    return interpolated
