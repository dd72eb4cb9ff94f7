"""Statistics of reports: means with intervals, differences with tests and verdicts.

Intervals and tests use Student's t distribution, because there are few seeds. Sources:

- interval of a mean, paired and unpaired tests: Student, "The probable error of a mean", Biometrika 6 (1908);
  B. L. Welch, "The generalization of Student's problem", Biometrika 34 (1947), with Satterthwaite's degrees of freedom.
- several comparisons: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6 (1979).
- sign flips: R. A. Fisher, "The Design of Experiments" (1935), section 21, carried out over all 2^n signs.

SciPy is imported when it is first needed (0.3 s), and only its special functions: `scipy.stats` costs much more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
MOST_SIGN_FLIPS = 16
"""With more differences than this the 2^n signs are not enumerated; the t test then needs no second opinion."""

BETTER, WORSE, NOT_RESOLVED = "better", "worse", "not resolved"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The values of a metric over the seeds of a group, with mean and interval.

    Attributes:
        values: In the order of the seeds; never empty.
        mean: Arithmetic mean; not finite as soon as one value is not.
        sd: Sample standard deviation (divisor n - 1); None for n = 1 or when a value is not finite.
        half_width: Half of the 95 % t interval of the mean; None where `sd` is None.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None
    half_width: float | None

    @property
    def n(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between the means of two groups, with its interval and tests.

    Attributes:
        mean: Second minus first.
        half_width: Half of the single (uncorrected) 95 % interval; None with too few values to compute it.
        n: Pairs of seeds; for an unpaired difference the size of the smaller group.
        method: `paired` (by seed) or `unpaired` (Welch).
        p: Two-sided p of the t test; None where there is no interval.
        adjusted_p: `p` after Holm's correction over `comparisons` comparisons; equal to `p` when there is one.
        comparisons: How many comparisons were corrected for.
        sign_flip_p: Two-sided p of the exact sign-flip test of the pairs, which assumes symmetry but no normality.
        verdict: `better`, `worse` or `not resolved`; None for metrics where neither way is better.
    """

    mean: float
    half_width: float | None
    n: int
    method: str
    p: float | None
    adjusted_p: float | None
    comparisons: int = 1
    sign_flip_p: float | None = None
    verdict: str | None = NOT_RESOLVED

    @property
    def least_sign_flip_p(self) -> float | None:
        """The smallest p that the sign-flip test can give with n pairs, `2^(1-n)`."""
        return None if self.sign_flip_p is None else 2.0 ** (1 - self.n)


def measure(values: Iterable[float]) -> Measurement | None:
    """Mean, spread and 95 % interval of the mean, `mean ± t(0.975, n - 1) · sd / √n`; None when there is no value."""
    numbers = tuple(float(value) for value in values)
    if not numbers:
        return None
    if not all(map(math.isfinite, numbers)):
        return Measurement(numbers, sum(numbers), None, None)
    n, mean = len(numbers), _mean(numbers)
    if n == 1:
        return Measurement(numbers, mean, None, None)
    sd = _sample_deviation(numbers, mean)
    return Measurement(numbers, mean, sd, t_quantile(n - 1) * sd / math.sqrt(n))


