"""Means with their 95 % intervals, and what every interval here is made of.

Source: Student, "The probable error of a mean", Biometrika 6 (1908). SciPy is imported when it is first needed (0.3 s),
and only its special functions: `scipy.stats` costs much more.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
FRACTION = (0.0, 1.0)
"""The bounds of an accuracy."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval from `low` to `high`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """The values of a metric over the seeds of a group, with mean and interval.

    Attributes:
        values: In the order of the seeds; never empty.
        mean: Arithmetic mean; not finite as soon as one value is not.
        sd: Sample standard deviation (divisor n - 1); None for n = 1 or when a value is not finite.
        half_width: Half of the 95 % t interval of the mean; None where `sd` is None.
        bounds: The least and the largest value that the quantity can have.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None
    half_width: float | None
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def error(self) -> float | None:
        """The standard error of the mean that the interval is made from."""
        return None if self.half_width is None else self.half_width / t_quantile(self.n - 1)

    @property
    def low(self) -> float | None:
        """The lower end of the interval, within the bounds."""
        return None if self.half_width is None else max(self.mean - self.half_width, self.bounds[0])

    @property
    def high(self) -> float | None:
        """The upper end of the interval, within the bounds."""
        return None if self.half_width is None else min(self.mean + self.half_width, self.bounds[1])

    @property
    def is_cut(self) -> bool:
        """Whether `mean ± half_width` would leave the bounds."""
        half = self.half_width
        return half is not None and not self.bounds[0] <= self.mean - half <= self.mean + half <= self.bounds[1]


def measure(
    values: Iterable[float], *, step: float = 0.0, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Measurement | None:
    """Mean, spread and 95 % interval of the mean, `mean ± t(0.975, n - 1) · sd / √n`.

    Args:
        values: Of the seeds.
        step: The resolution of the values, 1/m for an accuracy counted on m images: the standard deviation in the
            interval is at least that of a uniform rounding error, `step / √12`, so that seeds that agree by chance do
            not look like certainty.
        bounds: The least and the largest value that the quantity can have; the interval is cut there.

    Returns:
        None when there is no value.
    """
    numbers = tuple(float(value) for value in values)
    if not numbers:
        return None
    if not all(map(math.isfinite, numbers)):
        return Measurement(numbers, sum(numbers), None, None, bounds)
    n = len(numbers)
    if n == 1:
        return Measurement(numbers, numbers[0], None, None, bounds)
    mean, sd = moments(numbers)
    half_width = t_quantile(n - 1) * max(sd, step / math.sqrt(12)) / math.sqrt(n)
    return Measurement(numbers, mean, sd, half_width, bounds)


def widened(value: Measurement, others: Iterable[Measurement]) -> Measurement:
    """The same mean with an interval that adds what other sources change, each measured by itself.

    Squares of standard errors add up, with Satterthwaite's degrees of freedom. Where sources are crossed each of them
    holds the rest too, so that the interval is rather too wide than too narrow.
    """
    known = [each for each in (value, *others) if each.error is not None]
    if value.error is None or len(known) == 1:
        return value
    squares = [(each.error or 0.0) ** 2 for each in known]
    freedom = satterthwaite(squares, [each.n - 1 for each in known])
    return replace(value, half_width=t_quantile(freedom) * math.sqrt(sum(squares)))


@functools.lru_cache(maxsize=1024)
def t_quantile(freedom: float, probability: float = 1 - ALPHA / 2) -> float:
    """A quantile of Student's t; by default the 0.975 quantile, the factor of a 95 % interval."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def satterthwaite(parts: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variance estimates, `(Σ v)² / Σ (v² / f)`.

    F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bulletin 2 (1946);
    a part that is subtracted has a negative v.
    """
    largest = max(map(abs, parts))
    if largest == 0 or math.isinf(largest):
        return sum(freedoms)
    # only the ratio of the parts matters; dividing keeps the squares from over- and underflow
    shares = [part / largest for part in parts]
    return sum(shares) ** 2 / sum(share**2 / freedom for share, freedom in zip(shares, freedoms, strict=True))


def moments(values: Sequence[float]) -> tuple[float, float]:
    """Arithmetic mean, and standard deviation with the divisor n - 1, of at least two values."""
    if _are_equal(values):
        return values[0], 0.0
    mean = _mean(values)
    return mean, _deviation(values, mean)


def mean_of(values: Sequence[float]) -> float:
    """Arithmetic mean; equal values give exactly themselves: rounding must not make a spread out of nothing."""
    return values[0] if _are_equal(values) else _mean(values)


def sample_deviation(values: Sequence[float], mean: float) -> float:
    """Standard deviation with the divisor n - 1."""
    return 0.0 if _are_equal(values) else _deviation(values, mean)


def _mean(values: Sequence[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        # the loss of a diverging model may be near the largest float
        return math.fsum(value / len(values) for value in values)


def _deviation(values: Sequence[float], mean: float) -> float:
    return math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)


def _are_equal(values: Sequence[float]) -> bool:
    """Whether values differ by no more than rounding: 0.9 - 0.8 and 0.8 - 0.7 are one difference, not two."""
    return max(values) - min(values) <= 1e-12 * max(map(abs, values))
