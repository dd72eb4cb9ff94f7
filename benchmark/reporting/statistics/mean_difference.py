"""The difference between the means of two groups of seeds, with its interval and its tests.

Sources:

- paired and unpaired tests: Student, "The probable error of a mean", Biometrika 6 (1908); B. L. Welch, "The
  generalization of Student's problem", Biometrika 34 (1947), with Satterthwaite's degrees of freedom.
- skewed differences: t and Hall's transformation of it, both (`skewness.py`).
- sign flips: R. A. Fisher, "The Design of Experiments" (1935), section 21, carried out over all 2^n signs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmark.reporting.statistics.intervals import (
    CONFIDENCE,
    Interval,
    moments,
    satterthwaite,
    t_quantile,
)
from benchmark.reporting.statistics.robust import Robust, robust
from benchmark.reporting.statistics.skewness import (
    PLAIN_SKEW,
    raised,
    skewness_of_mean,
    straightened,
    stretched,
    towards,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SIGN_FLIPS = 16
"""With more differences than this the 2^n signs are not enumerated; the t test then needs no second opinion."""

FEW_PAIRS = 6
"""With fewer nothing can replace the assumption of normality; from here on visible skewness is allowed for."""

_TELLS_NOTHING = 3
"""So many normal values look skewed half of the time."""

BETTER, WORSE, EQUIVALENT = "better", "worse", "equivalent"
NOT_RESOLVED, NOT_COMPARABLE = "not resolved", "not comparable"


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between the means of two groups, second minus first, with its interval and tests.

    Attributes:
        mean: Second minus first.
        half_width: How far the single (uncorrected) 95 % interval reaches towards 0; None with too few values to compute
            it. To the other side it reaches as far, unless differences are skewed.
        n: Pairs of seeds; for an unpaired difference the size of the smaller group.
        method: `paired` (by seed) or `unpaired` (Welch).
        p: Two-sided p of the t test; None where there is no interval.
        adjusted_p: `p` after Holm's correction over `comparisons` comparisons; equal to `p` when there is one.
        comparisons: How many comparisons were corrected for.
        sign_flip_p: Two-sided p of the exact sign-flip test of the pairs, which assumes symmetry but no normality.
        verdict: `better`, `worse`, `equivalent`, `not resolved` or `not comparable`; None where nothing is judged.
        error: The standard error of the t tests; None where there is no interval.
        freedom: Its degrees of freedom.
        skew: The skewness of the mean; 0 where none is visible. It is allowed for from `FEW_PAIRS` on.
        robust: What outliers cannot move, of all seeds of both sides; None with fewer than ten on either.
        margin: What counts as equivalent, in the unit of the metric; None where nobody named one.
        over_images: The 95 % interval over seeds and test images; None where predictions do not allow it.
        narrowed_by: More of what would make that interval narrower (`seeds_and_images.ADVICE`); empty without one.
        remarks: What a reader must know beside it.
        other_settings: The settings in which the two sides differ, in words.
    """

    mean: float
    half_width: float | None
    n: int
    method: str
    p: float | None
    adjusted_p: float | None
    comparisons: int = 1
    sign_flip_p: float | None = None
    verdict: str | None = None
    error: float | None = None
    freedom: float | None = None
    skew: float = 0.0
    robust: Robust | None = None
    margin: float | None = None
    over_images: Interval | None = None
    narrowed_by: str = ""
    remarks: tuple[str, ...] = ()
    other_settings: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        """The same as `mean`, by the name that JSON documents give it."""
        return self.mean

    @property
    def low(self) -> float | None:
        return None if self.half_width is None else self.mean - self.reach(-1)

    @property
    def high(self) -> float | None:
        return None if self.half_width is None else self.mean + self.reach(1)

    @property
    def is_skewed(self) -> bool:
        """Whether skewness took part in the interval and in p."""
        return self.skew != 0 and self.n >= FEW_PAIRS

    @property
    def looks_skewed(self) -> bool:
        """Whether the skewness is so plain that a reader must know what it costs."""
        return self.n > _TELLS_NOTHING and abs(self.skew) > PLAIN_SKEW * raised(self.n) / math.sqrt(self.n)

    def reach(self, side: int, confidence: float = CONFIDENCE) -> float:
        """How far the two-sided interval reaches below the mean (`side` -1) or above it (1); 0 without an interval."""
        if self.error is None or self.freedom is None:
            return self.half_width or 0.0
        factor = t_quantile(self.freedom, (1 + confidence) / 2)
        return (stretched(factor, towards(side, self.skew)) if self.is_skewed else factor) * self.error

    @property
    def remark(self) -> str:
        """All remarks as one text, for documents in which rows stand alone."""
        settings = [f"settings differ: {'; '.join(self.other_settings)}"] if self.other_settings else []
        return "; ".join([*self.remarks, *settings])

    @property
    def least_sign_flip_p(self) -> float | None:
        """The smallest p that the sign-flip test can give with n pairs, `2^(1-n)`."""
        return None if self.sign_flip_p is None else 2.0 ** (1 - self.n)


