"""Verdicts that stay valid however often one looks: at one pair of groups, or at many ideas one after another.

Sources:

- one pair, seeds added: the error is spent over the looks as K. K. G. Lan and D. L. DeMets, "Discrete sequential boundaries
  for clinical trials", Biometrika 70 (1983), with the power family of K. Kim and D. L. DeMets, "Design and analysis of group
  sequential tests based on the type I error spending rate function", Biometrika 74 (1987). The boundaries are quantiles of
  the joint law of Student's t of growing samples, which for normal differences depends on no unknown quantity.
- many ideas: online fallback of J. Tian and A. Ramdas, "Online control of the familywise error rate", Statistical Methods
  in Medical Research 30 (2021); it holds whatever the dependence between ideas.
- how many pairs it takes: the same looks replayed with an effect; a fixed number by the noncentral t distribution.

Heavy tails are mostly harmless, because the first looks spend least. Skewed differences cost a part of the promise, as they
cost that of every t interval with few pairs: where differences are plainly skewed, each look asks Hall's transformation too
(`skewness.py`), which takes out a part of it. To ask it from visible skewness on would take out half, and cost a third of
the pairs that looking saves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from benchmark.reporting.statistics.intervals import ALPHA, t_quantile
from benchmark.reporting.statistics.mean_difference import BETTER, EQUIVALENT, NOT_RESOLVED, WORSE
from benchmark.reporting.statistics.skewness import stretched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIRST_LOOK = 3
"""Of fewer pairs the spread is nearly unknown: looking would spend error for nothing."""

SPENT_BY_A_PLAN = 0.9
"""Of the error that is left a plan spends so much, so that there is some left when more seeds are asked for later."""

_EXPONENT = 1.5
_PATHS = 200_000
_REPLAYED = 20_000
_SLOWNESS = 1.6
"""The k-th idea of a campaign gets a share of the error proportional to k^-1.6."""


class Spent(NamedTuple):
    """A look that was made: after how many pairs, what it spent, and how many pairs were planned then at most."""

    n: int
    alpha: float
    most: int


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at n pairs shows.

    Attributes:
        n: Pairs of seeds.
        mean: Mean difference.
        low, high: Ends of its interval; those of all looks cover together in 95 %. None while nothing may be said.
        alpha: The error that this look spends.
        spent: The error that all looks have spent, this one included.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    alpha: float
    spent: float


def look_again(mean: float, error: float, n: int, earlier: Sequence[Spent], most: int, skew: float = 0.0) -> Look:
    """Looks at the mean difference of n pairs, after earlier looks at fewer of them.

    Args:
        mean: Mean of the differences.
        error: Its standard error, `s / √n`.
        n: Pairs, at least `FIRST_LOOK` and more than at any earlier look.
        earlier: The looks so far, oldest first.
        most: The most pairs that are planned now. A new number is a new plan, which may spend `SPENT_BY_A_PLAN` of what
            is left.
        skew: The skewness of the mean; 0 where none is plain.
    """
    before = [look for look in earlier if look.most != most]
    spent, since = math.fsum(look.alpha for look in before), max((look.n for look in before), default=0)
    share = min(1.0, (n - since) / max(most - since, 1))
    may_be_spent = spent + SPENT_BY_A_PLAN * (ALPHA - spent) * share**_EXPONENT
    so_far = math.fsum(look.alpha for look in earlier)
    alpha = max(may_be_spent - so_far, 0.0)
    factor = boundaries((*(look[:2] for look in earlier), (n, alpha)))[-1]
    low = mean - stretched(factor, -skew) * error if math.isfinite(factor) else None
    high = mean + stretched(factor, skew) * error if math.isfinite(factor) else None
    return Look(n, mean, low, high, alpha, so_far + alpha)


def boundaries(looks: Sequence[tuple[int, float]]) -> list[float]:
    """The size that t must exceed at each look (pairs, error spent), so that the looks together spend what they say.

    Always the same draws, so that a verdict is the same every time. Infinite where a look has nothing to spend.
    """
    import numpy as np

    factors, spent, crossed = [], 0.0, np.zeros(_PATHS, bool)
    for n, alpha in looks:
        spent += alpha
        sizes = np.where(crossed, -1.0, _paths.of(n))
        more = round(spent * _PATHS) - int(crossed.sum())
        factor = float(np.partition(sizes, -more - 1)[-more - 1]) if more > 0 else math.inf
        factors.append(factor)
        crossed |= sizes > factor
    return factors


class _Paths:
    """The size of Student's t of the first n of growing samples without effect, for any n; drawn when it is needed."""

    def __init__(self) -> None:
        self._of: list[NDArray[np.float32]] = []
        self._drawing: Iterator[NDArray[np.float32]] = _sizes_of_t()

    def of(self, n: int) -> NDArray[np.float32]:
        """Of n values, at least two, for each path."""
        while len(self._of) < n - 1:
            self._of.append(next(self._drawing))
        return self._of[n - 2]


def _sizes_of_t() -> Iterator[NDArray[np.float32]]:
    """The size of t of two values for each path, then of three, and so on."""
    import numpy as np

    generator = np.random.default_rng(0)
    sums = generator.standard_normal(_PATHS)
    squares = sums**2
    for size in itertools.count(2):
        values = generator.standard_normal(_PATHS)
        sums, squares = sums + values, squares + values**2
        variances = (squares - sums**2 / size) / (size - 1)
        yield np.abs(sums / np.sqrt(size * variances)).astype(np.float32)


