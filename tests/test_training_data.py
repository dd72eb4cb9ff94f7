from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from training_cells import DIGITS

from benchmark.errors import DataError
from benchmark.training.data.dataset import ExampleSet, epoch_order, open_dataset
from benchmark.training.data.splits import Split
from benchmark.training.programs.prepare import prepare


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    assert np.array_equal(epoch_order(100, 3, 7), epoch_order(100, 3, 7))
    assert not np.array_equal(epoch_order(100, 3, 7), epoch_order(100, 3, 8))
    assert not np.array_equal(epoch_order(100, 3, 7), epoch_order(100, 4, 7))
    assert np.array_equal(np.sort(epoch_order(100, 3, 7)), np.arange(100))


def test_batches_bring_each_image_with_its_label_and_the_rest_last():
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    examples = ExampleSet(images, Split(np.array([9, 4, 2]), np.array([90, 40, 20], dtype=np.int32)))
    batches = list(examples.batches(2, np.array([2, 0, 1])))
    assert [(x.ravel().tolist(), y.tolist()) for x, y in batches] == [([2, 9], [20, 90]), ([4], [40])]


def test_labels_are_told_as_vectors_when_asked():
    examples = ExampleSet(
        np.zeros((2, 1, 1, 1), np.uint8), Split(np.array([0, 1]), np.array([2, 0], dtype=np.int32)), 3
    )
    ((_, labels),) = examples.batches(8)
    assert labels.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_dataset_is_opened_with_its_splits_and_names(directory):
    low = replace(DIGITS, classes=(0, 1, 2, 3, 4), num_classes=5)
    dataset = open_dataset(directory, low, 0, one_hot=False)
    assert dataset.class_names == ("0", "1", "2", "3", "4")
    assert dataset.fingerprint == json.loads((directory / "meta.json").read_text())["fingerprint"]
    assert len(dataset.training) + len(dataset.validation) == 720
    assert len(dataset.test) == 181


def test_images_are_mapped_not_loaded(directory):
    images = open_dataset(directory, DIGITS, 0, one_hot=False).training.images
    assert not images.flags.writeable
    assert not images.flags.owndata


@pytest.mark.parametrize("name", ["meta.json", "train_images.npy", "test_labels.npy"])
def test_a_missing_file_is_a_data_error_naming_the_cure(name, tmp_path):
    directory = prepare("digits", 16, "grey", tmp_path)
    (directory / name).unlink()
    with pytest.raises(DataError, match="delete that folder and run `bench prepare`"):
        open_dataset(directory, DIGITS, 0, one_hot=False)


def test_a_cut_file_is_a_data_error(tmp_path):
    directory = prepare("digits", 16, "grey", tmp_path)
    path = directory / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(directory, DIGITS, 0, one_hot=False)


@pytest.mark.parametrize("name", ["train_images", "test_labels"])
def test_a_bit_that_somebody_changed_in_the_cache_is_a_data_error_and_a_copy_of_it_is_none(name, tmp_path):
    directory = prepare("digits", 16, "grey", tmp_path)
    copy = shutil.copytree(directory, tmp_path / "copy", copy_function=shutil.copyfile)
    assert open_dataset(copy, DIGITS, 0, one_hot=False).fingerprint
    content = bytearray((directory / f"{name}.npy").read_bytes())
    content[-1000] ^= 1
    (directory / f"{name}.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"has changed since it was made.*delete that folder and run `bench prepare`"):
        open_dataset(directory, DIGITS, 0, one_hot=False)


def test_images_of_another_shape_are_a_data_error(directory):
    with pytest.raises(DataError, match=r"expected 1437 uint8 images of shape \(32, 32, 1\)"):
        open_dataset(directory, replace(DIGITS, image_size=32), 0, one_hot=False)
