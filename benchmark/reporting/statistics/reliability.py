"""How far predicted probabilities can be believed: calibration error by bins of confidence, and the Brier score.

Sources: M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI
(2015), for the expected calibration error, here with 15 bins of equal width as in C. Guo et al., "On calibration of modern
neural networks", ICML (2017); it depends on the bins: J. Nixon et al., "Measuring calibration in deep learning", CVPR
workshops (2019). G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950),
summed over the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """The images whose confidence is above `low` and at most `high`.

    Attributes:
        images: How many there are.
        confidence, accuracy: Their mean confidence, and the share that is predicted right; None without images.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


def reliability(confidence: NDArray[Any], right: NDArray[Any]) -> list[Bin]:
    """The reliability curve: accuracy by confidence, in 15 bins of equal width.

    Args:
        confidence: The probability of each image's predicted class, 0..1, [n].
        right: Whether it is the true one, [n].
    """
    import numpy as np

    places = np.clip(np.ceil(np.asarray(confidence, np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for place in range(BINS):
        inside = places == place
        images = int(inside.sum())
        means = (float(np.mean(each[inside], dtype=np.float64)) if images else None for each in (confidence, right))
        bins.append(Bin(place / BINS, (place + 1) / BINS, images, *means))
    return bins


def calibration_error(bins: list[Bin]) -> float:
    """The expected calibration error, 0..1: the mean gap between confidence and accuracy, weighted by the images."""
    images = sum(each.images for each in bins)
    gaps = (
        each.images * abs(each.confidence - each.accuracy)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    )
    return sum(gaps) / images


def brier_score(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean squared distance from the truth, summed over the classes, 0..2.

    Args:
        probabilities: [n, classes], 0..1.
        labels: True classes, counted from 0, [n].
    """
    import numpy as np

    distance = np.asarray(probabilities, np.float64).copy()
    distance[np.arange(len(labels)), labels] -= 1
    return float((distance**2).sum(axis=1).mean())