_paths = _Paths()


def verdict(low: float | None, high: float | None, *, higher_is_better: bool, margin: float | None = None) -> str:
    """What an interval of the difference says: `better`, `worse`, `equivalent` or `not resolved`.

    `equivalent` comes first, as in every comparison: a difference may be resolved and too small to matter.
    """
    if low is None or high is None:
        return NOT_RESOLVED
    if margin is not None and -margin < low <= high < margin:
        return EQUIVALENT
    if low <= 0 <= high:
        return NOT_RESOLVED
    return BETTER if (low > 0) == higher_is_better else WORSE


# ---- how many pairs


@dataclass(frozen=True, slots=True)
class Need:
    """How many pairs a comparison will about need.

    Attributes:
        pairs: On average, when one looks after each, until a verdict or the most that are allowed.
        decided: The probability of a verdict by then.
        fixed: The pairs of which a single test sees the effect with a power of 80 %; None where there is no effect.
    """

    pairs: float
    decided: float
    fixed: int | None


def needed_pairs(effect: float, most: int, *, margin: float | None = None, already: int = 0) -> Need:
    """How many pairs it takes until a verdict, by replaying the looks.

    Args:
        effect: The true difference in standard deviations of the differences between pairs.
        most: The most pairs.
        margin: What counts as equivalent, in the same unit.
        already: Pairs that are there: the first look is at these.
    """
    import numpy as np

    first = max(FIRST_LOOK, min(already, most))
    spent = [SPENT_BY_A_PLAN * ALPHA * (n / most) ** _EXPONENT for n in range(first, most + 1)]
    steps = np.diff(spent, prepend=0.0)
    factors = boundaries([(n, float(step)) for n, step in zip(range(first, most + 1), steps, strict=True)])
    values = np.random.default_rng(1).standard_normal((_REPLAYED, most)) + effect
    sizes = np.arange(1, most + 1)
    means = values.cumsum(axis=1) / sizes
    variances = (np.square(values).cumsum(axis=1) - sizes * means**2)[:, first - 1 :] / (sizes[first - 1 :] - 1)
    halves = np.array(factors) * np.sqrt(np.maximum(variances, 0) / sizes[first - 1 :])
    means = means[:, first - 1 :]
    decided = np.abs(means) > halves
    if margin is not None:
        decided |= np.abs(means) + halves < margin
    ends = np.where(decided.any(axis=1), decided.argmax(axis=1) + first, most)
    return Need(float(ends.mean()), float(decided.any(axis=1).mean()), fixed_pairs(effect))


@cache
def fixed_pairs(effect: float, *, power: float = 0.8) -> int | None:
    """The least number of pairs of which a single t test sees the effect with this power; None beyond 10,000."""
    if abs(effect) < 0.03:
        return None
    from scipy.special import nctdtr

    def sees(n: int) -> bool:
        # the chance to err on the far side is left out: at this power it is nothing
        return bool(nctdtr(n - 1, abs(effect) * math.sqrt(n), t_quantile(n - 1)) <= 1 - power)

    return next((n for n in range(2, 10_001) if sees(n)), None)


def unbiased_effect(mean: float, deviation: float, n: int) -> float:
    """The effect in standard deviations that a pilot of n pairs shows, with the correction for small samples.

    L. V. Hedges, "Distribution theory for Glass's estimator of effect size and related estimators", Journal of Educational
    Statistics 6 (1981).
    """
    return mean / deviation * max(1 - 3 / (4 * (n - 1) - 1), 0.0) if n > 2 else mean / deviation


# ---- many ideas


def campaign_level(rejected: Sequence[bool]) -> float:
    """The error that the next idea of a campaign may spend, so that all of them together stay below 5 %.

    Args:
        rejected: For each look of the campaign so far whether its verdict was `better` or `worse`: what such a look had
            passes on to the next.
    """
    level = 0.0
    for number in range(1, len(rejected) + 2):
        passed_on = level if number > 1 and rejected[number - 2] else 0.0
        level = ALPHA * number**-_SLOWNESS / _series() + passed_on
    return level


def campaign_spent(looks: Iterable[tuple[float, str]]) -> float:
    """The error that a campaign has spent, of looks with their level and verdict; what is passed on is not spent."""
    return math.fsum(alpha for alpha, verdict in looks if verdict not in {BETTER, WORSE})


@cache
def _series() -> float:
    """The sum of k^-1.6 over all k."""
    from scipy.special import zeta

    return float(zeta(_SLOWNESS))


def expected_maximum(count: int) -> float:
    """The expected largest of so many independent standard normals, at least one.

    L. H. C. Tippett, "On the extreme individuals and the range of samples taken from a normal population", Biometrika 17
    (1925): the integral of `1 - Φ(x)^k - Φ(-x)^k` over x from 0.
    """
    import numpy as np
    from scipy.special import ndtr

    places = np.linspace(0.0, 9.0, 3601)
    return float(np.trapezoid(1 - ndtr(places) ** count - ndtr(-places) ** count, places))
