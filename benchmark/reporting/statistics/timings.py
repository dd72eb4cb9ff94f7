"""Differences between timings: only of sides that took turns on the machine, with a bootstrap over runs and seeds.

Sources:

- sides must take turns, because a machine drifts: A. Georges, D. Buytaert and L. Eeckhout, "Statistically rigorous Java
  performance evaluation", OOPSLA (2007).
- what varies between runs must be resampled with them: T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable
  time", ISMM (2013), section 5; A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section
  3.8 on resampling blocks, chapter 5 on studentized intervals.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.reporting.statistics.intervals import ALPHA, mean_of, sample_deviation, t_quantile
from benchmark.reporting.statistics.mean_difference import (
    FEW_PAIRS,
    Difference,
    sign_flip_p,
    two_sided_p,
)
from benchmark.reporting.statistics.skewness import VISIBLE_SKEW, skewness

RESAMPLES = 2000

CLOCK_SHARE = 1e-3
"""Two timings of the same work are not known to agree better than to this share, whatever a few pairs show."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One timing.

    Attributes:
        seed: What it is paired by.
        block: The run in which it was measured.
        place: When: of two in one run the one with the smaller place was begun first.
    """

    seed: Hashable
    block: Hashable
    place: tuple[str, int]


def took_turns(first: Sequence[Timed], second: Sequence[Timed]) -> bool:
    """Whether two sides were measured in the same runs, seed by seed and in turns.

    In each run the sides changed at least once for each seed, and the second side of a seed came on average at most half as
    many places after the first as there are seeds (one place at the least). A drift that is linear in the places shifts a
    difference by the mean of these lags: with all of A before all of B by as many places as there are seeds.
    """
    a, b = ({each.seed: each for each in side} for side in (first, second))
    common = a.keys() & b.keys()
    if not common or any(a[seed].block != b[seed].block for seed in common):
        return False
    seeds: dict[Hashable, list[Hashable]] = {}
    for seed in common:
        seeds.setdefault(a[seed].block, []).append(seed)
    for members in seeds.values():
        order = sorted((side[seed].place, number, str(seed)) for seed in members for number, side in enumerate((a, b)))
        changes = sum(one[1] != other[1] for one, other in itertools.pairwise(order))
        # the lags of all seeds together are the places of B less those of A
        lags = sum(place * (1 if number else -1) for place, (_, number, _) in enumerate(order))
        if changes < len(members) or abs(lags) > max(1.0, len(members) / 2) * len(members):
            return False
    return True


def compare_timings(
    first: Mapping[int, float], second: Mapping[int, float], blocks: Mapping[int, Hashable] | None = None
) -> Difference | None:
    """Second minus first, paired by seed; not judged.

    The interval is Student's. From six pairs, with several runs or visible skew, it is as wide as that of a studentized
    bootstrap where this is wider: runs are drawn, and of each its seeds, always with the same draws. The standard deviation of the differences is at
    least `CLOCK_SHARE` of the timings.

    Args:
        first: Values by seed; those that are not finite, and seeds without a partner, are left out.
        second: Likewise.
        blocks: The run of each seed; None for one run.

    Returns:
        None when no seed is on both sides.
    """
    common = [seed for seed in sorted(first.keys() & second.keys()) if math.isfinite(first[seed] + second[seed])]
    if not common:
        return None
    differences = [second[seed] - first[seed] for seed in common]
    mean, n = mean_of(differences), len(common)
    if n < 2:
        return Difference(mean, None, n, "paired", None, None, verdict=None)
    least = CLOCK_SHARE * mean_of([abs(first[seed]) + abs(second[seed]) for seed in common]) / 2
    error = max(sample_deviation(differences, mean), least) / math.sqrt(n)
    factor = widest = t_quantile(n - 1)
    by_run: dict[Hashable, list[float]] = {}
    for seed, difference in zip(common, differences, strict=True):
        by_run.setdefault((blocks or {}).get(seed), []).append(difference)
    is_skewed = n >= FEW_PAIRS and abs(skewness(differences)) > VISIBLE_SKEW
    if error > 0 and n >= FEW_PAIRS and (len(by_run) > 1 or is_skewed):
        widest = max(factor, bootstrap_factor(list(by_run.values()), least))
    p = two_sided_p(mean, error * widest / factor, n - 1)
    return Difference(
        mean, widest * error, n, "paired", p, p, verdict=None, sign_flip_p=sign_flip_p(differences),
        error=error * widest / factor, freedom=n - 1,
        remarks=("skewed: t and a bootstrap over runs and seeds together",) if is_skewed else (),
    )  # fmt: skip


def bootstrap_factor(blocks: Sequence[Sequence[float]], least: float) -> float:
    """The factor of the standard error in a studentized interval of the mean: the farther of its two ends.

    Args:
        blocks: The values of each run; a resample draws runs, and then values of each.
        least: The least standard deviation of a resample.
    """
    import numpy as np

    generator = np.random.default_rng(0)
    values = np.concatenate([np.asarray(block, np.float64) for block in blocks])
    sizes = np.array([len(block) for block in blocks])
    starts = np.cumsum(sizes) - sizes
    drawn = (
        generator.integers(0, len(blocks), (RESAMPLES, len(blocks)))
        if len(blocks) > 1
        else np.zeros((RESAMPLES, 1), int)
    )
    width = int(sizes.max())
    inside = (generator.random((*drawn.shape, width)) * sizes[drawn][..., None]).astype(int)
    is_there = np.arange(width) < sizes[drawn][..., None]
    resampled = np.where(is_there, values[starts[drawn][..., None] + inside], 0.0)
    count = is_there.sum(axis=(1, 2))
    means = resampled.sum(axis=(1, 2)) / count
    squares = np.where(is_there, (resampled - means[:, None, None]) ** 2, 0.0).sum(axis=(1, 2))
    # a resample of one value alone has no spread, and says nothing: it gets a part of what there is
    floor = max(least, 1e-3 * float(values.std()))
    deviations = np.maximum(np.sqrt(squares / np.maximum(count - 1, 1)), floor)
    scaled = (means - values.mean()) / (deviations / np.sqrt(count))
    low, high = map(float, np.quantile(scaled, [ALPHA / 2, 1 - ALPHA / 2]))
    return max(-low, high)
