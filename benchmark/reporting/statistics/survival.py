"""Times until something happens, where some never saw it: Kaplan and Meier's estimate, which drops nobody.

Sources: E. L. Kaplan and P. Meier, "Nonparametric estimation from incomplete observations", JASA 53 (1958); the interval of
the median inverts Greenwood's exponential (log-log) band, R. Brookmeyer and J. Crowley, "A confidence interval for the
median survival time", Biometrics 38 (1982). The curve and its band are SciPy's, imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.reporting.statistics.intervals import CONFIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray


_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Survival:
    """When half of all have arrived.

    Attributes:
        reached, censored: How many arrived, and how many did not as long as they were watched.
        median: The first time by which at least half have arrived; None while fewer have.
        low, high: Its 95 % interval; None where the data set no bound, and for a single one. When the last has arrived, the
            interval ends there, as in lifelines, so that of few it covers less than it says.
    """

    reached: int
    censored: int
    median: float | None
    low: float | None
    high: float | None


def median_time(arrivals: Sequence[float], censored: Sequence[float]) -> Survival:
    """The median, by Kaplan and Meier, of times that may be censored.

    Args:
        arrivals: When those that arrived did, in any unit.
        censored: Until when those that did not arrive were watched.
    """
    counts = len(arrivals), len(censored)
    if not arrivals:
        return Survival(*counts, None, None, None)
    import warnings

    from scipy.stats import CensoredData, ecdf

    left = ecdf(CensoredData(uncensored=list(arrivals), right=list(censored))).sf
    with warnings.catch_warnings():
        # the band is undefined where all or nobody are left
        warnings.simplefilter("ignore", RuntimeWarning)
        band = left.confidence_interval(CONFIDENCE, method="log-log")
    median, low, high = (
        _first_half(left.quantiles, curve, left.probabilities)
        for curve in (left.probabilities, band.low.probabilities, band.high.probabilities)
    )
    has_interval = sum(counts) > 1
    return Survival(*counts, median, low if has_interval else None, high if has_interval else None)


def _first_half(times: NDArray[Any], curve: NDArray[Any], left: NDArray[Any]) -> float | None:
    """The first time at which a curve is at most a half; every curve ends where nobody is left."""
    below = times[(curve <= 0.5 + _ROUNDING) | (left <= _ROUNDING)]
    return float(below[0]) if len(below) else None
