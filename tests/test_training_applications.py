"""Networks of Keras Applications: what is known of them, what is done to images first, and weights in every format."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras.src.utils import file_utils
from training_cells import DIGITS

from benchmark.catalog.keras_applications import APPLICATIONS, PREFIX, PUBLISHED, canonical
from benchmark.matrix.cell import Architecture
from benchmark.training.networks.network import build_network
from benchmark.training.weights.weight_files import load_published, load_weights, read_weights
from tests.weights_files import FORMATS, randomised, written

pytestmark = pytest.mark.tf

EVERY = os.environ.get("BENCH_TEST_APPLICATIONS") == "all"
"""All of them take a quarter of an hour and 8 GiB."""

FEW = ["vgg16", "keras:MobileNetV2"]
NAMES = sorted(APPLICATIONS) if EVERY else FEW
MORE = sorted(APPLICATIONS) if EVERY else [*FEW, "keras:MobileNetV3Small"]


class Asked(Exception):  # noqa: N818  no error: Keras is stopped where it would download
    pass


def real(name, size=32, **options):
    builder = getattr(keras.applications, APPLICATIONS[name].name)
    options = {"weights": None, "input_shape": (size, size, 3), **options}
    return builder(include_top=False, **options)


def network(name, size=32, color="rgb"):
    data = replace(DIGITS, source="x", image_size=size, color=color)
    return build_network(Architecture(name, (("dense_units", 0), ("dropout", 0.0))), data)


def features_of(one):
    return keras.Model(one.core.input, one.core.get_layer(one.backbone[-1]).output)


def preprocessed(name, images):
    module = sys.modules[getattr(keras.applications, APPLICATIONS[name].name).__module__]
    return module.preprocess_input(images.copy())


def test_every_network_that_keras_has_is_known():
    builders = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {one.name for one in APPLICATIONS.values()} == builders
    assert APPLICATIONS.keys() == PUBLISHED.keys() == {canonical(PREFIX + name) for name in builders}


@pytest.mark.parametrize("name", MORE)
@pytest.mark.filterwarnings("ignore:.*input_shape.*")
def test_the_file_is_the_one_that_keras_would_fetch(name, monkeypatch):
    asked = {}

    def get_file(fname, origin, **options):
        asked.update(fname=fname, origin=origin, digest=options.get("file_hash"), folder=options["cache_subdir"])
        raise Asked

    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(Asked):
        real(name, 331 if name == "keras:NASNetLarge" else 224, weights="imagenet")
    known = PUBLISHED[name]
    assert asked == {"fname": known.path.name, "origin": known.url, "digest": known.digest, "folder": "models"}
    assert known.path.parent.name == "models"


@pytest.mark.parametrize("name", NAMES)
def test_images_and_weights_come_to_the_same_features_as_in_keras_in_every_format(name, tmp_path):
    known = APPLICATIONS[name]
    size = known.minimum_image_size
    theirs = randomised(real(name, size))
    ours = network(name, size)
    backbone = [ours.core.get_layer(layer) for layer in ours.backbone]
    assert len(backbone) == known.layers
    assert sum(layer.count_params() for layer in backbone) == known.parameters
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    expected = np.asarray(theirs(preprocessed(name, images), training=False))
    head = np.asarray(ours.core.get_layer("predictions").kernel)
    for kind in FORMATS:
        for weight in ours.core.get_layer(ours.backbone[-1]).weights:
            weight.assign(keras.ops.zeros_like(weight))
        path = written(theirs, tmp_path, kind)
        load_weights(ours, read_weights(path, network=ours), (), str(path))
        found = np.asarray(features_of(ours)(images, training=False))
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()), kind
    assert np.array_equal(np.asarray(ours.core.get_layer("predictions").kernel), head)


@pytest.mark.parametrize("name", ["keras:EfficientNetB0"])
def test_published_weights_mean_what_keras_makes_of_them(name, tmp_path, monkeypatch):
    path = written(randomised(real(name)), tmp_path, "legacy").rename(tmp_path / "published.h5")
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    theirs = real(name, weights="imagenet")
    ours = network(name)
    load_published(ours, path.read_bytes(), "ImageNet")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(theirs(images, training=False))
    assert np.allclose(np.asarray(features_of(ours)(images, training=False)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["keras:EfficientNetB0", "keras:EfficientNetV2B0"])
def test_grey_images_are_scaled_alike(name):
    ours = network(name, color="grey")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    assert ours.core.get_layer(ours.backbone[0]).input.shape[-1] == 1
    assert np.isfinite(np.asarray(ours.core(images))).all()


@pytest.mark.parametrize("preprocessing", ["centred"])
def test_the_larger_efficientnets_of_the_second_kind_are_scaled_as_keras_does(preprocessing):
    from benchmark.training.networks.applications import _PREPROCESSING

    images = keras.Input((4, 4, 3))
    ours = keras.Model(images, _PREPROCESSING[preprocessing](images))
    pixels = np.array([0, 128, 255], dtype=np.float32) * np.ones((1, 4, 4, 1), dtype=np.float32)
    # efficientnet_v2.py of Keras: Rescaling(1 / 128, offset=-1)
    assert np.allclose(np.asarray(ours(pixels))[0, 0, 0], [-1, 0, 255 / 128 - 1])
