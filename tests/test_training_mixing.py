"""mixup and CutMix against the formulas of their papers, number by number."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from training_cells import DIGITS, architecture, cell, stage

from benchmark.training.augmenting.mixing import MixedPairs, draw_mix, mixed_batch, mixed_labels
from benchmark.training.losses import build_loss, is_one_hot
from benchmark.training.networks.network import build_network
from benchmark.training.stages import build_optimizer, training_model
from benchmark.training.steps.dispatch import compiled_steps

pytestmark = pytest.mark.tf

MIXUP, CUTMIX = stage(mixup=0.2), stage(cutmix=1.0)
BOTH = stage(mixup=0.2, cutmix=1.0)


def draws(spec, count=400, size=(12, 20)):
    return [draw_mix(spec, 6, *size, (0, 1, batch)) for batch in range(count)]


def test_what_is_drawn_follows_from_seed_epoch_and_batch():
    first = draw_mix(BOTH, 64, 8, 8, (3, 7, 2))
    again = draw_mix(BOTH, 64, 8, 8, (3, 7, 2))
    assert np.array_equal(first.partners, again.partners)
    assert np.array_equal(first.own, again.own)
    assert first.share == again.share
    for other in ((4, 7, 2), (3, 8, 2), (3, 7, 3)):
        assert not np.array_equal(first.partners, draw_mix(BOTH, 64, 8, 8, other).partners)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_of_mixup_have_the_distribution_of_the_paper(alpha):
    shares = np.array([mix.share for mix in draws(stage(mixup=alpha), 1500)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.015)


def test_mixup_is_a_weighted_mean_of_images_and_of_labels():
    random = np.random.default_rng(0)
    images, labels = random.uniform(0, 255, (6, 12, 20, 3)).astype(np.float32), np.eye(10, dtype=np.float32)[:6]
    for mix in draws(MIXUP, 5):
        out = keras.ops.convert_to_numpy(MixedPairs()(images, mix.partners, mix.own))
        share = mix.share
        assert np.allclose(out, share * images + (1 - share) * images[mix.partners], atol=1e-3)
        assert np.allclose(mixed_labels(labels, mix), share * labels + (1 - share) * labels[mix.partners], atol=1e-6)
        assert sorted(mix.partners) == list(range(6))


def test_cutmix_pastes_a_rectangle_and_its_label_follows_the_area():
    images = np.random.default_rng(0).uniform(0, 255, (6, 12, 20, 3)).astype(np.float32)
    whole = 0
    for mix in draws(CUTMIX):
        pasted = mix.own[0, :, :, 0] == 0
        rows, columns = pasted.any(axis=1), pasted.any(axis=0)
        assert pasted.sum() == rows.sum() * columns.sum(), "a rectangle"
        assert mix.share == pytest.approx(1 - pasted.sum() / (12 * 20))
        touches = rows[[0, -1]].any() or columns[[0, -1]].any()
        if pasted.any() and not touches:
            whole += 1
            assert rows.sum() / 12 == pytest.approx(columns.sum() / 20, abs=0.2), "of the image's proportions"
        out = keras.ops.convert_to_numpy(MixedPairs()(images, mix.partners, mix.own))
        assert np.array_equal(out, np.where(pasted[None, ..., None], images[mix.partners], images))
    assert whole > 20


def test_cutmix_cuts_what_the_program_of_its_paper_cuts():
    for batch in range(50):
        mix = draw_mix(CUTMIX, 6, 32, 32, (0, 1, batch))
        random = np.random.default_rng([0, 6, 1, batch])
        share = random.beta(1.0, 1.0)
        random.permutation(6)
        side = int(32 * np.sqrt(1 - share))
        expected = np.ones((32, 32))
        y, x = random.integers(32), random.integers(32)
        top, bottom, left, right = np.clip([y - side // 2, y + side // 2, x - side // 2, x + side // 2], 0, 32)
        expected[top:bottom, left:right] = 0
        assert np.array_equal(mix.own[0, :, :, 0], expected)


def test_of_both_each_batch_has_one():
    cuts = np.array([set(np.unique(mix.own)) <= {0.0, 1.0} for mix in draws(BOTH)])
    assert cuts.mean() == pytest.approx(0.5, abs=0.08)


def test_a_stage_that_does_not_mix_gets_what_it_is_given():
    images, labels = np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2)
    given = mixed_batch(stage(), images, labels, (0, 1, 1))
    assert given[0] is images
    assert given[1] is labels


def test_labels_are_vectors_in_all_stages_where_one_of_them_mixes():
    assert is_one_hot(cell(stages=(stage(), MIXUP)))
    assert is_one_hot(cell(stages=(CUTMIX, stage())))


@pytest.mark.parametrize("spec", [MIXUP, CUTMIX, replace(MIXUP, label_smoothing=0.1)])
def test_a_step_on_mixed_images_is_that_on_images_mixed_before(spec):
    def made(one):
        keras.utils.set_random_seed(0)
        network = build_network(architecture("basic_cnn", filters=(4,), dense_units=8, dropout=0.0), DIGITS)
        model = training_model(network, one)
        given = "uint8" if one is spec else "float32"
        optimizer, loss = build_optimizer(one, "float32"), build_loss(one, one_hot=True)
        return compiled_steps(model, network.core, optimizer, loss, one_hot=True, given=given), network

    random = np.random.default_rng(0)
    ours, network = made(spec)
    theirs, other = made(replace(spec, mixup=0.0, cutmix=0.0))
    for batch, size in enumerate((8, 8, 3)):
        images = random.integers(0, 256, (size, 16, 16, 1), dtype=np.uint8)
        labels = np.eye(10, dtype=np.float32)[random.integers(0, 10, size)]
        (_, partners, own), mixed = mixed_batch(spec, images, labels, (0, 1, batch))
        before = own * images + (1 - own) * images[partners]
        one = ours.train((images, partners, own), mixed)
        two = theirs.train(before.astype(np.float32), mixed)
        assert float(one.loss) == pytest.approx(float(two.loss), rel=1e-5)
        assert int(one.correct) == int(two.correct)
    for a, b in zip(network.core.weights, other.core.weights, strict=True):
        assert np.allclose(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), atol=1e-5)
