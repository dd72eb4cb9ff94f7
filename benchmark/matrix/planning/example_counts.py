"""How many examples of each class a cell sees: stratified shares, without drawing a single example.

A stratified choice gives each class its share of the examples (largest remainders); which examples these are is drawn
in `training/data/splits.py`, how many they are is arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.matrix.cell import Data


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Examples of each class in the three parts of a cell's data, classes in the cell's order."""

    training: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def stratified_shares(totals: Sequence[int], count: int) -> list[int]:
    """`count` examples in all, taken from classes of these sizes so that each keeps its share.

    Equal remainders go to the lower class, on every machine.
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
    """What `training/data/splits.py` draws for a cell, as numbers.

    Args:
        data: Which examples, and which share is for validation.
        training_totals: Examples of each kept class in the source's training set, classes in the cell's order.
        test_totals: The same of its test set.
    """
    chosen = _fewer(training_totals, data.train_examples)
    validation = stratified_shares(chosen, round(sum(chosen) * data.validation_fraction))
    training = [all_of_it - part for all_of_it, part in zip(chosen, validation, strict=True)]
    return ClassCounts(tuple(training), tuple(validation), tuple(_fewer(test_totals, data.test_examples)))


def _fewer(totals: Sequence[int], count: int | None) -> list[int]:
    return list(totals) if count is None or count >= sum(totals) else stratified_shares(totals, count)
