from __future__ import annotations

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from training_cells import DIGITS, PARAMETERS, architecture, stage

from benchmark.catalog.facts import ARCHITECTURES
from benchmark.matrix.cell import Data
from benchmark.training.networks.network import BUILDERS, build_network
from benchmark.training.stages import set_trainable, training_model

pytestmark = pytest.mark.tf


def data(size, color, classes=10):
    return replace(DIGITS, image_size=size, color=color, num_classes=classes)


@pytest.fixture(scope="module")
def networks():
    """Each network once, at the smallest size its facts allow but at least 32 pixels."""
    keras.utils.set_random_seed(0)
    return {name: build_network(architecture(name), data(32, "rgb")) for name in PARAMETERS}


def test_catalogue_and_builders_know_the_same_architectures():
    assert BUILDERS.keys() == ARCHITECTURES.keys() > PARAMETERS.keys()


def test_the_mnist_cnn_has_225034_parameters():
    assert build_network(architecture("simple_cnn"), data(28, "grey")).core.count_params() == 225_034


def test_resnet18_has_11181642_trainable_parameters(networks):
    core = networks["resnet18"].core
    assert sum(math.prod(weight.shape) for weight in core.trainable_weights) == 11_181_642
    assert core.count_params() == 11_181_642 + 2 * 4_800


@pytest.mark.parametrize(("name", "without_top"), [("vgg16", 14_714_688), ("resnet50", 23_587_712)])
def test_applications_have_their_known_number_of_parameters(name, without_top, networks):
    network = networks[name]
    layers = map(network.core.get_layer, network.backbone)
    assert sum(layer.count_params() for layer in layers) == without_top


def test_last_30_of_resnet50_with_a_head_are_14470666_parameters(networks):
    network = networks["resnet50"]
    assert set_trainable(network, "last:30") == 14_470_666
    assert network.backbone[-29] == "conv5_block1_2_conv"  # behind an activation
    set_trainable(network, "all")


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_last_n_counts_the_layers_that_the_catalogue_says(name, networks):
    assert len(networks[name].backbone) == ARCHITECTURES[name].backbone_layers(PARAMETERS[name])


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_network_gives_probabilities_in_float32(name, networks):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    probabilities = np.asarray(networks[name].core(images.astype(np.float32)))
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (3, 10)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"vgg16", "resnet50"}))
def test_the_smallest_image_size_of_the_catalogue_is_enough(name):
    smallest = max(ARCHITECTURES[name].minimum_image_size(PARAMETERS[name]), 8)
    assert build_network(architecture(name), data(smallest, "grey", 5)).core.output_shape == (None, 5)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_layers_are_preprocessing_backbone_or_head(name, networks):
    network = networks[name]
    names = [layer.name for layer in network.core.layers]
    assert len(set(names)) == len(names)
    assert not set(network.backbone) & set(network.head)
    rest = set(names) - set(network.backbone) - set(network.head)
    assert all(not network.core.get_layer(layer).weights for layer in rest)
    assert network.head[-1] == "predictions"


def test_weights_have_paths_of_their_own(networks):
    for network in networks.values():
        paths = [weight.path for weight in network.core.weights]
        assert len(set(paths)) == len(paths)


def test_preprocessing_is_that_of_keras_applications(networks):
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    core = networks["vgg16"].core
    first = core.get_layer(networks["vgg16"].backbone[0])
    before = keras.Model(core.input, first.input)
    expected = keras.applications.vgg16.preprocess_input(images.copy())
    assert np.allclose(np.asarray(before(images)), expected, atol=1e-3)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_in_mixed_precision_the_ends_stay_in_float32(precision):
    keras.config.set_dtype_policy(precision)
    try:
        network = build_network(architecture("basic_cnn"), data(16, "grey"))
    finally:
        keras.config.set_dtype_policy("float32")
    dtypes = {layer.name: layer.compute_dtype for layer in network.core.layers}
    assert (dtypes["rescale"], dtypes["predictions"]) == ("float32", "float32")
    assert dtypes["conv1"] == precision.removeprefix("mixed_")


