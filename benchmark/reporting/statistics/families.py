"""Verdicts on a family of comparisons, corrected together for their number.

Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.reporting.statistics.equivalence import equivalence_p
from benchmark.reporting.statistics.intervals import ALPHA
from benchmark.reporting.statistics.mean_difference import BETTER, EQUIVALENT, NOT_RESOLVED, WORSE, Difference


def judge(
    differences: Sequence[Difference | None], *, higher_is_better: bool | None, margin: float | None = None
) -> list[Difference | None]:
    """The differences with their verdicts, after Holm's correction for their number.

    `better` or `worse` needs an adjusted p below 0.05, which for a single comparison is the same as an interval that
    leaves 0 out. With a margin, `equivalent` needs the same of the two one-sided tests, whose family is as large, and
    comes first: a difference may be resolved and too small to matter. Everything else is `not resolved`.
    """
    adjusted = holm([None if each is None else each.p for each in differences])
    equal = holm([None if each is None or margin is None else equivalence_p(each, margin) for each in differences])
    tested = max(sum(p is not None for p in adjusted), 1)

    def verdict(mean: float, p: float | None, equal_p: float | None) -> str | None:
        if higher_is_better is None:
            return None
        if equal_p is not None and equal_p < ALPHA:
            return EQUIVALENT
        if p is None or p >= ALPHA:
            return NOT_RESOLVED
        return BETTER if (mean > 0) == higher_is_better else WORSE

    return [
        each and replace(each, adjusted_p=p, comparisons=tested, margin=margin, verdict=verdict(each.mean, p, equal_p))
        for each, p, equal_p in zip(differences, adjusted, equal, strict=True)
    ]


def holm(probabilities: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p values: the k-th smallest of m times (m - k + 1), made monotone, at most 1.

    A None (a comparison that could not be tested) stays None and does not count.
    """
    order = sorted((p, index) for index, p in enumerate(probabilities) if p is not None)
    adjusted: list[float | None] = [None] * len(probabilities)
    highest = 0.0
    for rank, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[index] = highest
    return adjusted


def simultaneous_half_width(difference: Difference, comparisons: int) -> float | None:
    """Half of an interval that covers together with those of all comparisons in 95 %; None without an interval.

    Bonferroni's, for whichever of several differences is looked at because of its value: J. C. Hsu, "Constrained
    simultaneous confidence intervals for multiple comparisons with the best", Annals of Statistics 12 (1984), says why a
    winner's own interval does not do.
    """
    if difference.half_width is None:
        return None
    return max(difference.reach(side, 1 - ALPHA / comparisons) for side in (-1, 1))
