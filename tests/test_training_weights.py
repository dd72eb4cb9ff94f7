from __future__ import annotations

import hashlib

import keras
import numpy as np
import pytest
from training_cells import DIGITS, architecture

from benchmark.catalog.keras_applications import PUBLISHED, PublishedWeights
from benchmark.errors import DataError
from benchmark.training.networks.network import build_network
from benchmark.training.weights.imagenet import verified_content
from benchmark.training.weights.weight_files import (
    assign_weights,
    load_published,
    load_weights,
    read_weights,
    weight_arrays,
    write_weights,
)

pytestmark = pytest.mark.tf
NAMES = tuple("0123456789")


def network(seed, **changes):
    keras.utils.set_random_seed(seed)
    return build_network(architecture("basic_cnn", filters=(4, 4), dense_units=8, **changes), DIGITS)


@pytest.fixture
def saved(tmp_path):
    source = network(1)
    path = tmp_path / "weights.npz"
    write_weights(path, weight_arrays(source.core), "a" * 20, NAMES)
    return path, weight_arrays(source.core)


def test_weights_come_back_as_they_were(saved):
    path, arrays = saved
    file = read_weights(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert file.class_names == NAMES
    assert all(np.array_equal(file.weights[name], array) for name, array in arrays.items())


def test_weights_are_copies(saved):
    source = network(1)
    before = weight_arrays(source.core)
    kernel = before["conv1/kernel"].copy()
    assign_weights(source.core, {name: array + 1 for name, array in before.items()})
    assert np.array_equal(before["conv1/kernel"], kernel)


def test_a_changed_file_is_refused_before_it_is_used(saved):
    path, _ = saved
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=f"expected sha256 {digest}"):
        read_weights(path, digest)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_a_file_that_holds_no_arrays_is_a_data_error(content, tmp_path):
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(DataError, match="is not a weights file"):
        read_weights(tmp_path / "w.npz")


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_weights(tmp_path / "nothing.npz")


def test_objects_in_a_weights_file_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "w.npz", **{"conv1/kernel": np.array([object()], dtype=object)})
    with pytest.raises(DataError, match="is not a weights file"):
        read_weights(tmp_path / "w.npz")


def test_the_same_classes_keep_the_last_layer_and_others_get_a_new_one(saved):
    path, arrays = saved
    for names, kept in ((NAMES, True), (tuple("abcdefghij"), False)):
        target = network(2)
        fresh = weight_arrays(target.core)["predictions/kernel"]
        load_weights(target, read_weights(path), names, "parent")
        found = weight_arrays(target.core)
        assert np.array_equal(found["conv2/kernel"], arrays["conv2/kernel"])
        assert np.array_equal(found["predictions/kernel"], arrays["predictions/kernel"] if kept else fresh)


def test_another_shape_is_said_by_layer(saved):
    keras.utils.set_random_seed(2)
    other = build_network(architecture("basic_cnn", filters=(4, 6), dense_units=8), DIGITS)
    with pytest.raises(DataError, match=r"conv2/kernel: expected shape \(3, 3, 4, 6\), found shape \(3, 3, 4, 4\)"):
        load_weights(other, read_weights(saved[0]), NAMES, "parent")


def test_weights_that_are_not_finite_are_refused(saved):
    path, arrays = saved
    arrays["conv2/bias"][1] = np.nan
    write_weights(path, arrays, "a" * 20, NAMES)
    with pytest.raises(DataError, match="NaN or infinite values in conv2/bias"):
        load_weights(network(2), read_weights(path), NAMES, "parent")


def test_published_weights_land_in_the_backbone_and_leave_the_head_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    keras.utils.set_random_seed(5)
    original = keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 48, 3))
    path = PUBLISHED["vgg16"].path
    path.parent.mkdir()
    original.save_weights(path.with_suffix(".weights.h5"))
    _write_legacy(original, path)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(PUBLISHED, "vgg16", PublishedWeights(PUBLISHED["vgg16"].url, md5))
    keras.utils.set_random_seed(6)
    target = build_network(architecture("vgg16"), DIGITS.__class__("x", None, 10, 32, "rgb", None, None, 0.1))
    head = weight_arrays(target.core)["predictions/kernel"]
    assert (
        load_published(target, verified_content("vgg16"), "ImageNet") == hashlib.sha256(path.read_bytes()).hexdigest()
    )
    loaded = weight_arrays(target.core)
    for weight in original.weights:
        assert np.array_equal(loaded[weight.path], np.asarray(weight))
    assert np.array_equal(loaded["predictions/kernel"], head)


def _write_legacy(model, path):
    """The format of the published files: one HDF5 group for each layer, Keras 2 names."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{'W' if len(w.shape) > 1 else 'b'}_1:0".encode() for w in layer.weights]
            group.attrs["weight_names"] = names
            for name, weight in zip(names, layer.weights, strict=True):
                group.create_dataset(name.decode(), data=np.asarray(weight))
