"""What outliers cannot move: interquartile means, and how often a seed of one side is above one of the other.

Sources:

- both, for few runs: R. Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS
  (2021).
- the interval of the probability: R. G. Newcombe, "Confidence intervals for an effect size measure based on the
  Mann-Whitney statistic. Part 2", Statistics in Medicine 25 (2006), method 5: a score interval, which is not empty where
  all seeds of one side are above all of the other. It takes the sides to be independent; pairs mostly make it too wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from benchmark.reporting.statistics.intervals import ALPHA, Interval, mean_of

ENOUGH = 10
"""From so many seeds on each side on: the quarters of fewer are one or two seeds."""

_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Robust:
    """A comparison of two sides of at least `ENOUGH` seeds each.

    Attributes:
        first, second: The interquartile mean of each side.
        above: The share of all pairs of a seed of each side in which the second is greater, ties half: P(B > A).
        interval: Its 95 % interval.
    """

    first: float
    second: float
    above: float
    interval: Interval


def robust(first: Sequence[float], second: Sequence[float]) -> Robust | None:
    """Compares two sides whose values are finite; None with fewer than `ENOUGH` on either."""
    if min(len(first), len(second)) < ENOUGH:
        return None
    above = sum((b > a) + (b == a) / 2 for a in first for b in second) / (len(first) * len(second))
    low, high = (_end(above, bound, len(first), len(second)) for bound in (0.0, 1.0))
    return Robust(interquartile_mean(first), interquartile_mean(second), above, Interval(low, high))


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean without the lowest and the highest quarter, each rounded down to whole values."""
    cut = len(values) // 4
    return mean_of(sorted(values)[cut : len(values) - cut])


def _end(above: float, bound: float, m: int, n: int) -> float:
    """The probability between `above` and `bound` from which the measured one is as far as the interval allows."""
    z = NormalDist().inv_cdf(1 - ALPHA / 2)

    def is_inside(p: float) -> bool:
        larger = 1 + ((m + n) / 2 - 1) * ((1 - p) / (2 - p) + p / (1 + p))
        return (p - above) ** 2 <= z**2 * p * (1 - p) * larger / (m * n)

    inside, outside = above, bound
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_inside(middle) else (inside, middle)
    return inside
