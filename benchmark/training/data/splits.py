"""Chooses the examples of a cell by index arithmetic: class subset, fewer examples, validation split.

Every choice is stratified (each class keeps its share) and a pure function of the labels and a seed. Training data
depend on the cell's `split_seed`; a test subset uses the fixed seed 0, so that all seeds are measured on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.matrix.cell import Data
from benchmark.matrix.planning.example_counts import stratified_shares, untrained_problem
from benchmark.training.process.failures import DataError

Indices = NDArray[np.int64]
Labels = NDArray[np.int32]

_SUBSET_STREAM, _VALIDATION_STREAM, _FOLDS_STREAM, _LOCKBOX_STREAM = 1, 2, 4, 5
"""Which streams of random numbers of a seed are used; that of the order of examples is in `dataset.py`."""


@dataclass(frozen=True, slots=True)
class Split:
    """Positions [n] in a prepared array, and the labels [n] from 0 that the examples there have in this cell."""

    indices: Indices
    labels: Labels

    def __len__(self) -> int:
        return len(self.indices)

    def at(self, positions: Indices) -> Split:
        """The examples at some positions of this split."""
        return Split(self.indices[positions], self.labels[positions])


def split_training(
    labels: NDArray[Any], data: Data, seed: int, class_names: Sequence[str] | None = None
) -> tuple[Split, Split]:
    """Chooses training and validation examples from the source's training set.

    The only example of a class is never taken for validation, which is empty where each class has only one. With
    `folds` the fold is the validation set: over all folds of a seed each other example is in one validation set.

    Args:
        labels: Labels of all training examples of the source, [n].
        data: Which classes, how many examples, and which share to validate on.
        seed: The cell's `split_seed`.
        class_names: Of the labels that the examples have in this cell; None for their numbers.

    Raises:
        DataError: More examples are asked for than there are, a side would be empty, or a class would not be trained.
    """
    kept = _of_classes(labels, data)
    chosen = _fewer(kept, data.train_examples, seed, "train_examples")
    if data.folds is not None and data.fold is not None:
        positions = _fold(chosen.labels, data.folds, data.fold, np.random.default_rng([seed, _FOLDS_STREAM]))
        count = len(positions)
    else:
        count = round(len(chosen) * data.validation_fraction)
        positions = stratified_sample(chosen.labels, count, np.random.default_rng([seed, _VALIDATION_STREAM]))
        is_only_one = np.bincount(kept.labels) == 1
        positions = positions[~is_only_one[chosen.labels[positions]]]
    validation = chosen.at(positions)
    training = chosen.at(np.setdiff1d(np.arange(len(chosen)), positions))
    if not len(training) or (data.validation_fraction > 0 and not count):
        key = "validation_fraction" if data.folds is None else "folds"
        raise DataError(
            f"{len(chosen)} training examples of {data.source} cannot be split: {key} = "
            f"{getattr(data, key)} leaves {len(training)} to train on and {count} to validate on; "
            f"take more train_examples or another {key}"
        )
    if len(untrained := np.setdiff1d(kept.labels, training.labels)):
        names = [str(label) if class_names is None else class_names[label] for label in untrained.tolist()]
        raise DataError(f"{data.source}: {untrained_problem(data, names)}")
    return training, validation


def split_test(labels: NDArray[Any], data: Data) -> tuple[Split, Split]:
    """Chooses the test examples of a cell, and those of its lockbox, the same for every seed.

    Args:
        labels: Labels of all test examples of the source, [n].
        data: Which classes, how many examples, and which share is locked away.

    Raises:
        DataError: More examples are asked for than there are, or the lockbox leaves none.
    """
    chosen = _fewer(_of_classes(labels, data), data.test_examples, 0, "test_examples")
    count = round(len(chosen) * data.lockbox)
    if data.lockbox > 0 and not 0 < count < len(chosen):
        raise DataError(
            f"lockbox = {data.lockbox:g} divides {len(chosen)} test examples of {data.source} into {len(chosen) - count} and "
            f"{count}; take another share"
        )
    positions = stratified_sample(chosen.labels, count, np.random.default_rng([0, _LOCKBOX_STREAM]))
    return chosen.at(np.setdiff1d(np.arange(len(chosen)), positions)), chosen.at(positions)


def stratified_sample(labels: NDArray[Any], count: int, random: np.random.Generator | np.random.RandomState) -> Indices:
    """`count` positions, sorted, in which each class has its share of `labels` (largest remainders).

    Of each class the first ones of a permutation are taken, so that with one seed a smaller sample is a subset of a
    larger one as far as the rounding of shares allows.
    """
    classes, totals = np.unique(labels, return_counts=True)
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    takes = stratified_shares(totals.tolist(), count)
    picks = [
        random.permutation(np.flatnonzero(labels == kind))[:take] for kind, take in zip(classes, takes, strict=True)
    ]
    return np.sort(np.concatenate(picks))


def _fold(labels: NDArray[Any], folds: int, fold: int, random: np.random.Generator) -> Indices:
    """The positions, sorted, of one of the folds among `labels`; all folds are drawn alike, whichever is asked for.

    Each class is shuffled, and the classes one after the other are dealt out like cards, as by scikit-learn's
    `StratifiedKFold`; done here, so that no other version of it ever divides the examples of a recorded cell otherwise.
    """
    classes, totals = np.unique(labels, return_counts=True)
    dealt = [random.permutation(np.flatnonzero(labels == kind)) for kind in classes[totals > 1]]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *dealt])[fold::folds])


def _of_classes(labels: NDArray[Any], data: Data) -> Split:
    labels = np.asarray(labels)
    if data.classes is None:
        return Split(np.arange(len(labels), dtype=np.int64), labels.astype(np.int32))
    missing = sorted(set(data.classes) - set(np.unique(labels).tolist()))
    if missing:
        raise DataError(f"{data.source} has no examples of the classes {missing}; it has {np.unique(labels).tolist()}")
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