@pytest.mark.parametrize(("train", "arrays"), [("head", 4), ("last:1", 4), ("last:2", 6), ("last:9", 6), ("all", 6)])
def test_what_learns_is_the_head_and_the_end_of_the_backbone(train, arrays):
    network = build_network(architecture("basic_cnn", filters=(4,), dense_units=8), data(16, "grey"))
    trainable = set_trainable(network, train)
    assert len(network.core.trainable_weights) == arrays
    assert trainable == sum(math.prod(weight.shape) for weight in network.core.trainable_weights)


def test_frozen_batch_normalisation_keeps_its_averages():
    network = build_network(architecture("advanced_cnn", filters=(4,), stage_dropout=(0.0,)), data(16, "grey"))
    images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1)).astype(np.float32)
    norm = network.core.get_layer("stage1_conv1_norm")
    for train, moves in (("head", False), ("all", True)):
        set_trainable(network, train)
        before = keras.ops.convert_to_numpy(norm.moving_mean).copy()
        network.core(images, training=True)
        assert np.array_equal(before, keras.ops.convert_to_numpy(norm.moving_mean).copy()) != moves


def test_a_saved_network_loads_without_any_code_of_ours_and_predicts_the_same(networks, tmp_path):
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    core = networks["vgg16"].core
    core.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.array_equal(np.asarray(loaded(images)), np.asarray(core(images)))


def test_augmentation_stands_in_front_and_only_in_training():
    network = build_network(architecture("simple_cnn"), data(16, "rgb"))
    assert training_model(network, stage()) is network.core
    augmented = training_model(network, stage(augment=(("color_jitter", 0.2), ("flip", "both"), ("rotation", 0.1))))
    assert [layer.name for layer in augmented.layers][1:3] == ["augment_flip", "augment_rotation"]
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    assert np.allclose(np.asarray(augmented(images, training=False)), np.asarray(network.core(images)), atol=1e-6)
    assert network.core.count_params() == augmented.count_params()


def test_a_network_for_larger_images_than_are_kept_begins_with_enlarging_them():
    import tensorflow as tf

    larger = replace(data(48, "rgb"), source="tfds:cifar10")
    network = build_network(architecture("simple_cnn", filters=(4,)), larger)
    assert network.core.input_shape == (None, None, None, 3)
    assert network.core.layers[1].name == "resize"
    assert "resize" not in network.backbone
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    enlarged = tf.image.resize(images, (48, 48)).numpy()
    assert np.allclose(np.asarray(network.core(images)), np.asarray(network.core(enlarged)), atol=1e-6)
    assert build_network(architecture("simple_cnn"), replace(larger, image_size=28)).core.input_shape[1:3] == (28, 28)


KNOWN_PARAMETERS = [
    # model, image size, colour, all parameters, those of them that learn, and changes to the architecture
    ("simple_cnn", 28, "grey", 225_034, 225_034, {}),
    ("basic_cnn", 64, "grey", 1_142_666, 1_142_666, {}),
    ("advanced_cnn", 32, "rgb", 551_914, 551_018, {}),
    ("resnet18", 32, "rgb", 11_191_242, 11_181_642, {}),
    ("resnet18", 64, "grey", 11_184_970, 11_175_370, {}),
    ("vgg16", 48, "rgb", 14_719_818, 14_719_818, {}),
    ("resnet50", 32, "rgb", 23_608_202, 23_555_082, {}),
    ("resnet50", 160, "rgb", 23_851_274, 23_798_154, {"dense_units": 128, "dropout": 0.3}),
]


@pytest.mark.parametrize(("name", "size", "color", "parameters", "trainable", "changes"), KNOWN_PARAMETERS)
def test_networks_have_their_known_numbers_of_parameters(name, size, color, parameters, trainable, changes):
    network = build_network(architecture(name, **changes), data(size, color))
    assert network.core.count_params() == parameters
    assert set_trainable(network, "all") == trainable


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("vgg16", 48, (1, 1, 512)),
        ("resnet50", 160, (5, 5, 2048)),
        ("resnet18", 64, (2, 2, 512)),
        ("simple_cnn", 28, (5, 5, 64)),
    ],
)
def test_features_have_their_known_shapes(name, size, shape):
    network = build_network(architecture(name), data(size, "rgb"))
    assert network.core.get_layer(network.backbone[-1]).output.shape[1:] == shape


def test_a_cell_with_no_dense_layer_has_none():
    assert "dense" not in build_network(architecture("vgg16"), Data("x", None, 3, 32, "rgb", None, None, 0.1)).head
