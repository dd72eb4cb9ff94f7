"""Computes how many examples of each class a cell uses, without drawing them.

A stratified choice gives each class its share of the examples by the largest remainder method;
`training/data/splits.py` draws which examples these are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from benchmark.catalog.source_files.image_folders import some
from benchmark.matrix.cell import Data


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Numbers of examples of each class in the three parts of a cell's data, classes in the cell's order."""

    training: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def stratified_shares(totals: Sequence[int], count: int) -> list[int]:
    """Divides `count` examples among classes of these sizes, in proportion.

    The rest after rounding down goes to the largest remainders; of equal ones to the lower class, on every machine.
    """
    if count == 0:
        return [0] * len(totals)
    shares = [total * count / sum(totals) for total in totals]
    takes = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(totals)), key=lambda place: takes[place] - shares[place])
    for place in by_remainder[: count - sum(takes)]:
        takes[place] += 1
    return takes


def class_counts(data: Data, training_totals: Sequence[int], test_totals: Sequence[int]) -> ClassCounts:
    """Computes how many examples `training/data/splits.py` draws for a cell.

    Args:
        data: The cell's data settings.
        training_totals: Examples of each kept class in the source's training set, classes in the cell's order.
        test_totals: The same of its test set.
    """
    chosen = _at_most(training_totals, data.train_examples)
    if data.validation == "source":
        training, validation = chosen, [0] * len(chosen)
    elif data.folds is not None and data.fold is not None:
        validation = fold_counts(chosen, data.folds, data.fold)
        training = [all_of_it - part for all_of_it, part in zip(chosen, validation, strict=True)]
    else:
        training = training_counts(training_totals, data.train_examples, data.validation_fraction)
        validation = [all_of_it - part for all_of_it, part in zip(chosen, training, strict=True)]
    test = _at_most(test_totals, data.test_examples)
    locked = stratified_shares(test, round(sum(test) * data.lockbox))
    rest = [all_of_it - part for all_of_it, part in zip(test, locked, strict=True)]
    return ClassCounts(tuple(training), tuple(validation), tuple(rest))


def training_counts(totals: Sequence[int], count: int | None, validation_fraction: float) -> list[int]:
    """Examples of each class that are left to train on, of so many that there are.

    The only example of a class is never taken for validation.
    """
    chosen = _at_most(totals, count)
    validation = stratified_shares(chosen, round(sum(chosen) * validation_fraction))
    return [kept if total == 1 else kept - part for total, kept, part in zip(totals, chosen, validation, strict=True)]


def fold_counts(totals: Sequence[int], folds: int, fold: int) -> list[int]:
    """Examples of each class in one of the folds: they are dealt out like cards, one class after the other.

    Of a class the folds have equally many, give or take one, and so they have of all classes together. The only
    example of a class is in no fold.
    """
    ends = list(itertools.accumulate(0 if total == 1 else total for total in totals))
    return [_dealt(end, folds, fold) - _dealt(start, folds, fold) for start, end in itertools.pairwise([0, *ends])]


def _dealt(count: int, folds: int, fold: int) -> int:
    """How many of the first `count` examples go to a fold."""
    return (count - fold + folds - 1) // folds


def untrained_problem(data: Data, names: Collection[str]) -> str:
    """Why a cell is refused whose settings leave no example of some classes to train on, and the cures.

    Stratified shares are rounded, so that a class with few examples may get none, or lose all to validation.
    """
    asked = [f"train_examples = {data.train_examples}"] if data.train_examples is not None else []
    asked += (
        [f"validation_fraction = {data.validation_fraction:g}"] if data.validation_fraction and not data.folds else []
    )
    return (
        f"{' with '.join(asked)} leaves no image of {some(names)} to train on; add images of such classes, take more "
        "train_examples or a smaller validation_fraction (0 for none), or leave them out with `classes`"
    )


def _at_most(totals: Sequence[int], count: int | None) -> list[int]:
    return list(totals) if count is None or count >= sum(totals) else stratified_shares(totals, count)
