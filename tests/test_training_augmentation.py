from __future__ import annotations

import keras
import numpy as np
import pytest

from benchmark.training.augmenting.augmentation import augmentation_layers, reseed

pytestmark = pytest.mark.tf

ALL = (
    ("brightness", 0.2),
    ("color_jitter", 0.3),
    ("contrast", 0.2),
    ("erase", 0.5),
    ("flip", "horizontal"),
    ("grayscale", 0.5),
    ("randaugment", (("layers", 1), ("magnitude", 0.3))),
    ("random_crop", 2),
    ("rotation", 0.1),
    ("translation", 0.1),
    ("zoom", 0.2),
)


def model(augment, channels=3):
    images = x = keras.Input((12, 12, channels))
    for layer in augmentation_layers(augment, channels):
        x = layer(x)
    return keras.Model(images, keras.layers.Dropout(0.3)(x))


def batch(channels=3):
    return np.random.default_rng(0).uniform(0, 255, (16, 12, 12, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_epoch_draws_the_same_however_much_was_drawn_before(channels):
    first, second, images = model(ALL, channels), model(ALL, channels), batch(channels)
    reseed(first, 3, 7)
    expected = [np.asarray(first(images, training=True)) for _ in range(2)]
    for _ in range(3):
        second(images, training=True)
    reseed(second, 3, 7)
    for drawn in expected:
        assert np.array_equal(drawn, np.asarray(second(images, training=True)))
    assert not np.array_equal(expected[0], expected[1])


@pytest.mark.parametrize(("seed", "epoch"), [(3, 8), (4, 7)])
def test_another_seed_or_epoch_draws_otherwise(seed, epoch):
    network, images = model(ALL), batch()
    reseed(network, 3, 7)
    one = np.asarray(network(images, training=True))
    reseed(network, seed, epoch)
    assert not np.array_equal(one, np.asarray(network(images, training=True)))


def test_pictures_keep_their_range_and_mean():
    network = keras.Sequential(augmentation_layers(ALL, 3))
    out = np.asarray(network(batch(), training=True))
    assert out.min() >= -1e-3
    assert out.max() <= 255 + 1e-3
    assert abs(out.mean() - 127) < 25


@pytest.mark.parametrize(("mode", "axis"), [("horizontal", 2), ("vertical", 1)])
def test_flips_turn_about_the_axis_they_are_named_after(mode, axis):
    images = batch(1)
    (layer,) = augmentation_layers((("flip", mode),), 1)
    out = np.asarray(layer(images, training=True))
    flipped = [np.array_equal(a, b) for a, b in zip(out, np.flip(images, axis), strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(out, images, strict=True)]
    assert any(flipped)
    assert all(one or other for one, other in zip(flipped, kept, strict=True))


@pytest.mark.parametrize(("name", "share"), [("grayscale", 0.3), ("erase", 0.3), ("erase", 1.0), ("grayscale", 1.0)])
def test_a_share_of_the_pictures_is_changed_and_the_others_stay(name, share):
    images = np.random.default_rng(0).uniform(0, 255, (400, 12, 12, 3)).astype(np.float32)
    (layer,) = augmentation_layers(((name, share),), 3)
    out = np.asarray(layer(images, training=True))
    changed = (out != images).any(axis=(1, 2, 3))
    assert changed.mean() == pytest.approx(share, abs=0.08)
    if name == "grayscale":
        assert np.allclose(out[changed], out[changed][..., :1])
    else:
        # a rectangle of 2 to 33 % of the area
        assert 0.01 < (out != images).any(axis=-1)[changed].mean() < 0.33


def test_each_picture_is_cut_out_of_a_padded_one_at_a_place_of_its_own():
    images = np.random.default_rng(0).uniform(1, 255, (300, 8, 9, 3)).astype(np.float32)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    (layer,) = augmentation_layers((("random_crop", 2),), 3)
    out = np.asarray(layer(images, training=True))
    places = [(row, column) for row in range(5) for column in range(5)]
    seen = [
        place
        for place in places
        for whole, part in zip(padded, out, strict=True)
        if np.array_equal(whole[place[0] : place[0] + 8, place[1] : place[1] + 9], part)
    ]
    assert len(seen) == len(images)
    assert set(seen) == set(places)


def test_a_grey_picture_is_grey_already():
    assert augmentation_layers((("grayscale", 0.2),), 1) == []


def test_jitter_of_a_grey_picture_knows_no_hue():
    names = [layer.name for layer in augmentation_layers((("color_jitter", 0.2),), 1)]
    assert names == ["augment_jitter_brightness", "augment_jitter_contrast"]


def test_saturation_changes_by_at_most_the_amount():
    amount = 0.2
    (saturation,) = [
        layer for layer in augmentation_layers((("color_jitter", amount),), 3) if layer.name.endswith("saturation")
    ]
    image = np.tile(np.array([0.8, 0.4, 0.4], np.float32), (200, 1, 1, 1))  # saturation 0.5
    out = np.asarray(saturation(image, training=True))
    factors = (1 - out.min(axis=-1) / out.max(axis=-1)) / 0.5
    assert factors.min() == pytest.approx(1 - amount, abs=0.02)
    assert factors.max() == pytest.approx(1 + amount, abs=0.02)


def test_an_amount_of_nothing_adds_no_layer():
    assert augmentation_layers((("rotation", 0.0), ("zoom", 0)), 3) == []
