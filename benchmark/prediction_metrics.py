"""Metrics of predictions beside accuracy and loss, by the definitions of scikit-learn, which takes a second to import.

Labels are true classes counted from 0, [n]; probabilities are of each class, 0..1, [n, classes]. Where they do not sum to 1,
because the network has a sigmoid for each class, `shares` divides them by their sum for log loss, Brier score and ECE. NumPy is
imported late.

Sources: B. W. Matthews (1975), in the form for several classes of J. Gorodkin, "Comparing two K-category assignments by a
K-category correlation coefficient", Computational Biology and Chemistry 28 (2004); J. Cohen, "A coefficient of agreement for
nominal scales", Educational and Psychological Measurement 20 (1960); G. W. Brier, "Verification of forecasts expressed in terms
of probability", Monthly Weather Review 78 (1950), summed over the classes; M. P. Naeini, G. F. Cooper and M. Hauskrecht,
"Obtaining well calibrated probabilities using Bayesian binning", AAAI (2015), for the expected calibration error, here with 15
bins of equal width as in C. Guo et al., "On calibration of modern neural networks", ICML (2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE_BYTES = 4 << 20
"""Up to this size, as halves, all probabilities of an execution are kept; see `training/artifacts/prediction_file.py`."""

FURTHER_NAMES = (
    "balanced_accuracy", "macro_f1", "weighted_f1", "top5_accuracy", "auroc", "average_precision", "log_loss", "brier", "ece",
    "mcc", "kappa",
)  # fmt: skip
"""What `prediction_metrics` computes, beside `accuracy` and `loss`."""

NAMES_OF_SEVERAL = (
    "subset_accuracy",
    "macro_f1",
    "weighted_f1",
    "auroc",
    "average_precision",
    "map",
    "log_loss",
    "brier",
)
"""The same where an image may have several labels."""

VAL = "val_"
METRICS = tuple(dict.fromkeys(("accuracy", "loss", *FURTHER_NAMES, *NAMES_OF_SEVERAL)))
"""All metrics of bench; with `VAL` before them what can be monitored."""

LOWER_IS_BETTER = frozenset({"loss", "log_loss", "brier", "ece"})
BINS = 15
HALF = 0.5
"""From this probability on a label of several is predicted."""

TOP = 5
SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped to [1e-7, 1 - 1e-7] before the logarithm, as in training."""

_ROWS = 4096
"""Of how many images probabilities are copied at once: those of 50,000 images and 1,000 classes fill 200 MB."""

_ROUNDED = 0.02
"""How far from 1 probabilities of a softmax may sum, by rounding."""


def prediction_metrics(
    labels: NDArray[Any], predicted: NDArray[Any], probabilities: NDArray[Any]
) -> dict[str, float | None]:
    """All metrics of a set of images, by name; None where one is not defined.

    Args:
        labels: True classes; of several labels an image rows of 0 and 1, [n, classes].
        predicted: Most probable classes, from the exact probabilities, [n]; or such rows.
        probabilities: Of each class; rounding changes what follows from them by less than 0.002.
    """
    import numpy as np

    if labels.ndim == 2:
        return _of_several_labels(labels, predicted, probabilities)
    divided = shares(probabilities)
    confidence = divided[np.arange(len(predicted)), predicted]
    return {
        **_of_labels(labels, predicted, probabilities.shape[1]),
        "top5_accuracy": _top_accuracy(labels, probabilities),
        **_of_ranking(labels, probabilities),
        "log_loss": log_loss(divided, labels),
        "brier": brier_score(divided, labels),
        "ece": calibration_error(reliability(confidence, predicted == labels)),
    }


def predicted_classes(probabilities: NDArray[Any], *, multi_label: bool) -> NDArray[Any]:
    """The most probable classes [n], of equal ones the first; or rows of 0 and 1 [n, classes]: the labels from `HALF` on."""
    predicted: NDArray[Any] = (probabilities >= HALF).astype("uint8") if multi_label else probabilities.argmax(axis=-1)
    return predicted