def compare(first: Mapping[int, float], second: Mapping[int, float], *, step: float = 0.0) -> Difference | None:
    """Second minus first, paired by seed where at least two seeds are common, else by Welch's test.

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
    common = sorted(a.keys() & b.keys())
    # a single pair has no interval, but two values on either side have one
    if common and (len(common) >= 2 or min(len(a), len(b)) < 2):
        return _paired([b[seed] - a[seed] for seed in common], step)
    return _unpaired(list(a.values()), list(b.values()), step)


def _paired(differences: Sequence[float], step: float) -> Difference:
    n = len(differences)
    mean = _mean(differences)
    if n < 2 or not all(map(math.isfinite, differences)):
        return Difference(mean, None, n, "paired", None, None)
    error = max(_sample_deviation(differences, mean), step / math.sqrt(6)) / math.sqrt(n)
    p = _two_sided_p(mean, error, n - 1)
    half_width = t_quantile(n - 1) * error
    return Difference(mean, half_width, n, "paired", p, p, sign_flip_p=sign_flip_p(differences))


def _unpaired(first: Sequence[float], second: Sequence[float], step: float) -> Difference:
    sizes, means = (len(first), len(second)), (_mean(first), _mean(second))
    mean = means[1] - means[0]
    if min(sizes) < 2:
        return Difference(mean, None, min(sizes), "unpaired", None, None)
    groups = zip((first, second), means, strict=True)
    errors = [max(_sample_deviation(group, m), step / math.sqrt(12)) / math.sqrt(len(group)) for group, m in groups]
    error = math.hypot(*errors)
    freedom = _satterthwaite(errors, sizes)
    p = _two_sided_p(mean, error, freedom)
    return Difference(mean, t_quantile(freedom) * error, min(sizes), "unpaired", p, p)


def _satterthwaite(errors: Sequence[float], sizes: Sequence[int]) -> float:
    """Satterthwaite's degrees of freedom, `(Σ e²)² / Σ (e⁴ / (n - 1))`, from standard errors e and sizes n."""
    largest = max(errors)
    if largest == 0 or math.isinf(largest):
        return sum(sizes) - 2
    # only the ratio of the errors matters; dividing keeps the fourth powers from over- and underflow
    shares = [(error / largest) ** 2 for error in errors]
    return sum(shares) ** 2 / sum(share**2 / (size - 1) for share, size in zip(shares, sizes, strict=True))


def judge(differences: Sequence[Difference | None], *, higher_is_better: bool | None) -> list[Difference | None]:
    """The differences with their verdicts, after Holm's correction for their number.

    `better` or `worse` needs an adjusted p below 0.05, which for a single comparison is the same as an interval
    that leaves 0 out; everything else is `not resolved`.
    """
    adjusted = holm([None if each is None else each.p for each in differences])
    tested = max(sum(p is not None for p in adjusted), 1)

    def verdict(mean: float, p: float | None) -> str | None:
        if higher_is_better is None:
            return None
        if p is None or p >= ALPHA:
            return NOT_RESOLVED
        return BETTER if (mean > 0) == higher_is_better else WORSE

    return [
        each and replace(each, adjusted_p=p, comparisons=tested, verdict=verdict(each.mean, p))
        for each, p in zip(differences, adjusted, strict=True)
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


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of the exact sign-flip test: the share of all 2^n sign choices whose sum is at least as far from 0.

    None without differences and for more than 16. With n pairs it is never below 2^(1-n): 0.25 for three, 0.03125 for six.
    """
    if not 1 <= len(differences) <= MOST_SIGN_FLIPS:
        return None
    import numpy as np

    largest = max(map(abs, differences))
    scaled = [difference / largest for difference in differences] if largest else list(differences)
    sums = np.zeros(1)
    for difference in scaled:
        sums = np.concatenate([sums + difference, sums - difference])
    # sums that differ only by rounding count as equal
    return float(np.mean(np.abs(sums) >= abs(math.fsum(scaled)) - 1e-9))


def t_quantile(freedom: float) -> float:
    """The factor of a 95 % interval: the 0.975 quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - ALPHA / 2))


def _two_sided_p(mean: float, error: float, freedom: float) -> float:
    """`P(|T| >= |mean / error|)` of Student's t."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(mean) / error))


def _mean(values: Sequence[float]) -> float:
    # equal values give exactly themselves: rounding must not make a spread out of nothing
    if _are_equal(values):
        return values[0]
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        # the loss of a diverging model may be near the largest float
        return math.fsum(value / len(values) for value in values)


def _are_equal(values: Sequence[float]) -> bool:
    """Whether values differ by no more than rounding: 0.9 - 0.8 and 0.8 - 0.7 are one difference, not two."""
    return max(values) - min(values) <= 1e-12 * max(map(abs, values))


def _sample_deviation(values: Sequence[float], mean: float) -> float:
    if _are_equal(values):
        return 0.0
    return math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)
