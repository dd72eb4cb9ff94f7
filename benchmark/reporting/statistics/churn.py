"""How many predictions change by the seed alone, and whether two strategies differ by more than that, image by image.

Churn is the share of images on which two networks of one strategy, trained with two seeds, disagree: M. Milani Fard et al.,
"Launch and iterate: reducing prediction churn", NeurIPS (2016).

What cells did with images is an array [cells, images]; a cell that was not asked about an image has `NOT_ASKED` there, as
with validation images, which each seed may draw anew.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOT_ASKED = -1
Stratum: TypeAlias = tuple[Sequence[int], Sequence[int]]
"""The rows of A's cells and of B's among which seeds may be dealt out anew."""

MOST_WAYS, DRAWS = 4096, 2000
"""Up to so many ways to deal out the seeds all are counted; of more, some are drawn."""


def disagreement(pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> float | None:
    """The share of images, 0..1, on which two cells name different classes; the mean over pairs of cells.

    Args:
        pairs: The classes that each cell of a pair named, [images] and [images].

    Returns:
        None where no pair was asked about a common image.
    """
    shares = []
    for first, second in pairs:
        both = (first != NOT_ASKED) & (second != NOT_ASKED)
        if both.any():
            shares.append(float((first[both] != second[both]).mean()))
    return math.fsum(shares) / len(shares) if shares else None


def flips_by_seeds(right: NDArray[Any]) -> float | None:
    """How many images a strategy would fix, and as many break, against itself: other seeds of it against these.

    An image is taken to be right in each seed with the probability that it had in these seeds, on both sides; a side is right
    where more than half of its seeds are. That is the exact mean of a bootstrap over the seeds of each image. Of images
    that a single cell was asked about this probability is not known: they flip as often as two seeds disagree on others.

    Args:
        right: 1 right, 0 wrong, or `NOT_ASKED`, [cells, images].

    Returns:
        The expected number of images; None where no image has two seeds.
    """
    from scipy.stats import binom

    asked = right != NOT_ASKED
    n, k = asked.sum(axis=0), (right * asked).sum(axis=0)
    k, n, once = k[n > 1], n[n > 1], int((n == 1).sum())
    if not len(n):
        return None
    flips = binom.sf(n // 2, n, k / n) * binom.cdf((n + 1) // 2 - 1, n, k / n)
    return float(flips.sum() + once * (k * (n - k) / (n * (n - 1))).mean())


@dataclass(frozen=True, slots=True)
class Consistency:
    """A permutation test of two strategies that do the same with every image.

    Attributes:
        p: The share of all ways to deal out the seeds that set the strategies at least as far apart as they are.
        least_p: The smallest that it can be with so few seeds.
    """

    p: float
    least_p: float


def consistency(right: NDArray[Any], strata: Sequence[Stratum]) -> Consistency | None:
    """Tests whether A and B differ, image by image, by more than their seeds do.

    What is measured is the sum over images of the squared difference of the shares of seeds that are right: it grows when
    the same images change in all seeds, in whichever direction. The number of fixed images would not do: a majority outlives
    the change of a seed, so that every other way to deal out the seeds fixes or breaks the same images.

    Source: R. A. Fisher, "The Design of Experiments" (1935), section 21; where ways are drawn, B. Phipson and G. K. Smyth,
    "Permutation p-values should never be zero", Statistical Applications in Genetics and Molecular Biology 9 (2010).

    Args:
        right: 1 right, 0 wrong, or `NOT_ASKED`, [cells, images].
        strata: All seeds of a model; or the two cells of each seed, where images differ from seed to seed. The cells of a
            stratum were asked about the same images.

    Returns:
        None where nothing can be dealt out, as with one seed.
    """
    import numpy as np

    ways = math.prod(math.comb(len(a) + len(b), len(a)) for a, b in strata)
    is_mirrored = all(len(a) == len(b) for a, b in strata)
    least_p = (1 + is_mirrored) / ways if ways <= MOST_WAYS else 1 / (DRAWS + 1)
    if least_p >= 1:
        return None
    asked = right != NOT_ASKED
    share = right * asked / np.maximum(asked.sum(axis=0), 1)
    weights = np.stack([_weights(len(right), strata, dealt) for dealt in _ways(strata, drawn=ways > MOST_WAYS)])
    apart = np.einsum("wi,ij,wj->w", weights, share @ share.T, weights, optimize=True)
    return Consistency(float((apart >= apart[0] - 1e-9 * apart.max()).mean()), least_p)


def _ways(strata: Sequence[Stratum], *, drawn: bool) -> Iterator[Sequence[Sequence[int]]]:
    """Ways to deal out the seeds, each as the rows that A gets of each stratum; first the way that they are."""
    import numpy as np

    if not drawn:
        yield from itertools.product(*(itertools.combinations((*a, *b), len(a)) for a, b in strata))
        return
    generator = np.random.default_rng(0)
    yield [a for a, _ in strata]
    for _ in range(DRAWS):
        yield [generator.permutation((*a, *b))[: len(a)].tolist() for a, b in strata]


def _weights(cells: int, strata: Sequence[Stratum], dealt: Sequence[Sequence[int]]) -> NDArray[Any]:
    """By what the outcomes of each cell are multiplied, so that their sum is B less A, [cells]."""
    import numpy as np

    weights = np.zeros(cells)
    for (a, b), rows in zip(strata, dealt, strict=True):
        weights[[*a, *b]] = 1 / len(b)
        weights[list(rows)] = -1 / len(a)
    return weights
