"""What skewed values do to Student's t, and what takes it out again.

Of values with a long tail on one side the mean and the standard deviation go together: where the tail is not drawn, the mean
lies too far from it and its error is too small. Hall's transformation of t has the skewness of the mean taken out to second
order, and is monotone: P. Hall, "On the removal of skewness by transformation", Journal of the Royal Statistical Society B
54 (1992); its first terms are those of N. J. Johnson, "Modified t tests and confidence intervals for asymmetrical
populations", JASA 73 (1978). It is asked beside t and on the side of the long tail alone, so that it never makes an interval
narrower. The rates of error that this gives are in docs/report.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.reporting.statistics.intervals import moments

VISIBLE_SKEW = 0.3
"""Below this sample skewness values count as symmetric, and t stands alone."""

PLAIN_SKEW = 1.25
"""Above it a reader is warned: of ten normal values 8 % are as skewed, of ten exponential ones 43 %."""

OTHER_SIDE = 0.6
"""The part of the skewness that counts away from the long tail: where a tail is seldom drawn, few values may look skewed the
other way. Simulation: a smaller part errs more where one seed in ten collapses, a larger one costs power."""

_LEAST_VALUES = 3


def skewness(values: Sequence[float]) -> float:
    """Sample skewness, the unbiased third cumulant over the cube of the standard deviation; 0 for equal values or two."""
    n = len(values)
    mean, deviation = moments(values) if n >= _LEAST_VALUES else (0.0, 0.0)
    if deviation == 0:
        return 0.0
    return math.fsum(((value - mean) / deviation) ** 3 for value in values) * n / ((n - 1) * (n - 2))


def skewness_of_mean(groups: Sequence[Sequence[float]], error: float) -> float:
    """The skewness of a mean, or of the mean of the first group less that of the second; 0 where none is visible.

    It is raised (`raised`), for few values show less skewness than the law has that they are drawn from: of a tail that is
    seldom drawn nothing is seen.

    Args:
        groups: One or two, each of at least two values.
        error: The standard error of the mean, finite.
    """
    n = min(map(len, groups))
    if n < _LEAST_VALUES or error == 0:
        return 0.0
    of_mean = 0.0
    for sign, group in zip((1, -1), groups, strict=False):
        size = len(group)
        share = moments(group)[1] / math.sqrt(size) / error
        of_mean += sign * skewness(group) / math.sqrt(size) * share**3
    return of_mean * raised(n) if abs(of_mean) * math.sqrt(n) > VISIBLE_SKEW else 0.0


def raised(n: int) -> float:
    """By what the skewness that n values show is multiplied; what errs least in simulation."""
    return (n + 1) / (n - 1)


def towards(side: int, skew: float) -> float:
    """What counts of the skewness of a mean below it (`side` -1) or above it (1), at least 0."""
    tail = side * skew
    return tail if tail >= 0 else -OTHER_SIDE * tail


def stretched(factor: float, tail: float) -> float:
    """By how many standard errors an interval reaches to one side, at least `factor`.

    Args:
        factor: The quantile of Student's t, at least 0.
        tail: The skewness of the mean on this side, positive for a long tail.
    """
    if tail <= 0:
        return factor
    return max(factor, 3 / tail * (1 - math.cbrt(1 - tail * (factor + tail / 6))))


def straightened(t: float, tail: float) -> float:
    """What a value of t is worth, at most t: the inverse of `stretched`.

    Args:
        t: The size of t, in standard errors from the mean to one side.
        tail: The skewness of the mean on this side, positive for a long tail.
    """
    if tail <= 0:
        return t
    return min(t, t - tail * t**2 / 3 + tail**2 * t**3 / 27 - tail / 6)