def _of_several_labels(
    labels: NDArray[Any], predicted: NDArray[Any], probabilities: NDArray[Any]
) -> dict[str, float | None]:
    """Metrics of several labels an image, as scikit-learn has them for indicator matrices; those of one label are left out.

    `log_loss` is the mean binary cross-entropy, the Brier score is summed over the classes.
    """
    import numpy as np

    support, answers = labels.sum(axis=0, dtype=np.int64), predicted.sum(axis=0, dtype=np.int64)
    right = (labels * predicted).sum(axis=0, dtype=np.int64)
    both = support + answers
    f1 = np.where(both > 0, 2 * right / np.maximum(both, 1), 0.0)
    exact = np.asarray(probabilities, np.float64)
    ranked: dict[str, float | None] = {"auroc": None, "average_precision": None, "map": None}
    classes = range(labels.shape[1])
    if support.min() > 0:
        precisions = [_average_precision(labels[:, number] == 1, exact[:, number]) for number in classes]
        ranked["average_precision"] = ranked["map"] = float(np.mean(precisions))
    if 0 < support.min() <= support.max() < len(labels):
        ranked["auroc"] = float(np.mean([_roc_area(labels[:, number] == 1, exact[:, number]) for number in classes]))
    chances = np.clip(np.where(labels == 1, exact, 1 - exact), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return {
        "subset_accuracy": float((labels == predicted).all(axis=1).mean()),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float(f1 @ support / support.sum()) if support.any() else None,
        **ranked,
        "log_loss": float(-np.log(chances).mean()),
        "brier": float(((exact - labels) ** 2).sum(axis=1).mean()),
    }


def stored_metrics(arrays: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
    """The metrics that a file of predictions holds because it does not hold what they were computed from, by name."""
    known = zip(arrays["metric_names"].tolist(), arrays["metrics"].tolist(), strict=True)
    return {name: None if math.isnan(value) else value for name, value in known}


def shares(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Probabilities that sum to 1 for each image; those of a softmax stay as they are, whatever they are rounded to."""
    import numpy as np

    sums = probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    if np.abs(sums - 1).max(initial=0) <= _ROUNDED or not np.isfinite(sums).all():
        return probabilities
    return np.where(sums > 0, probabilities / np.where(sums > 0, sums, 1), 1 / probabilities.shape[1])


def _of_labels(labels: NDArray[Any], predicted: NDArray[Any], classes: int) -> dict[str, float | None]:
    """What follows from labels and predicted classes alone."""
    import numpy as np

    support, answers, right = (
        np.bincount(each, minlength=classes).astype(np.float64)
        for each in (labels, predicted, labels[labels == predicted])
    )
    n = len(labels)
    known, named = support > 0, support + answers > 0
    f1 = 2 * right[named] / (support + answers)[named]
    # correct answers, those that chance would give, and the spread of both sides
    agreed, by_chance = right.sum() * n, float(support @ answers)
    spread = np.sqrt(float(n * n - answers @ answers)) * np.sqrt(float(n * n - support @ support))
    return {
        "balanced_accuracy": float((right[known] / support[known]).mean()),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float(f1 @ support[named] / n),
        "mcc": float((agreed - by_chance) / spread) if spread else 0.0,
        "kappa": float((agreed - by_chance) / (n * n - by_chance)) if by_chance < n * n else None,
    }


def _top_accuracy(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """The share of images whose class is among the best five; of equally probable classes the later ones count as better."""
    import numpy as np

    classes = np.arange(probabilities.shape[1])
    if len(classes) <= TOP:
        return 1.0
    hits = 0
    for start in range(0, len(labels), _ROWS):
        some, true = probabilities[start : start + _ROWS], labels[start : start + _ROWS, None]
        own = np.take_along_axis(some, true, axis=1)
        better = (some > own) | ((some == own) & (classes > true))
        hits += int((better.sum(axis=1) < TOP).sum())
    return hits / len(labels)


def _of_ranking(labels: NDArray[Any], probabilities: NDArray[Any]) -> dict[str, float | None]:
    """Means over the classes, each against the rest; None where a class has no image, or all of them."""
    import numpy as np

    classes = probabilities.shape[1]
    support = np.bincount(labels, minlength=classes)
    if not 0 < support.min() <= support.max() < len(labels):
        return {"auroc": None, "average_precision": None}
    areas, precisions = [], []
    for number in range(classes):
        # numbers of two bytes take longer to sort
        scores = probabilities[:, number].astype(np.promote_types(probabilities.dtype, np.float32))
        areas.append(_roc_area(labels == number, scores))
        precisions.append(_average_precision(labels == number, scores))
    return {"auroc": float(np.mean(areas)), "average_precision": float(np.mean(precisions))}


def _roc_area(positive: NDArray[Any], scores: NDArray[Any]) -> float:
    """The probability that a positive image has a higher score than a negative one; equal scores count half."""
    import numpy as np

    negatives, positives = np.sort(scores[~positive]), scores[positive]
    below, up_to = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(negatives))


def _average_precision(positive: NDArray[Any], scores: NDArray[Any]) -> float:
    """Precision at each distinct score, weighted by the recall that it adds."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = positive[order].cumsum()[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / hits[-1])


def log_loss(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean cross-entropy, in nats."""
    return float(cross_entropies(probabilities, labels).mean())


def cross_entropies(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """-ln p(label) for each image, in nats, [n]; NaN where the probability is NaN."""
    import numpy as np

    of_true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses: NDArray[Any] = -np.log(np.clip(of_true_class, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))
    return losses


def brier_score(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean squared distance from the truth, summed over the classes, 0..2."""
    import numpy as np

    squares = np.empty(len(labels))
    for start in range(0, len(labels), _ROWS):
        distance = np.array(probabilities[start : start + _ROWS], np.float64)
        distance[np.arange(len(distance)), labels[start : start + _ROWS]] -= 1
        squares[start : start + _ROWS] = (distance**2).sum(axis=1)
    return float(squares.mean())


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
    gaps = (
        each.images * abs(each.confidence - each.accuracy)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    )
    return sum(gaps) / sum(each.images for each in bins)
