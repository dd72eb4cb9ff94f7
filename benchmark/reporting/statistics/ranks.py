"""Which of several methods is better over several datasets: mean ranks with their tests.

Source: J. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006), section 3.2: Friedman's
chi-squared without correction for ties, R. L. Iman and J. M. Davenport's F (1980), P. B. Nemenyi's critical difference
(1963), and F. Wilcoxon's signed ranks (1945) for pairs. SciPy is imported when it is needed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.reporting.statistics.intervals import CONFIDENCE

FEWEST_DATASETS = 6
"""With fewer the signed-rank test cannot fall below 0.05, whatever the results are: its least p is 2^(1-n)."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Mean ranks of k methods on N datasets, with the test that all methods are alike.

    Attributes:
        mean_ranks: Of each method; 1 is the best.
        chi2: Friedman's, with k - 1 degrees of freedom.
        f: Iman and Davenport's, with k - 1 and (k - 1)(N - 1) degrees of freedom; infinite where all datasets agree.
        p: Of `f`.
        critical_difference: Mean ranks further apart differ at 5 %, by Nemenyi's test of all pairs.
    """

    mean_ranks: tuple[float, ...]
    chi2: float
    f: float
    p: float
    critical_difference: float


def rank(scores: Sequence[Sequence[float]], *, higher_is_better: bool = True) -> Ranking:
    """Rank methods on each dataset; equal scores share their mean rank.

    Args:
        scores: [N datasets, k methods], at least two of each.
        higher_is_better: Whether the highest score gets rank 1.
    """
    import numpy as np
    from scipy.special import fdtrc
    from scipy.stats import rankdata

    values = np.asarray(scores, np.float64)
    datasets, methods = values.shape
    means = rankdata(-values if higher_is_better else values, axis=1).mean(axis=0)
    chi2 = 12 * datasets / (methods * (methods + 1)) * (float((means**2).sum()) - methods * (methods + 1) ** 2 / 4)
    rest = datasets * (methods - 1) - chi2
    f = (datasets - 1) * chi2 / rest if rest > 1e-9 else math.inf
    p = float(fdtrc(methods - 1, (methods - 1) * (datasets - 1), f)) if math.isfinite(f) else 0.0
    difference = _nemenyi_quantile(methods) * math.sqrt(methods * (methods + 1) / (6 * datasets))
    return Ranking(tuple(means.tolist()), chi2, f, p, difference)


@functools.cache
def _nemenyi_quantile(methods: int) -> float:
    """The 0.95 quantile of the range of so many normal values, over the root of 2."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(CONFIDENCE, methods, math.inf)) / math.sqrt(2)


def signed_rank_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test; differences of 0 are shared by both signs. None below six."""
    if len(differences) < FEWEST_DATASETS:
        return None
    if not any(differences):
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences, zero_method="zsplit").pvalue)


def alike(mean_ranks: Sequence[float], critical_difference: float) -> list[tuple[int, ...]]:
    """The largest sets of methods that Nemenyi's test cannot tell apart, best ranks first; sets of one are left out."""
    order = sorted(range(len(mean_ranks)), key=lambda method: mean_ranks[method])
    sets: list[tuple[int, ...]] = []
    for first, best in enumerate(order):
        near = tuple(each for each in order[first:] if mean_ranks[each] - mean_ranks[best] <= critical_difference)
        if len(near) > 1 and not any(set(near) <= set(known) for known in sets):
            sets.append(near)
    return sets
