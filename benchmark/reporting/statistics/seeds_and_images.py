"""The uncertainty of a mean, or of a difference, over seeds *and* test images, from what each seed did on each image.

Seeds and images are crossed: every seed meets every image. The variance of a grand mean over S seeds and I images is
`var_seeds / S + var_images / I + var_rest / (S · I)`. The variance of the seeds' means over S estimates the first and the
last part, that of the images' means over I the last two; their sum less the rest, which both hold, estimates all, with
Satterthwaite's degrees of freedom.

Sources: X. Bouthillier et al., "Accounting for variance in machine learning benchmarks", MLSys (2021); A. B. Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 1 (2007), on why resampling both is too wide; S. R. Searle et al., "Variance
Components" (1992), chapter 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.reporting.statistics.intervals import Interval, satterthwaite, t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOSTLY = 0.75
"""A source with this share of the variance is the one to do something about."""

_LEAST_OF_IMAGES = 0.75

SEEDS, IMAGES, BOTH = "seeds", "images", "both"
ADVICE = {
    SEEDS: "more test images will not help, more seeds would",
    IMAGES: "more seeds will not help, more test images would",
    BOTH: "more seeds and more test images would both help",
}
"""What would make an interval narrower, in words."""


@dataclass(frozen=True, slots=True)
class SeedsAndImages:
    """A mean over seeds and test images.

    Attributes:
        mean: Over all seeds and images; of two sides second minus first.
        seeds, images: Half widths of which the squares add up to that of `half_width`: the part of the seeds, and what the
            choice of test images adds.
        half_width: Half of the 95 % interval.
        freedom: Its degrees of freedom.
    """

    mean: float
    seeds: float
    images: float
    half_width: float
    freedom: float

    @property
    def interval(self) -> Interval:
        return Interval(self.mean - self.half_width, self.mean + self.half_width)

    @property
    def narrowed_by(self) -> str:
        """More of what would make the interval narrower: of `ADVICE`."""
        share = (self.images / self.half_width) ** 2 if self.half_width else 0.5
        if share >= _MOSTLY:
            return IMAGES
        return SEEDS if share <= 1 - _MOSTLY else BOTH


def over_seeds_and_images(*sides: NDArray[Any]) -> SeedsAndImages | None:
    """The 95 % interval of a mean over seeds and images, or of the second side's minus the first's.

    Args:
        *sides: For each seed and image a score [seeds, images], such as 1 for right and 0 for wrong. One side: a mean, or
            differences paired by seed. Two sides: independent seeds on the same images.

    Returns:
        None with fewer than two seeds on a side or two images, and where nothing varies.
    """
    images = sides[0].shape[1]
    if images < 2 or any(len(side) < 2 for side in sides):
        return None
    signs = (1,) if len(sides) == 1 else (-1, 1)
    per_image = sum(sign * side.mean(axis=0) for sign, side in zip(signs, sides, strict=True))
    of_images = float(per_image.var(ddof=1)) / images
    parts, freedoms = [of_images], [images - 1.0]
    seed_parts, rest = [], 0.0
    for side in sides:
        seeds = len(side)
        means = side.mean(axis=1)
        residual = side - means[:, None] - side.mean(axis=0) + side.mean()
        from_seeds = float(means.var(ddof=1)) / seeds
        from_rest = float((residual**2).sum()) / ((seeds - 1) * (images - 1)) / (seeds * images)
        rest += from_rest
        seed_parts.append(from_seeds)
        parts += [from_seeds, -from_rest]
        freedoms += [seeds - 1.0, (seeds - 1.0) * (images - 1.0)]
    of_seeds = sum(seed_parts)
    # subtraction may give less than the images alone allow; three quarters of that cover best in simulation
    variance = max(of_seeds + of_images - rest, _LEAST_OF_IMAGES * of_images)
    if variance <= 0:
        return None
    freedom = max(satterthwaite(parts, freedoms), min(map(len, sides)) - 1)
    # other images never make an interval narrower than the seeds alone: there are few of them to know their spread by
    alone = t_quantile(satterthwaite(seed_parts, [len(side) - 1 for side in sides])) * math.sqrt(of_seeds)
    factor = max(t_quantile(freedom), alone / math.sqrt(variance))
    return SeedsAndImages(
        float(per_image.mean()), factor * math.sqrt(min(of_seeds, variance)),
        factor * math.sqrt(max(variance - of_seeds, 0.0)), factor * math.sqrt(variance), freedom,
    )  # fmt: skip
