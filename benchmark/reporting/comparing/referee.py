"""The referee of a search: verdicts on many ideas, one after another, that spend one error budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmark.reporting.comparing.compare import Comparison
from benchmark.reporting.comparing.difference_remarks import cannot_see
from benchmark.reporting.rows.metrics import in_words
from benchmark.reporting.statistics.equivalence import equivalence_p
from benchmark.reporting.statistics.intervals import ALPHA
from benchmark.reporting.statistics.mean_difference import (
    BETTER,
    EQUIVALENT,
    NOT_COMPARABLE,
    NOT_RESOLVED,
    WORSE,
    Difference,
)
from benchmark.reporting.statistics.sequential import campaign_level
from benchmark.results.records import LookRow

EXIT_CODES = {BETTER: 0, WORSE: 10, EQUIVALENT: 10, NOT_RESOLVED: 11, NOT_COMPARABLE: 12}
"""How `bench judge` ends, by its verdict on B."""

OF_SURVIVORS = "of the survivors"

_SKEWED = (
    "skewed: where one side has a long tail, 10 to 45 % of campaigns of twenty such looks hold a false verdict, not 5 %; "
    "more seeds for each look help"
)


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict on one idea of a campaign.

    Attributes:
        verdict: On B.
        alpha: The error that it spends; 0 where nothing could be judged.
        number: Which look of the campaign it is, from 1; those that spent nothing do not count.
        low, high: Ends of the interval at `1 - alpha`; None where nothing could be judged.
        p: Of the test of no difference.
        reasons: In words, the one that decided first.
    """

    verdict: str
    alpha: float
    number: int
    low: float | None
    high: float | None
    p: float | None
    reasons: tuple[str, ...]


def rule(comparison: Comparison, campaign: Sequence[LookRow], margin: float | None) -> Ruling:
    """Judges a comparison within the error budget of its campaign.

    `better` and `worse` need a p below what this look may spend (`sequential.campaign_level`), `equivalent` both of the
    two one-sided tests at that level. Where seeds were lost, only survivors are compared, so that neither is given.

    Args:
        comparison: Of B with A.
        campaign: The looks of the campaign so far, oldest first.
        margin: What counts as equivalent.
    """
    counted = [look for look in campaign if look.alpha > 0]
    number, alpha = len(counted) + 1, campaign_level([look.verdict in {BETTER, WORSE} for look in counted])
    return _ruling(comparison, alpha, number, margin, f"look {number} of the campaign may spend {alpha:.2g}")


def open_lockbox(comparison: Comparison, others: Sequence[str], margin: float | None) -> Ruling:
    """Judges a comparison on images that took no part in the search: the only test on them, so at 5 %.

    Args:
        comparison: Of B with A, on the images of the lockbox.
        others: Campaigns that opened the same lockbox before, each with its time.
        margin: What counts as equivalent.
    """
    ruling = _ruling(comparison, ALPHA, 1, margin, "the lockbox is opened once for each campaign, at 0.05")
    worn = tuple(f"no longer unseen: {other} has opened this lockbox before" for other in others)
    return replace(ruling, reasons=(*ruling.reasons, *worn))


def _ruling(comparison: Comparison, alpha: float, number: int, margin: float | None, budget: str) -> Ruling:
    difference = comparison.overall
    more = (*(difference.remarks if difference else ()), *comparison.gaps)
    if comparison.verdict == NOT_COMPARABLE or difference is None:
        verdict = NOT_COMPARABLE if comparison.verdict == NOT_COMPARABLE else NOT_RESOLVED
        return Ruling(verdict, 0.0, number, None, None, None, more or ("the two have no result in common",))
    if difference.error is None or difference.p is None:
        return Ruling(NOT_RESOLVED, 0.0, number, None, None, None, more or ("fewer than two pairs of seeds",))
    verdict, why = _verdict(comparison, difference, alpha, margin)
    ends = difference.mean - difference.reach(-1, 1 - alpha), difference.mean + difference.reach(1, 1 - alpha)
    skewed = [_SKEWED] if difference.looks_skewed else []
    return Ruling(
        verdict,
        alpha,
        number,
        *ends,
        difference.p,
        tuple(dict.fromkeys((why, budget, *skewed, *(text for text in more if text not in why)))),
    )


def _verdict(comparison: Comparison, difference: Difference, alpha: float, margin: float | None) -> tuple[str, str]:
    metric, p = comparison.metric, difference.p
    assert p is not None
    equal_p = None if margin is None else equivalence_p(difference, margin)
    if margin is not None and equal_p is not None and equal_p < alpha:
        return EQUIVALENT, f"within ±{in_words(margin, metric)}: p = {equal_p:.2g} of both one-sided tests"
    if p >= alpha:
        return NOT_RESOLVED, f"p = {p:.2g} is not below {alpha:.2g}: {cannot_see(difference, metric)}"
    if any(remark.startswith(OF_SURVIVORS) for remark in difference.remarks):
        return NOT_RESOLVED, "seeds were lost, and the survivors alone prove nothing; see: bench run --retry-failed"
    verdict = BETTER if (difference.mean > 0) == metric.higher_is_better else WORSE
    return verdict, f"p = {p:.2g} is below {alpha:.2g}: by {in_words(abs(difference.mean), metric)}"
