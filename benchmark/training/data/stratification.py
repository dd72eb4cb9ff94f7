"""Draws shares of examples in which each class has its part: of single images, with one label or several, and of whole groups.

Labels are integers [n], or rows of 0 and 1 [n, classes] where an image may have several. What is drawn is a pure function
of them and of the random numbers. Several labels are shared out as by K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the
stratification of multi-label data", ECML PKDD (2011): the rarest label first. Groups are taken whole, one after the other in
a random order, where that brings the numbers of images of all classes closer to their shares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.matrix.planning.example_counts import stratified_shares

Indices = NDArray[np.int64]
Random = np.random.Generator | np.random.RandomState

_TRIES = 4
"""In how many random orders groups are tried; the one that comes closest to the shares is taken."""


def image_counts(labels: NDArray[Any], classes: int = 0) -> NDArray[np.int64]:
    """How many images have each label, [classes]; of integers at least `classes` numbers."""
    if labels.ndim == 2:
        return labels.sum(axis=0, dtype=np.int64)
    return np.bincount(labels, minlength=classes).astype(np.int64)


def stratified_sample(labels: NDArray[Any], count: int, random: Random) -> Indices:
    """`count` positions, sorted, in which each class has its share of `labels` (largest remainders).

    Of images with one label the first ones of a permutation are taken of each class, so that with one seed a smaller sample
    is a subset of a larger one as far as the rounding of shares allows.
    """
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    if labels.ndim == 2:
        return sample_rows(labels, count, random)
    classes, totals = np.unique(labels, return_counts=True)
    takes = stratified_shares(totals.tolist(), count)
    picks = [
        random.permutation(np.flatnonzero(labels == kind))[:take] for kind, take in zip(classes, takes, strict=True)
    ]
    return np.sort(np.concatenate(picks))


def sample_rows(labels: NDArray[Any], count: int, random: Random) -> Indices:
    """`count` positions, sorted, in which each label of rows [n, classes] has its share."""
    order = random.permutation(len(labels))
    is_taken, is_open = np.zeros(len(labels), bool), np.ones(len(labels), bool)
    totals = image_counts(labels)
    for label in np.argsort(totals, kind="stable"):
        has_label = labels[:, label] > 0
        wanted = round(totals[label] * count / len(labels)) - int(np.count_nonzero(has_label & is_taken))
        waiting = order[(has_label & is_open)[order]]
        is_taken[waiting[: max(wanted, 0)]] = True
        is_open[waiting] = False
    # images without a label, then any others, make up the number
    missing = count - int(np.count_nonzero(is_taken))
    others = np.concatenate([order[is_open[order]], order[~(is_open | is_taken)[order]]])
    is_taken[others[: max(missing, 0)]] = True
    is_taken[order[is_taken[order]][: max(-missing, 0)]] = False
    return np.flatnonzero(is_taken)


def sample_groups(labels: NDArray[Any], groups: NDArray[Any], share: float, random: Random) -> Indices:
    """Positions, sorted, of whole groups that hold about a share of the images of each class.

    No group is taken of which a class has no other: something of each class is left. Empty where that leaves no choice.

    Args:
        labels: Of the images, [n] or [n, classes].
        groups: Of the images, [n] integers.
        share: Above 0, below 1.
        random: Decides the order in which groups are tried.
    """
    numbers, counts = _counts_by_group(labels, groups)
    totals = counts.sum(axis=0)
    weights, target = 1 / np.maximum(totals, 1), totals * share

    def distance(taken: NDArray[Any]) -> Any:
        return (weights * (taken - target) ** 2).sum(axis=-1)

    best: tuple[float, NDArray[np.int64]] = (float("inf"), np.zeros(0, np.int64))
    for _ in range(_TRIES):
        taken, chosen = np.zeros_like(totals), []
        for group in random.permutation(len(counts)):
            more = taken + counts[group]
            if not ((totals > 0) & (more >= totals)).any() and distance(more) < distance(taken):
                taken = more
                chosen.append(group)
        if chosen and distance(taken) < best[0]:
            best = (float(distance(taken)), np.array(chosen))
    if not len(best[1]):
        allowed = np.flatnonzero(~((totals > 0) & (counts >= totals)).any(axis=1))
        best = (0.0, allowed[np.argsort(distance(counts[allowed]), kind="stable")[:1]])
    return np.flatnonzero(np.isin(numbers, best[1]))


def fold_of_groups(labels: NDArray[Any], groups: NDArray[Any], folds: int, fold: int, random: Random) -> Indices:
    """The positions, sorted, of one of the folds that whole groups are dealt to; all folds are drawn alike.

    Larger groups are dealt first, each to the fold that it brings closest to its part of each class. A group that alone
    holds a class is in no fold.
    """
    numbers, counts = _counts_by_group(labels, groups)
    totals = counts.sum(axis=0)
    weights = 1 / np.maximum(totals, 1)
    jitter = random.uniform(0.75, 1.25, len(counts))
    held = np.zeros((folds, counts.shape[1]))
    of_group = np.full(len(counts), -1)
    for group in np.argsort(-counts[:, -1] * jitter, kind="stable"):
        if ((totals > 0) & (counts[group] >= totals)).any():
            continue
        # what the squares of all folds together grow by: the least where least of the same is held
        growth = (weights * counts[group] * (2 * held + counts[group])).sum(axis=1)
        of_group[group] = int(np.argmin(growth))
        held[of_group[group]] += counts[group]
    return np.flatnonzero(of_group[numbers] == fold)


def _counts_by_group(labels: NDArray[Any], groups: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The number of each image's group [n], and of each group the images of each class and of all [groups, classes + 1]."""
    names, numbers = np.unique(groups, return_inverse=True)
    rows = labels if labels.ndim == 2 else np.eye(int(labels.max(initial=0)) + 1, dtype=np.uint8)[labels]
    counts = np.zeros((len(names), rows.shape[1] + 1))
    np.add.at(counts[:, :-1], numbers, rows)
    counts[:, -1] = np.bincount(numbers, minlength=len(names))
    return numbers.astype(np.int64), counts
