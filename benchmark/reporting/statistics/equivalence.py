"""Whether a difference is inside a margin, and what its number of seeds could have shown.

Sources:

- equivalence: D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", Journal of
  Pharmacokinetics and Biopharmaceutics 15 (1987).
- not worse than by a margin: G. Piaggio et al., "Reporting of noninferiority and equivalence randomized trials", JAMA 295
  (2006).
- what n could have shown: the noncentral t distribution; J. Cohen, "Statistical Power Analysis" (1988), section 2.
"""

from __future__ import annotations

from benchmark.reporting.statistics.intervals import CONFIDENCE, t_quantile
from benchmark.reporting.statistics.mean_difference import Difference

POWER = 0.8


def equivalence_p(difference: Difference, margin: float) -> float | None:
    """The p of two one-sided t tests: small where the difference lies within `±margin`; None without an interval.

    Skewness is left aside here and in `lower_bound` and `upper_bound`: to allow for it would cost up to half of the power
    that two one-sided tests promise where nothing is skewed. What it costs stands in docs/report.md, and beside the verdict.
    """
    if difference.error is None or difference.freedom is None:
        return None
    room = margin - abs(difference.mean)
    if difference.error == 0:
        return 0.0 if room > 0 else 1.0
    from scipy.special import stdtr

    return float(stdtr(difference.freedom, -room / difference.error))


def lower_bound(difference: Difference) -> float | None:
    """The lower end of the one-sided 95 % interval of the difference; None without an interval."""
    if difference.error is None or difference.freedom is None:
        return None
    return difference.mean - t_quantile(difference.freedom, CONFIDENCE) * difference.error


def upper_bound(difference: Difference) -> float | None:
    """The upper end of the one-sided 95 % interval of the difference; None without an interval."""
    if difference.error is None or difference.freedom is None:
        return None
    return difference.mean + t_quantile(difference.freedom, CONFIDENCE) * difference.error


def detectable(difference: Difference) -> float | None:
    """The true difference that so many seeds with this spread resolve with this `POWER`; None without an interval."""
    if difference.half_width is None or difference.freedom is None:
        return None
    from scipy.special import nctdtrinc

    # the chance to err on the far side is left out: at this power it is nothing
    noncentrality = nctdtrinc(difference.freedom, 1 - POWER, t_quantile(difference.freedom))
    return float(noncentrality) * difference.half_width / t_quantile(difference.freedom)


def ruled_out(difference: Difference) -> float | None:
    """The least size, either way, that the 95 % interval rules out; None without an interval."""
    ends = difference.low, difference.high
    return max((abs(end) for end in ends if end is not None), default=None)
