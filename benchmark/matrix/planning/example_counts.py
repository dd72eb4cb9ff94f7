"""Computes how many examples of each class a cell uses, without drawing them.

A stratified choice gives each class its share of the examples by the largest remainder method;
`training/data/splits.py` draws which examples these are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    validation = stratified_shares(chosen, round(sum(chosen) * data.validation_fraction))
    training = [total - held_out for total, held_out in zip(chosen, validation, strict=True)]
    return ClassCounts(tuple(training), tuple(validation), tuple(_at_most(test_totals, data.test_examples)))


def _at_most(totals: Sequence[int], count: int | None) -> list[int]:
    return list(totals) if count is None or count >= sum(totals) else stratified_shares(totals, count)
