"""A user's weights files: told apart by what they hold, and refused with a reason where they do not fit."""

from __future__ import annotations

import contextlib
import io
import zipfile

import h5py
import keras
import numpy as np
import pytest
from training_cells import DIGITS, architecture

from benchmark.errors import DataError
from benchmark.training.networks.network import build_network
from benchmark.training.weights.hdf5 import extract_hdf5
from benchmark.training.weights.weight_files import load_weights, read_weights, weight_arrays
from tests.weights_files import FORMATS, randomised, write_legacy, written

pytestmark = pytest.mark.tf
NAMES = tuple("0123456789")


def network(classes=10, **changes):
    keras.utils.set_random_seed(3)
    data = DIGITS.__class__("digits", None, classes, 16, "grey", None, None, 0.1)
    wanted = {"filters": (4, 4), "stage_dropout": (0.1, 0.1), "dense_units": 8, **changes}
    return build_network(architecture("advanced_cnn", **wanted), data)


def load(target, path, names=NAMES):
    load_weights(target, read_weights(path, network=target), names, str(path))


@pytest.mark.parametrize("kind", FORMATS)
def test_weights_of_a_whole_network_come_back_whatever_the_file_is_called(kind, tmp_path):
    source = network()
    randomised(source.core)
    target = network()
    load(target, written(source.core, tmp_path, kind))
    found = weight_arrays(target.core)
    assert all(np.array_equal(found[path], array) for path, array in weight_arrays(source.core).items())


@pytest.mark.parametrize("kind", FORMATS)
def test_a_last_layer_for_other_classes_is_replaced(kind, tmp_path):
    source, target = network(), network(classes=5)
    randomised(source.core)
    fresh = weight_arrays(target.core)["predictions/kernel"]
    load(target, written(source.core, tmp_path, kind), tuple("56789"))
    found = weight_arrays(target.core)
    assert np.array_equal(found["dense/kernel"], weight_arrays(source.core)["dense/kernel"])
    assert np.array_equal(found["predictions/kernel"], fresh)


@pytest.mark.parametrize("kind", FORMATS)
def test_another_shape_is_said_by_layer(kind, tmp_path):
    path = written(network(filters=(4, 6)).core, tmp_path, kind)
    with pytest.raises(DataError, match="stage2_conv1: expected 3x3x4x4, found 3x3x4x6"):
        load(network(), path)


@pytest.mark.parametrize("kind", FORMATS)
def test_another_number_of_layers_is_said(kind, tmp_path):
    path = written(network(filters=(4,), stage_dropout=(0.1,)).core, tmp_path, kind)
    with pytest.raises(DataError, match=r"holds 6 layers with weights; expected 8 .* or 10"):
        load(network(), path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_file_cut_short_is_a_data_error_that_names_it(kind, keep, tmp_path):
    path = written(network().core, tmp_path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataError, match=path.name):
        load(network(), path)


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(4000), b"<html>404</html>"]
)
def test_what_is_no_weights_file_is_a_data_error(content, tmp_path):
    path = tmp_path / "w.h5"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"w\.h5"):
        load(network(), path)


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["measurements"] = np.arange(5)
    with pytest.raises(DataError, match="cannot be used"):
        load(network(), tmp_path / "w.h5")


def test_values_that_are_not_finite_are_refused(tmp_path):
    source = network()
    source.core.get_layer("dense").kernel.assign(keras.ops.full((source.core.get_layer("dense").kernel.shape), np.nan))
    with pytest.raises(DataError, match="NaN or infinite values in dense/kernel"):
        load(network(), written(source.core, tmp_path, "legacy"))


def test_links_that_lead_out_of_the_file_are_refused(tmp_path):
    source = network()
    secret, path = tmp_path / "secret.h5", tmp_path / "w.h5"
    write_legacy(source.core, secret)
    write_legacy(source.core, path)
    with h5py.File(path, "a") as file:
        del file["dense"]
        file["dense"] = h5py.ExternalLink(str(secret), "/dense")
    with pytest.raises(DataError, match="leads out of the file"):
        load(network(), path)


def test_no_array_larger_than_its_weight_is_read(tmp_path):
    source = network()
    path = tmp_path / "w.h5"
    write_legacy(source.core, path)
    with h5py.File(path, "a") as file:
        del file["dense/dense/0:0"]
        file.create_dataset("dense/dense/0:0", shape=(1 << 40,), dtype="f4", chunks=(1024,))
    with pytest.raises(DataError, match="found 1099511627776"):
        load(network(), path)


def test_a_keras_archive_with_any_damaged_byte_is_read_or_refused_in_words():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(number * 7 % 61 for number in range(400)))
    whole = packed.getvalue()
    for place in range(len(whole)):
        with contextlib.suppress(DataError):
            extract_hdf5(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
