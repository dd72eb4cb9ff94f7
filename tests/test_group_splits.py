"""Groups and several labels an image in the splits of a cell: nothing is divided, and each class keeps about its share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import DataError
from benchmark.matrix.cell import Data
from benchmark.training.data.splits import split_test, split_training
from benchmark.training.data.stratification import sample_rows

DATA = replace(Data("folder:own", None, 3, 16, "grey", None, None, 0.2), groups="site")


def example(seed: int, several: bool = False):
    """400 images of 3 classes in 40 sites of various sizes."""
    random = np.random.default_rng(seed)
    groups = np.sort(random.integers(0, 40, 400))
    labels = (random.random((400, 3)) < 0.3).astype(np.uint8) if several else random.integers(0, 3, 400)
    return labels, groups


def counts(labels):
    return labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=3)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_no_group_is_divided_between_training_and_validation(seed, several):
    labels, groups = example(seed, several)
    training, validation = split_training(labels, DATA, seed, groups=groups)
    assert sorted([*training.indices, *validation.indices]) == list(range(400))
    assert not set(groups[training.indices]) & set(groups[validation.indices])
    assert np.abs(counts(validation.labels) / counts(labels) - 0.2).max() < 0.08


def test_the_split_follows_the_seed_alone():
    labels, groups = example(0)
    first, again, other = (split_training(labels, DATA, seed, groups=groups)[1].indices.tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("several", [False, True])
def test_the_folds_of_a_seed_validate_on_each_group_once(several):
    labels, groups = example(1, several)
    folded = replace(DATA, folds=5, validation_fraction=0.2)
    parts = [split_training(labels, replace(folded, fold=fold), 0, groups=groups)[1] for fold in range(5)]
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(400))
    assert sorted(np.concatenate([np.unique(groups[part.indices]) for part in parts])) == sorted(set(groups))
    assert max(len(part) for part in parts) - min(len(part) for part in parts) < 30


def test_folds_of_several_labels_cover_each_image_once_and_have_equal_shares():
    labels, _ = example(2, several=True)
    folded = replace(DATA, groups=None, folds=4, validation_fraction=0.25)
    parts = [split_training(labels, replace(folded, fold=fold), 0)[1] for fold in range(4)]
    assert sorted(np.concatenate([part.indices for part in parts])) == list(range(400))
    shares = np.array([counts(part.labels) for part in parts])
    assert (shares.max(axis=0) - shares.min(axis=0)).max() <= 2


def test_a_group_that_alone_holds_a_class_is_trained_on():
    labels, groups = np.array([0, 1] * 20), np.repeat(np.arange(10), 4)
    labels[groups == 3] = 2
    for seed in range(10):
        training, _ = split_training(labels, DATA, seed, groups=groups)
        assert 3 in groups[training.indices]


def test_a_single_group_cannot_be_split():
    labels, _ = example(0)
    with pytest.raises(
        DataError, match=r"cannot be split without dividing a group of `site`: validation_fraction = 0.2"
    ):
        split_training(labels, DATA, 0, groups=np.zeros(400, int))


def test_the_lockbox_divides_no_group():
    labels, groups = example(3)
    test, locked = split_test(labels, replace(DATA, lockbox=0.3), groups)
    assert len(locked) > 60
    assert not set(groups[test.indices]) & set(groups[locked.indices])


def test_with_the_sources_own_validation_split_everything_is_trained_on():
    labels, _ = example(0)
    data = replace(DATA, groups=None, validation="source", validation_fraction=0.0)
    training, validation = split_training(labels, data, 0)
    assert (len(training), len(validation)) == (400, 0)


def test_classes_of_several_labels_keep_images_that_have_any_of_them():
    labels, _ = example(0, several=True)
    data = replace(DATA, groups=None, classes=(2, 0), num_classes=2, validation_fraction=0.0)
    training, _ = split_training(labels, data, 0)
    assert (training.labels == labels[training.indices][:, [2, 0]]).all()
    assert len(training) == int((labels[:, [0, 2]].any(axis=1)).sum())


@given(st.integers(0, 1000), st.integers(0, 60))
def test_rows_are_sampled_to_the_number_with_each_label_near_its_share(seed, count):
    random = np.random.default_rng(seed)
    labels = (random.random((60, 4)) < random.random(4)).astype(np.uint8)
    chosen = sample_rows(labels, count, random)
    assert len(chosen) == len(set(chosen.tolist())) == count
    assert np.abs(labels[chosen].sum(axis=0) - labels.sum(axis=0) * count / 60).max() <= 10
