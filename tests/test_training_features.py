from __future__ import annotations

import os
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from training_cells import DIGITS, KILLED, architecture, cell, history, job, run_worker, stage

from benchmark import events
from benchmark.files import sha256_of
from benchmark.matrix.cell import Weights
from benchmark.training.features.feature_store import FeatureUse
from benchmark.training.features.frozen_features import find_cut
from benchmark.training.networks.network import build_network
from benchmark.training.programs.prepare import prepare
from benchmark.training.stages import set_trainable
from benchmark.training.steps.dispatch import compiled_forward

pytestmark = pytest.mark.tf

RGB = replace(DIGITS, image_size=32, color="rgb", train_examples=60, test_examples=20)
SMALL_RESNET = architecture("resnet18", filters=(4, 4, 8, 8))
PARENT = cell(stages=(stage(epochs=1),))


def network(built, train, data=RGB):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    made = build_network(built, data)
    set_trainable(made, train)
    return made


@pytest.mark.parametrize(
    ("built", "train", "layer"),
    [
        (architecture("vgg16"), "head", "dropout"),  # at a rate of 0 it draws nothing
        (architecture("vgg16", dropout=0.5), "head", "pool"),
        (architecture("vgg16"), "last:4", "block4_pool"),
        (SMALL_RESNET, "head", "dropout"),
        # the last place where one tensor is all that goes on, not the middle of a block with its shortcut
        (SMALL_RESNET, "last:4", "stage4_block1_relu2"),
        (architecture("simple_cnn"), "head", "flatten"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_network_is_cut_at_the_last_tensor_that_stands_still(built, train, layer):
    found = find_cut(network(built, train))
    assert found
    assert found.layer == layer


@pytest.mark.parametrize(
    ("built", "train"),
    [
        (SMALL_RESNET, "all"),
        (architecture("vgg16"), "last:18"),
        (architecture("advanced_cnn", filters=(4, 8), stage_dropout=(0.2, 0.3)), "head"),
    ],
    ids=["nothing frozen", "all of the backbone", "dropout among the frozen layers"],
)
def test_where_nothing_stands_still_there_is_no_cut(built, train):
    assert find_cut(network(built, train)) is None


@pytest.mark.parametrize("train", ["head", "last:4"])
def test_the_two_parts_are_the_network(train):
    made = network(SMALL_RESNET, train)
    found = find_cut(made)
    assert found
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    features = compiled_forward(found.frozen)(images)
    whole = keras.ops.convert_to_numpy(made.core(images.astype(np.float32), training=False))
    assert keras.ops.convert_to_numpy(found.rest(features, training=False)) == pytest.approx(whole, abs=1e-6)
    # the optimizer's state belongs to the same variables in the same order, whichever way a stage is trained
    paths = [variable.path for variable in found.rest.trainable_variables]
    assert paths == [variable.path for variable in made.core.trainable_variables]


def test_uses_of_several_stages_add_up():
    reused, computed = FeatureUse("reused", 1.0, 5.0), FeatureUse("computed", 2.0, 2.0)
    assert FeatureUse().plus(reused) == reused
    assert reused.plus(computed).plus(FeatureUse()) == FeatureUse("computed", 3.0, 7.0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def rgb_digits(tmp_path_factory):
    return prepare("digits", 32, "rgb", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def parent(digits, tmp_path_factory):
    """A cell whose weights others start from, and so share: its weights file and their digest."""
    directory = tmp_path_factory.mktemp("parent") / "1"
    run = run_worker(job(PARENT, directory, digits))
    assert run.exit_code == 0, run.log
    path = directory / "weights.npz"
    return path, sha256_of(path)


def child(**changes):
    usual = cell(
        architecture=PARENT.architecture,
        weights=Weights("parent", None, PARENT.cell_id),
        stages=(stage(train="head", epochs=4),),
    )
    return replace(usual, **changes)


def child_job(of, directory, digits, parent, **changes):
    path, digest = parent
    return job(of, directory, digits, parent_weights=str(path), parent_weights_sha256=digest, **changes)


def begun(run):
    assert run.exit_code == 0, run.log
    return run.all(events.StageStarted)[-1]


def entries(cache):
    return sorted(path.parent.name for path in (cache / "features").glob("[!.]*/features.npy"))


def test_a_stage_on_features_comes_to_the_numbers_of_the_whole_network(undisturbed, digits, parent, tmp_path):
    on_features, directory, cache = undisturbed
    plain = child(reuse_features=False)
    whole = run_worker(child_job(plain, tmp_path / "1", digits, parent), BENCH_CACHE=str(cache))
    assert begun(whole).features == "none"
    for ours, theirs in zip(on_features.epochs(), whole.epochs(), strict=True):
        for name in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-4), name
    ours, theirs = on_features.one(events.Evaluated), whole.one(events.Evaluated)
    assert (ours.test_loss, ours.test_accuracy) == pytest.approx((theirs.test_loss, theirs.test_accuracy), rel=1e-4)
    predicted = [np.load(place / "predictions.npz") for place in (directory, tmp_path / "1")]
    for name in ("indices", "labels", "predicted"):
        assert np.array_equal(predicted[0][name], predicted[1][name])


@pytest.fixture(scope="module")
def repeated(undisturbed, digits, parent, tmp_path_factory):
    """The same cell once more, on the features that are there."""
    directory = tmp_path_factory.mktemp("repeated") / "1"
    return run_worker(child_job(child(), directory, digits, parent), BENCH_CACHE=str(undisturbed[2])), directory


def test_computed_and_reused_features_come_to_the_same_bits(undisturbed, repeated):
    assert begun(repeated[0]).features == "reused"
    assert history(repeated[0]) == history(undisturbed[0])
    assert sha256_of(repeated[1] / "weights.npz") == sha256_of(undisturbed[1] / "weights.npz")


def test_the_timings_say_what_was_spent_and_what_was_saved(undisturbed, repeated):
    first, second = undisturbed[0], repeated[0]
    computed, reused = begun(first), begun(second)
    assert computed.features_alone_seconds == computed.features_seconds > reused.features_seconds > 0
    assert reused.features_alone_seconds > 0.5 * computed.features_seconds
    for run, told in ((first, computed), (second, reused)):
        epochs = sum(epoch.seconds for epoch in run.epochs())
        assert run.one(events.Completed).fit_seconds == pytest.approx(epochs + told.features_seconds)


@pytest.mark.parametrize(
    ("changes", "features"),
    [
        pytest.param(
            {"stages": (stage(train="head", epochs=3, batch_size=32, learning_rate=0.01),)},
            "reused",
            marks=pytest.mark.exhaustive,
        ),
        ({"data": replace(PARENT.data, validation_fraction=0.3)}, "reused"),
        ({"data": replace(PARENT.data, train_examples=None, test_examples=None), "seed": 1}, "computed"),
        ({"stages": (stage(train="last:2", epochs=2),)}, "computed"),
        pytest.param({"threads": 2}, "computed", marks=pytest.mark.exhaustive),
        pytest.param({"precision": "mixed_bfloat16"}, "computed", marks=pytest.mark.exhaustive),
        ({"stages": (stage(train="head", epochs=2, augment=(("flip", "horizontal"),)),)}, "none"),
        pytest.param({"stages": (stage(train="head", epochs=2, mixup=0.2),)}, "none", marks=pytest.mark.exhaustive),
        pytest.param({"stages": (stage(train="head", epochs=1),)}, "none", marks=pytest.mark.exhaustive),
        pytest.param({"stages": (stage(train="all", epochs=2),)}, "none", marks=pytest.mark.exhaustive),
    ],
    ids=[
        "batch and rate",
        "split",
        "examples",
        "cut",
        "threads",
        "precision",
        "augmented",
        "mixed",
        "one epoch",
        "all",
    ],
)
def test_features_are_shared_by_cells_that_differ_in_nothing_that_decides_them(
    changes, features, digits, parent, tmp_path, undisturbed
):
    cache = str(undisturbed[2])
    run = run_worker(child_job(child(**changes), tmp_path / "1", digits, parent), BENCH_CACHE=cache)
    assert begun(run).features == features


@pytest.fixture(scope="module")
def undisturbed(digits, parent, tmp_path_factory):
    """A cell on features that was left alone, its folder, and the cache that it filled."""
    place = tmp_path_factory.mktemp("undisturbed")
    run = run_worker(child_job(child(), place / "1", digits, parent), BENCH_CACHE=str(place / "cache"))
    assert begun(run).features == "computed"
    return run, place / "1", place / "cache"


def test_seeds_share_the_features_of_all_examples(digits, parent, tmp_path):
    whole = replace(PARENT.data, train_examples=None)
    found = [
        begun(
            run_worker(
                child_job(child(data=whole, seed=seed), tmp_path / str(seed), digits, parent),
                BENCH_CACHE=str(tmp_path / "cache"),
            )
        ).features
        for seed in (0, 1)
    ]
    assert found == ["computed", "reused"]


@pytest.mark.parametrize(
    ("faults", "evicted"),
    [
        pytest.param("kill-in-epoch:1", False, marks=pytest.mark.exhaustive),
        pytest.param("kill-after-epoch:2", False, marks=pytest.mark.exhaustive),
        ("kill-in-epoch:4", True),
        pytest.param("stop-after-epoch:4", True, marks=pytest.mark.exhaustive),
    ],
)
def test_a_killed_stage_on_features_goes_on_to_the_same_bits(faults, evicted, undisturbed, digits, parent, tmp_path):
    clean, directory, _ = undisturbed
    cache = tmp_path / "cache"
    dying = run_worker(child_job(child(), tmp_path / "1", digits, parent), faults=faults, BENCH_CACHE=str(cache))
    assert dying.exit_code == (KILLED if faults.startswith("kill") else 0)
    if evicted:
        shutil.rmtree(cache)
    second = child_job(child(), tmp_path / "2", digits, parent, earlier_directories=(str(tmp_path / "1"),))
    resumed = run_worker(second, BENCH_CACHE=str(cache))
    assert resumed.exit_code == 0, resumed.log
    assert history(resumed) == history(clean)
    for name in ("weights.npz", "predictions.npz"):
        assert sha256_of(tmp_path / "2" / name) == sha256_of(directory / name)


def test_what_a_resumed_cell_spent_on_features_is_counted_over_its_attempts(digits, parent, tmp_path):
    cache = str(tmp_path / "cache")
    first = child_job(child(), tmp_path / "1", digits, parent)
    dying = run_worker(first, faults="stop-after-epoch:2", BENCH_CACHE=cache)
    second = child_job(child(), tmp_path / "2", digits, parent, earlier_directories=(str(tmp_path / "1"),))
    before, after = begun(dying), begun(run_worker(second, BENCH_CACHE=cache))
    assert after.features == "computed"
    assert after.features_seconds > before.features_seconds
    assert after.features_alone_seconds == pytest.approx(after.features_seconds)


def test_a_cell_killed_while_it_computes_leaves_nothing_that_another_would_take(digits, parent, tmp_path):
    cache = tmp_path / "cache"
    fault = {"BENCH_TESTING": "1", "BENCH_FAULT": "features:2:kill9"}
    dying = run_worker(child_job(child(), tmp_path / "1", digits, parent), BENCH_CACHE=str(cache), **fault)
    assert dying.exit_code == KILLED
    assert entries(cache) == []
    run = run_worker(child_job(child(), tmp_path / "2", digits, parent), BENCH_CACHE=str(cache))
    assert begun(run).features == "computed"
    assert len(entries(cache)) == 2
    assert not list((cache / "features").glob("*.partial"))


def test_sigterm_is_obeyed_while_features_are_computed(digits, parent, tmp_path):
    # the first five pieces are computed before the first batch of the first epoch
    run = run_worker(
        child_job(child(), tmp_path / "1", digits, parent),
        faults="stop-at-piece:2",
        BENCH_CACHE=str(tmp_path / "cache"),
    )
    assert (run.exit_code, run.told[-1]) == (0, events.Interrupted(0))
    assert not run.all(events.StageStarted)
    assert entries(tmp_path / "cache") == []


@pytest.mark.parametrize(
    "trouble",
    [
        {"BENCH_FEATURES_GIB": "0"},
        pytest.param({"BENCH_FEATURES_GIB": "0.00001"}, marks=pytest.mark.exhaustive),
        {"BENCH_TESTING": "1", "BENCH_FAULT": "features:2:enospc"},
    ],
    ids=["switched off", "no room", "disk full"],
)
def test_a_stage_whose_features_cannot_be_kept_trains_the_normal_way(trouble, digits, parent, tmp_path):
    cache = tmp_path / "cache"
    run = run_worker(child_job(child(), tmp_path / "1", digits, parent), BENCH_CACHE=str(cache), **trouble)
    assert begun(run).features == "none"
    assert run.one(events.Completed).epochs == 4
    assert entries(cache) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_may_not_be_written_is_done_without(digits, parent, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o500)
    run = run_worker(child_job(child(), tmp_path / "1", digits, parent), BENCH_CACHE=str(cache))
    assert begun(run).features == "none"


def test_two_phases_compute_for_the_first_and_train_the_second_on_images(digits, parent, tmp_path):
    phases = child(stages=(stage(train="head", epochs=2), stage(train="all", epochs=2)))
    cache = tmp_path / "cache"
    run = run_worker(child_job(phases, tmp_path / "1", digits, parent), BENCH_CACHE=str(cache))
    assert [told.features for told in run.all(events.StageStarted)] == ["computed", "computed"]
    assert len(entries(cache)) == 1, "the test set is evaluated by the second stage, on images"
    resumed = run_worker(
        child_job(phases, tmp_path / "3", digits, parent, earlier_directories=(str(tmp_path / "2"),)),
        BENCH_CACHE=str(cache),
    )
    assert history(resumed) == history(run)


def test_kept_weights_of_an_earlier_stage_are_tested_with_their_own_frozen_layers(digits, parent, tmp_path):
    # the first stage spoils nothing, the second one everything: the kept weights are those of the first
    phases = (stage(train="all", epochs=1), stage(train="head", epochs=2, learning_rate=10.0))
    runs = [
        run_worker(
            child_job(child(stages=phases, reuse_features=reuse), tmp_path / str(reuse), digits, parent),
            BENCH_CACHE=str(tmp_path / "cache"),
        )
        for reuse in (True, False)
    ]
    assert [begun(run).features for run in runs] == ["computed", "none"]
    ours, theirs = (run.one(events.Evaluated) for run in runs)
    assert ours.best_epoch == theirs.best_epoch == 1
    assert (ours.test_accuracy, ours.test_loss) == pytest.approx((theirs.test_accuracy, theirs.test_loss), rel=1e-4)


def test_views_of_test_images_go_through_the_whole_network(digits, parent, tmp_path):
    looking = child(tta=2)
    run = run_worker(child_job(looking, tmp_path / "1", digits, parent), BENCH_CACHE=str(tmp_path / "cache"))
    whole = run_worker(child_job(replace(looking, reuse_features=False), tmp_path / "2", digits, parent))
    assert begun(run).features == "computed"
    assert run.one(events.Evaluated).tta_loss == pytest.approx(whole.one(events.Evaluated).tta_loss, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("built", "train", "precision"),
    [
        pytest.param(architecture("vgg16"), "head", "float32", marks=pytest.mark.exhaustive),
        pytest.param(architecture("vgg16", dropout=0.3), "last:4", "mixed_bfloat16", marks=pytest.mark.exhaustive),
        pytest.param(architecture("resnet50"), "head", "float32", marks=pytest.mark.exhaustive),
        (SMALL_RESNET, "last:4", "float32"),
    ],
    ids=["vgg16 head", "vgg16 partly frozen in bfloat16", "resnet50 head", "resnet18 partly frozen"],
)
def test_frozen_backbones_come_to_the_same_losses(built, train, precision, rgb_digits, tmp_path):
    usual = cell(
        architecture=built, data=RGB, precision=precision, stages=(stage(train=train, epochs=3, batch_size=16),)
    )
    runs = [
        run_worker(
            job(replace(usual, reuse_features=reuse), tmp_path / str(reuse), rgb_digits), BENCH_CACHE=str(tmp_path)
        )
        for reuse in (True, False)
    ]
    assert [begun(run).features for run in runs] == ["computed", "none"]
    near = 1e-4 if precision == "float32" else 2e-2
    for ours, theirs in zip(runs[0].epochs(), runs[1].epochs(), strict=True):
        assert (ours.train_loss, ours.val_loss) == pytest.approx((theirs.train_loss, theirs.val_loss), rel=near)