def compare(first: Mapping[int, float], second: Mapping[int, float], *, step: float = 0.0) -> Difference | None:
    """Second minus first: paired by seed where more than half of the smaller side's seeds pair, else by Welch's test.

    Which of the two it is follows from the counts alone, never from the values. In a paired difference seeds without a
    partner take no part; Welch's test uses all.

    Args:
        first: Values by seed; those that are not finite are left out.
        second: Likewise.
        step: The resolution of the values, 1/m for an accuracy counted on m images. The standard deviation is at least
            that of rounding to such steps, a uniform error (`step / √12` for each value, `step / √6` for the difference
            of two), so that seeds that agree by chance do not look like certainty.

    Returns:
        None when one side has no finite value.
    """
    a, b = ({seed: value for seed, value in side.items() if math.isfinite(value)} for side in (first, second))
    if not a or not b:
        return None
    if common := pairs_by_seed(a, b):
        differences = [b[seed] - a[seed] for seed in common]
        result = _tested([differences], step / math.sqrt(6), "paired", sign_flip_p=sign_flip_p(differences))
    else:
        result = _tested([list(b.values()), list(a.values())], step / math.sqrt(12), "unpaired")
    more = robust(list(a.values()), list(b.values()))
    return replace(result, robust=more) if more else result


def widened_difference(value: Difference, others: Iterable[tuple[float, float]]) -> Difference:
    """The same difference with an interval that adds what other sources change.

    Args:
        value: Over one source, such as the seed.
        others: Standard error and degrees of freedom of the difference over each of the others.
    """
    parts = [(value.error, value.freedom), *others]
    known = [(error, freedom) for error, freedom in parts if error is not None and freedom is not None]
    if value.half_width is None or len(known) == 1:
        return value
    freedom = satterthwaite([error**2 for error, _ in known], [each for _, each in known])
    error = math.hypot(*(error for error, _ in known))
    # the others are taken to be symmetric
    skew = value.skew * (known[0][0] / error) ** 3 if error else 0.0
    half_width, p = _towards_zero(value.mean, error, freedom, skew if value.is_skewed else 0.0)
    return replace(
        value, half_width=half_width, p=p, adjusted_p=p, error=error, freedom=freedom, skew=skew, sign_flip_p=None
    )


def pairs_by_seed(first: Mapping[int, Any], second: Mapping[int, Any]) -> list[int]:
    """The seeds over which a difference is paired: those in common, or none where they are too few to pair by."""
    common = sorted(first.keys() & second.keys())
    return common if 2 * len(common) > min(len(first), len(second)) else []


def _tested(
    groups: Sequence[Sequence[float]], least_deviation: float, method: str, *, sign_flip_p: float | None = None
) -> Difference:
    """The mean of one group, or of the first minus the second, with interval and test."""
    sizes = [len(group) for group in groups]
    known = [moments(group) if len(group) > 1 else (group[0], 0.0) for group in groups]
    mean, n = known[0][0] - sum(each for each, _ in known[1:]), min(sizes)
    if n < 2 or not math.isfinite(mean):
        return Difference(mean, None, n, method, None, None)
    deviations = [max(deviation, least_deviation) for _, deviation in known]
    errors = [deviation / math.sqrt(size) for deviation, size in zip(deviations, sizes, strict=True)]
    largest = max(errors)
    error = math.hypot(*errors)
    shares = [(each / largest) ** 2 if 0 < largest < math.inf else 0.0 for each in errors]
    freedom = satterthwaite(shares, [size - 1 for size in sizes])
    skew = skewness_of_mean(groups, error) if math.isfinite(error) else 0.0
    half_width, p = _towards_zero(mean, error, freedom, skew if n >= FEW_PAIRS else 0.0)
    return Difference(
        mean, half_width, n, method, p, p, sign_flip_p=sign_flip_p, error=error, freedom=freedom, skew=skew
    )


def _towards_zero(mean: float, error: float, freedom: float, skew: float) -> tuple[float, float]:
    """How far the interval reaches towards 0, and p, which agree on whether 0 is in it."""
    tail = towards(-1 if mean > 0 else 1, skew)
    return stretched(t_quantile(freedom), tail) * error, two_sided_p(mean, error, freedom, tail)


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of the exact sign-flip test: the share of all 2^n sign choices whose sum is at least as far from 0.

    None with fewer than two differences and for more than 16. With n pairs it is never below 2^(1-n): 0.25 for three,
    0.03125 for six.
    """
    if not 1 <= len(differences) <= MOST_SIGN_FLIPS or not all(map(math.isfinite, differences)):
        return None
    import numpy as np

    largest = max(map(abs, differences))
    scaled = [difference / largest for difference in differences] if largest else list(differences)
    sums = _all_signs(len(scaled)) @ np.asarray(scaled)
    # sums that differ only by rounding count as equal
    return float(np.mean(np.abs(sums) >= abs(math.fsum(scaled)) - 1e-9))


@functools.lru_cache(maxsize=4)
def _all_signs(n: int) -> NDArray[np.float64]:
    """Each choice of n signs as a row of 1 and -1, shape (2^n, n)."""
    import numpy as np

    return np.where(np.arange(2**n)[:, np.newaxis] >> np.arange(n) & 1, -1.0, 1.0)


def two_sided_p(mean: float, error: float, freedom: float, tail: float = 0.0) -> float:
    """`P(|T| >= |mean / error|)` of Student's t, at most 1.

    Args:
        mean: Of the differences.
        error: Its standard error.
        freedom: Degrees of freedom.
        tail: What counts of the skewness of the mean on the side of 0; what it makes t worth less by is taken off.
    """
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    from scipy.special import stdtr

    return min(float(2 * stdtr(freedom, -straightened(abs(mean) / error, tail))), 1.0)
