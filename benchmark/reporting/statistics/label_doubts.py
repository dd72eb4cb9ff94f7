"""Labels that out-of-sample predictions doubt: confident learning.

Source: C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating uncertainty in dataset labels", Journal of
Artificial Intelligence Research 70 (2021), section 3.1: the off-diagonal of the confident joint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def doubt_labels(probabilities: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What one model says about labels: which it doubts, and of which it is sure that they are others.

    What is usual for a class, its threshold, is the mean of its probabilities over the images with that label. So a class of
    which the network is never sure is held to less than one of which it always is.

    Args:
        probabilities: Of each class, 0..1, by networks that were not trained on these images, [n, classes].
        labels: The given classes, [n].

    Returns:
        Whether the label is less probable than is usual for its class, and not the most probable, [n]; and whether another
        class is as probable as is usual for that one, [n].
    """
    import numpy as np

    rows = np.arange(len(labels))
    own: NDArray[Any] = probabilities[rows, labels]
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    thresholds = np.bincount(labels, own, classes) / np.maximum(counts, 1)
    # a class without images has no threshold, and nothing can be taken for it
    confident: NDArray[Any] = np.logical_and(probabilities >= thresholds, counts > 0)
    confident[rows, labels] = False
    doubted = np.logical_and(own < thresholds[labels], probabilities.argmax(axis=1) != labels)
    is_sure: NDArray[Any] = np.any(confident, axis=1)
    return doubted, is_sure
