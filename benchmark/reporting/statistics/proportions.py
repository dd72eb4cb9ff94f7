"""Shares of counts: how often a group came to a result, and which of two networks is right where only one is.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); R. A. Fisher,
"The Design of Experiments" (1935), section 10; Q. McNemar, "Note on the sampling error of the difference between correlated
proportions", Psychometrika 12 (1947), as the exact binomial test. All of them are SciPy's, imported when they are needed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from benchmark.reporting.statistics.intervals import Interval


@functools.cache
def wilson(successes: int, trials: int) -> Interval:
    """Wilson's 95 % interval of a share, `successes` of `trials` (at least one)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return Interval(float(interval.low), float(interval.high))


@functools.cache
def fisher_p(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p of Fisher's exact test of two shares, each `(successes, failures)`."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([first, second]).pvalue)


@dataclass(frozen=True, slots=True)
class Discordance:
    """Images on which one of two networks alone is right, and the two-sided p of McNemar's exact test."""

    only_first: int
    only_second: int
    p: float


def mcnemar(only_first: int, only_second: int) -> Discordance:
    """McNemar's exact test: do two networks err alike often, given the images on which only one is right."""
    if only_first + only_second == 0:
        return Discordance(0, 0, 1.0)
    from scipy.stats import binomtest

    return Discordance(only_first, only_second, float(binomtest(only_first, only_first + only_second, 0.5).pvalue))
