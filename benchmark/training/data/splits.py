"""Chooses the examples of a cell by index arithmetic: class subset, fewer examples, validation split.

Every choice is stratified (each class keeps its share) and a pure function of the labels and a seed. Groups of images,
where there are any, are never divided between training and validation, or test and lockbox. Training data depend on the
cell's `split_seed`; a test subset uses the fixed seed 0, so that all seeds are measured on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import DataError
from benchmark.matrix.cell import Data
from benchmark.matrix.planning.example_counts import untrained_problem
from benchmark.training.data.stratification import (
    Indices,
    fold_of_groups,
    image_counts,
    sample_groups,
    stratified_sample,
)

Labels = NDArray[Any]

_SUBSET_STREAM, _VALIDATION_STREAM, _FOLDS_STREAM, _LOCKBOX_STREAM = 1, 2, 4, 5
"""Which streams of random numbers of a seed are used; that of the order of examples is in `dataset.py`."""


@dataclass(frozen=True, slots=True)
class Split:
    """Positions [n] in a prepared array, and the labels that the examples there have in this cell.

    Labels are integers [n] from 0, or rows of 0 and 1 [n, classes] where an image may have several.
    """

    indices: Indices
    labels: Labels

    def __len__(self) -> int:
        return len(self.indices)

    def at(self, positions: Indices) -> Split:
        """The examples at some positions of this split."""
        return Split(self.indices[positions], self.labels[positions])


def split_training(
    labels: NDArray[Any],
    data: Data,
    seed: int,
    class_names: Sequence[str] | None = None,
    groups: NDArray[Any] | None = None,
) -> tuple[Split, Split]:
    """Chooses training and validation examples from the source's training set.

    The only example of a class is never taken for validation, which is empty where each class has only one. With
    `folds` the fold is the validation set: over all folds of a seed each other example is in one validation set. It is
    empty, too, where the source has a validation split of its own.

    Args:
        labels: Labels of all training examples of the source, [n] or [n, classes].
        data: Which classes, how many examples, and which share to validate on.
        seed: The cell's `split_seed`.
        class_names: Of the labels that the examples have in this cell; None for their numbers.
        groups: Of all training examples, [n]; None for none.

    Raises:
        DataError: More examples are asked for than there are, a side would be empty, or a class would not be trained.
    """
    kept = of_classes(labels, data)
    chosen = _fewer(kept, data.train_examples, seed, "train_examples")
    own_groups = None if groups is None else groups[chosen.indices]
    if data.validation == "source":
        count, positions = 0, np.zeros(0, dtype=np.int64)
    elif data.folds is not None and data.fold is not None:
        random = np.random.default_rng([seed, _FOLDS_STREAM])
        positions = _fold(chosen.labels, own_groups, data.folds, data.fold, random)
        count = len(positions)
    else:
        count = round(len(chosen) * data.validation_fraction)
        random = np.random.default_rng([seed, _VALIDATION_STREAM])
        positions = _share(chosen.labels, own_groups, count, random)
        positions = positions[~_is_only_one(kept.labels, chosen.labels[positions])]
    validation = chosen.at(positions)
    training = chosen.at(np.setdiff1d(np.arange(len(chosen)), positions))
    unvalidated = data.validation_fraction > 0 and (not count or (groups is not None and not len(positions)))
    if not len(training) or unvalidated:
        key = "validation_fraction" if data.folds is None else "folds"
        whole = "" if groups is None else f" without dividing a group of `{data.groups}`"
        raise DataError(
            f"{len(chosen)} training examples of {data.source} cannot be split{whole}: {key} = "
            f"{getattr(data, key)} leaves {len(training)} to train on and {len(positions) if groups is not None else count} to "
            f"validate on; take more train_examples or another {key}"
        )
    classes = max(len(class_names or ()), data.num_classes)
    lost = (image_counts(kept.labels, classes) > 0) & (image_counts(training.labels, classes) == 0)
    if lost.any():
        names = [str(label) if class_names is None else class_names[label] for label in np.flatnonzero(lost).tolist()]
        raise DataError(f"{data.source}: {untrained_problem(data, names)}")
    return training, validation


def split_test(labels: NDArray[Any], data: Data, groups: NDArray[Any] | None = None) -> tuple[Split, Split]:
    """Chooses the test examples of a cell, and those of its lockbox, the same for every seed.

    Args:
        labels: Labels of all test examples of the source, [n] or [n, classes].
        data: Which classes, how many examples, and which share is locked away.
        groups: Of all test examples, [n]; None for none.

    Raises:
        DataError: More examples are asked for than there are, or the lockbox leaves none.
    """
    chosen = _fewer(of_classes(labels, data), data.test_examples, 0, "test_examples")
    count = round(len(chosen) * data.lockbox)
    if data.lockbox > 0 and not 0 < count < len(chosen):
        raise DataError(
            f"lockbox = {data.lockbox:g} divides {len(chosen)} test examples of {data.source} into {len(chosen) - count} and "
            f"{count}; take another share"
        )
    own_groups = None if groups is None else groups[chosen.indices]
    positions = _share(chosen.labels, own_groups, count, np.random.default_rng([0, _LOCKBOX_STREAM]))
    return chosen.at(np.setdiff1d(np.arange(len(chosen)), positions)), chosen.at(positions)


def _share(labels: Labels, groups: NDArray[Any] | None, count: int, random: np.random.Generator) -> Indices:
    """About `count` positions in whole groups, or exactly so many where there are none."""
    if groups is None or not count:
        return stratified_sample(labels, count, random)
    return sample_groups(labels, groups, count / len(labels), random)


def _is_only_one(all_labels: Labels, labels: Labels) -> NDArray[np.bool_]:
    """Whether an example [n] is the only one of one of its classes."""
    is_single = image_counts(all_labels) == 1
    return np.asarray((labels[:, is_single] > 0).any(axis=1) if labels.ndim == 2 else is_single[labels])


def _fold(labels: Labels, groups: NDArray[Any] | None, folds: int, fold: int, random: np.random.Generator) -> Indices:
    """The positions, sorted, of one of the folds among `labels`; all folds are drawn alike, whichever is asked for.

    Each class is shuffled, and the classes one after the other are dealt out like cards, as by scikit-learn's
    `StratifiedKFold`; done here, so that no other version of it ever divides the examples of a recorded cell otherwise.
    """
    if groups is not None or labels.ndim == 2:
        return fold_of_groups(labels, np.arange(len(labels)) if groups is None else groups, folds, fold, random)
    classes, totals = np.unique(labels, return_counts=True)
    dealt = [random.permutation(np.flatnonzero(labels == kind)) for kind in classes[totals > 1]]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *dealt])[fold::folds])


def of_classes(labels: NDArray[Any], data: Data) -> Split:
    """The examples of the classes that a cell keeps; of several labels an image those with any of them.

    Raises:
        DataError: The source has no examples of one of them.
    """
    labels = np.asarray(labels)
    if data.classes is None:
        return Split(np.arange(len(labels), dtype=np.int64), labels.astype(np.int32) if labels.ndim == 1 else labels)
    there = np.flatnonzero(image_counts(labels)).tolist()
    missing = sorted(set(data.classes) - set(there))
    if missing:
        raise DataError(f"{data.source} has no examples of the classes {missing}; it has {there}")
    if labels.ndim == 2:
        kept = labels[:, list(data.classes)]
        indices = np.flatnonzero(kept.any(axis=1))
        return Split(indices, kept[indices])
    renumbered = np.full(int(labels.max()) + 1, -1, dtype=np.int32)
    renumbered[list(data.classes)] = np.arange(len(data.classes))
    indices = np.flatnonzero(renumbered[labels] >= 0)
    return Split(indices, renumbered[labels[indices]])


def _fewer(split: Split, count: int | None, seed: int, setting: str) -> Split:
    if count is None or count == len(split):
        return split
    if count > len(split):
        raise DataError(
            f"{setting} = {count}, but there are only {len(split)} such examples; take at most {len(split)}"
        )
    return split.at(stratified_sample(split.labels, count, np.random.default_rng([seed, _SUBSET_STREAM])))
