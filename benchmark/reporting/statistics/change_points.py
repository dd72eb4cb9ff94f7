"""Steps in a series of measurements that should stay the same: the likelihood ratio test of a shift in the mean.

The statistic is the largest |t| of all ways to cut the series in two, whose null distribution is simulated for each length:
it depends on nothing else where the noise is normal. After a step both parts are searched again. Sources: K. J. Worsley,
"On the likelihood ratio test for a shift in location of normal populations", JASA 74 (1979); A. J. Scott and M. Knott, "A
cluster analysis method for grouping means", Biometrics 30 (1974), for cutting again.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.reporting.statistics.intervals import ALPHA

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHORTEST_SERIES = 4
"""With fewer values nothing can be told: their own spread is all that a step is compared with."""

_DRAWS = 20_000


def steps(values: Sequence[float], *, least_deviation: float = 0.0, series: int = 1) -> list[int]:
    """The positions in a series at which a new level begins.

    Without any step there is a false one in at most 5 % of all calls with `series` series together.

    Args:
        values: In the order of time.
        least_deviation: The standard deviation that the values have at least, such as that of rounding; values that
            agree by chance are no certainty.
        series: How many series are searched together (Bonferroni).
    """
    if len(values) < SHORTEST_SERIES:
        return []
    import numpy as np

    numbers = np.asarray(values, np.float64)
    statistics = _statistics(numbers[None, :], least_deviation)[0]
    cut = int(statistics.argmax()) + 1
    exceeded = int((_null_maxima(len(values)) >= statistics[cut - 1]).sum())
    if (exceeded + 1) / (_DRAWS + 1) > ALPHA / series:
        return []
    options: dict[str, Any] = {"least_deviation": least_deviation, "series": series}
    later = [cut + step for step in steps(values[cut:], **options)]
    return [*steps(values[:cut], **options), cut, *later]


def _statistics(series: NDArray[np.float64], least_deviation: float) -> NDArray[np.float64]:
    """|t| of each cut [series, n - 1]: of the means before and after it, with their pooled standard deviation."""
    import numpy as np

    n = series.shape[1]
    centred = series - series.mean(axis=1, keepdims=True)
    before = np.arange(1, n)
    sums = centred.cumsum(axis=1)[:, :-1]
    # the sum of squares that the cut explains, and what it leaves
    explained = sums**2 * n / (before * (n - before))
    rest = np.maximum((centred**2).sum(axis=1, keepdims=True) - explained, 0.0)
    scale = np.finfo(np.float64).eps * np.abs(series).max(axis=1, keepdims=True) * n
    deviation = np.maximum(np.sqrt(rest / (n - 2)), np.maximum(least_deviation, scale) + np.finfo(np.float64).tiny)
    result: NDArray[np.float64] = np.sqrt(explained) / deviation
    return result


@functools.cache
def _null_maxima(length: int) -> NDArray[np.float64]:
    """The largest |t| of many series of normal noise; always the same draws, so that a report is the same every time."""
    import numpy as np

    maxima: NDArray[np.float64] = np.concatenate([
        _statistics(np.random.default_rng((length, part)).normal(size=(_DRAWS // 10, length)), 0.0).max(axis=1)
        for part in range(10)
    ])  # fmt: skip
    return maxima
