from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import DataError
from benchmark.matrix.cell import Data
from benchmark.matrix.planning.example_counts import class_counts
from benchmark.training.data.splits import split_test, split_training
from benchmark.training.data.stratification import stratified_sample

DATA = Data("digits", None, 10, 16, "grey", None, None, 0.1)
LABELS = np.random.default_rng(0).integers(0, 10, 1000)

label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array)


@given(label_lists, st.data())
def test_a_stratified_subset_gives_each_class_its_share_within_one(labels, data):
    count = data.draw(st.integers(0, len(labels)))
    chosen = stratified_sample(labels, count, np.random.default_rng(0))
    assert len(chosen) == count == len(np.unique(chosen))
    assert np.array_equal(chosen, np.sort(chosen))
    for kind, total in zip(*np.unique(labels, return_counts=True), strict=True):
        assert abs((labels[chosen] == kind).sum() - total * count / len(labels)) < 1


@given(label_lists)
def test_all_of_a_set_is_the_set(labels):
    assert np.array_equal(stratified_sample(labels, len(labels), np.random.default_rng(0)), np.arange(len(labels)))


def test_training_and_validation_are_disjoint_and_together_everything():
    training, validation = split_training(LABELS, DATA, seed=3)
    both = np.concatenate([training.indices, validation.indices])
    assert np.array_equal(np.sort(both), np.arange(1000))
    assert len(validation) == 100


def test_the_split_follows_the_seed_and_nothing_else():
    first, again, other = (split_training(LABELS, DATA, seed)[1].indices for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_chosen_classes_are_relabelled_in_the_order_given():
    training, validation = split_training(LABELS, replace(DATA, classes=(7, 2), num_classes=2), seed=0)
    for split in (training, validation):
        assert set(LABELS[split.indices[split.labels == 0]]) == {7}
        assert set(LABELS[split.indices[split.labels == 1]]) == {2}


def test_train_examples_counts_training_and_validation_together():
    training, validation = split_training(LABELS, replace(DATA, train_examples=200), seed=0)
    assert (len(training), len(validation)) == (180, 20)


def test_a_smaller_training_set_lies_mostly_in_a_larger_one():
    small, large = (
        split_training(LABELS, replace(DATA, train_examples=count, validation_fraction=0.0), 0)[0].indices
        for count in (100, 400)
    )
    assert len(np.intersect1d(small, large)) >= 90


def test_every_seed_is_tested_on_the_same_images():
    subset, _ = split_test(LABELS, replace(DATA, test_examples=50))
    assert len(subset) == 50
    assert np.array_equal(subset.indices, split_test(LABELS, replace(DATA, test_examples=50))[0].indices)


def test_more_examples_than_there_are_is_said():
    with pytest.raises(DataError, match="test_examples = 5000, but there are only 1000"):
        split_test(LABELS, replace(DATA, test_examples=5000))


def test_a_class_without_examples_is_said():
    with pytest.raises(DataError, match=r"no examples of the classes \[11\]"):
        split_test(LABELS, replace(DATA, classes=(1, 11)))


def test_a_lockbox_takes_its_share_of_each_class_from_the_test_set_and_leaves_the_rest():
    whole, nothing = split_test(LABELS, DATA)
    rest, locked = split_test(LABELS, replace(DATA, lockbox=0.2))
    assert not len(nothing)
    assert np.array_equal(np.sort(np.concatenate([rest.indices, locked.indices])), whole.indices)
    assert np.abs(np.bincount(locked.labels) - 0.2 * np.bincount(whole.labels)).max() < 1
    with pytest.raises(DataError, match=r"lockbox = 1e-05 divides 1000 test examples of digits into 1000 and 0"):
        split_test(LABELS, replace(DATA, lockbox=1e-5))


def test_an_empty_validation_set_is_said():
    with pytest.raises(DataError, match="leaves 4 to train on and 0 to validate on"):
        split_training(LABELS, replace(DATA, train_examples=4), seed=0)


@pytest.mark.parametrize(
    ("totals", "changes"),
    [
        ([10] * 90 + [2] * 10, {"validation_fraction": 0.5, "train_examples": 100}),
        ([100] * 10, {"validation_fraction": 0.2, "train_examples": 10}),
        ([980, 10, 10], {"train_examples": 10}),
        ([980, 10, 10], {"train_examples": 60, "validation_fraction": 0.5}),
        ([5, 980, 7, 10], {"train_examples": 20, "classes": (1, 0)}),
    ],
)
def test_a_class_of_which_nothing_would_be_left_to_train_on_is_refused_by_name(totals, changes):
    labels = np.repeat(np.arange(len(totals)), totals)
    data = replace(DATA, **{"validation_fraction": 0.0, "num_classes": len(totals), **changes})
    with pytest.raises(DataError, match=r"leaves no image of .* to train on; add images") as caught:
        split_training(labels, data, seed=0)
    kept = data.classes or range(len(totals))
    left = class_counts(data, [totals[label] for label in kept], [0] * len(totals)).training
    assert 0 in left
    names = [f"class {label}" for label in range(len(kept))]
    with pytest.raises(DataError) as caught:
        split_training(labels, data, 0, names)
    assert f"class {left.index(0)}" in str(caught.value)


@pytest.mark.parametrize(("totals", "validated"), [([1] * 10, 0), ([10] * 90 + [1] * 10, 90), ([1, 1, 98], 10)])
def test_the_only_example_of_a_class_is_trained_on_and_never_validated_on(totals, validated):
    labels = np.repeat(np.arange(len(totals)), totals)
    data = replace(DATA, num_classes=len(totals), validation_fraction=0.1)
    training, validation = split_training(labels, data, seed=0)
    assert np.bincount(training.labels, minlength=len(totals)).all()
    assert abs(len(validation) - validated) <= 1
    expected = class_counts(data, totals, [0] * len(totals))
    assert tuple(np.bincount(training.labels, minlength=len(totals))) == expected.training
    assert tuple(np.bincount(validation.labels, minlength=len(totals))) == expected.validation


@given(label_lists, st.floats(0, 0.9), st.integers(1, 200))
def test_whatever_is_trained_has_every_class(labels, fraction, examples):
    data = replace(DATA, validation_fraction=fraction, train_examples=min(examples, len(labels)), num_classes=5)
    labels = np.unique(labels, return_inverse=True)[1]
    try:
        training, _ = split_training(labels, data, seed=1)
    except DataError:
        return
    assert set(training.labels) == set(labels)
