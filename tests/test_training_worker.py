from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from training_cells import KILLED, architecture, cell, history, job, run_worker, stage

from benchmark import events
from benchmark.files import sha256_of
from benchmark.matrix.cell import EarlyStopping, ReduceLearningRate, Weights
from benchmark.prediction_metrics import log_loss as loss
from benchmark.reporting.predictions.stored_predictions import decode
from benchmark.results.records import PredictionRow
from benchmark.training.programs.prepare import prepare

pytestmark = pytest.mark.tf

# everything that has a memory of its own: dropout, batch normalisation, augmentation, two stages with other layers
# and optimizers, early stopping, learning-rate reduction, a schedule, mixed images
INTRICATE = cell(
    architecture=architecture("advanced_cnn", filters=(4, 8), stage_dropout=(0.2, 0.3), dense_units=8),
    stages=(
        stage(
            train="last:8",
            epochs=3,
            augment=(("contrast", 0.2), ("flip", "horizontal"), ("random_crop", 2), ("rotation", 0.1)),
            reduce_learning_rate=ReduceLearningRate("val_loss", 0.5, 1, 1e-6),
            early_stopping=EarlyStopping("val_accuracy", 2, 0.0),
        ),
        stage(
            train="all",
            epochs=3,
            optimizer="sgd",
            momentum=0.9,
            learning_rate=0.05,
            weight_decay=1e-3,
            schedule=(("kind", "cosine"), ("warmup_epochs", 0.5)),
            mixup=0.2,
            cutmix=1.0,
        ),
    ),
)

# within a stage; every other moment only by `make test-all`
USUAL_KILLS = {(2, "in-epoch")}
KILLS = [
    pytest.param(epoch, place, marks=() if (epoch, place) in USUAL_KILLS else pytest.mark.exhaustive)
    for epoch in range(1, 6)
    for place in ("after-epoch", "in-epoch")
]


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def finished(digits, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished") / "1"
    return run_worker(job(cell(), directory, digits)), directory


@pytest.fixture(scope="session")
def intricate(digits, tmp_path_factory):
    directory = tmp_path_factory.mktemp("intricate") / "1"
    return run_worker(job(INTRICATE, directory, digits)), directory


def test_a_cell_tells_its_whole_life_in_order(finished):
    run, _ = finished
    kinds = [type(event).__name__ for event in run.told if not isinstance(event, events.Progress)]
    assert run.exit_code == 0, run.log
    assert kinds == [
        "Started",
        "ModelBuilt",
        "StageStarted",
        "EpochFinished",
        "EpochFinished",
        "Evaluated",
        "ArtifactWritten",  # weights
        "ArtifactWritten",  # history
        "ArtifactWritten",  # predictions on the test images
        "Predicted",
        "ArtifactWritten",  # and on the validation images
        "Predicted",
        "Completed",
    ]


def test_what_is_told_are_facts(finished):
    run, directory = finished
    built, completed = run.one(events.ModelBuilt), run.one(events.Completed)
    assert (built.train_examples, built.validation_examples, built.test_examples) == (270, 30, 100)
    assert built.parameters == built.trainable_parameters == 2_458
    assert built.compute_dtype == "float32"
    assert built.weights_sha256 is None
    assert run.one(events.Started).threads == 1
    assert completed.epochs == 2
    assert completed.fit_seconds == pytest.approx(sum(epoch.seconds for epoch in run.epochs()))
    assert completed.total_seconds > completed.fit_seconds
    for artifact in run.all(events.ArtifactWritten):
        path = directory / artifact.name
        assert (sha256_of(path), path.stat().st_size) == (artifact.sha256, artifact.size_bytes)


def test_an_epoch_says_where_its_time_went(finished):
    first, second = finished[0].epochs()
    assert first.traced
    assert not second.traced
    for epoch in (first, second):
        parts = epoch.input_seconds + epoch.step_seconds + epoch.validation_seconds
        assert epoch.seconds == pytest.approx(parts)
        assert epoch.images_per_second == pytest.approx(270 / (epoch.input_seconds + epoch.step_seconds))


def test_nothing_but_artifacts_stays_behind(finished):
    _, directory = finished
    files = ["history.json", "predictions.npz", "validation_predictions.npz", "weights.npz"]
    assert sorted(path.name for path in directory.iterdir()) == files
    told = json.loads((directory / "history.json").read_text())
    assert [epoch["epoch"] for epoch in told["epochs"]] == [1, 2]


def test_the_kept_weights_predict_for_the_validation_images_as_accurately_as_their_epoch_did(finished):
    run, directory = finished
    best = run.epochs()[run.one(events.Evaluated).best_epoch - 1]
    with np.load(directory / "validation_predictions.npz") as stored:
        assert (stored["predicted"] == stored["labels"]).mean() == pytest.approx(best.val_accuracy)
        assert len(set(stored["indices"].tolist())) == run.one(events.ModelBuilt).validation_examples


def test_a_fresh_interpreter_and_a_fork_come_to_the_same_bits(finished, digits, tmp_path):
    run, directory = finished
    again = run_worker(job(cell(), tmp_path / "1", digits), fresh=True)
    assert history(again) == history(run)
    assert sha256_of(tmp_path / "1" / "weights.npz") == sha256_of(directory / "weights.npz")


def test_another_seed_comes_to_other_numbers(finished, digits, tmp_path):
    other = run_worker(job(cell(seed=1), tmp_path / "1", digits))
    assert history(other) != history(finished[0])


def test_two_stages_tell_their_own_trainable_layers(intricate):
    run, _ = intricate
    first, second = run.all(events.StageStarted)
    assert run.exit_code == 0, run.log
    assert first.trainable_parameters < second.trainable_parameters == run.one(events.ModelBuilt).trainable_parameters
    assert [epoch.epoch for epoch in run.epochs()] == list(range(1, len(run.epochs()) + 1))
    assert [epoch.stage_epoch for epoch in run.epochs() if epoch.stage == 2] == [1, 2, 3]


def test_a_schedule_moves_the_rate_from_step_to_step_and_an_epoch_tells_what_it_ends_with(intricate, digits, tmp_path):
    # after epochs 1 to 3, of which the first half is the warm-up
    cosine = [0.05 * (1 + np.cos(np.pi * epochs / 2.5)) / 2 for epochs in (0.5, 1.5, 2.5)]
    rates = [epoch.learning_rate for epoch in intricate[0].epochs() if epoch.stage == 2]
    assert rates == pytest.approx(cosine, abs=1e-12)
    falls = {at: (("at", (at,)), ("factor", 1e-9), ("kind", "step")) for at in (0.5, 1.0, 2.0)}
    runs = {
        at: run_worker(job(cell(stages=(stage(optimizer="sgd", schedule=falls[at]),)), tmp_path / str(at), digits))
        for at in falls
    }
    losses = {at: [epoch.val_loss for epoch in run.epochs()] for at, run in runs.items()}
    assert losses[1.0][1] == pytest.approx(losses[1.0][0], rel=1e-6)  # nothing more was learned
    assert losses[0.5][0] != losses[1.0][0] == losses[2.0][0] != losses[2.0][1]
    assert [epoch.learning_rate for epoch in runs[1.0].epochs()] == pytest.approx([1e-12, 1e-12])


@pytest.mark.exhaustive
def test_gathered_gradients_and_the_moments_of_an_optimizer_go_on_to_the_same_bits(digits, tmp_path):
    # five batches in an epoch: two updates of two batches, and one of what is left
    gathering = stage(
        optimizer="nadam", epochs=3, gradient_accumulation=2, clip_norm=1.0, beta_1=0.8, schedule="one_cycle"
    )
    whole = cell(stages=(gathering,))
    clean = run_worker(job(whole, tmp_path / "1", digits))
    assert clean.exit_code == 0, clean.log
    other = replace(whole, stages=(replace(gathering, gradient_accumulation=1),))
    assert history(run_worker(job(other, tmp_path / "2", digits))) != history(clean)
    assert clean.epochs()[-1].learning_rate == pytest.approx(4e-6 * gathering.learning_rate)
    stopped = run_worker(job(whole, tmp_path / "3", digits), faults="stop-in-epoch:2")
    assert stopped.told[-1] == events.Interrupted(1)
    resumed = run_worker(job(whole, tmp_path / "4", digits, earlier_directories=(str(tmp_path / "3"),)))
    assert resumed.one(events.Resumed).epoch == 1
    assert history(resumed) == history(clean)
    assert sha256_of(tmp_path / "4" / "weights.npz") == sha256_of(tmp_path / "1" / "weights.npz")


@pytest.mark.parametrize(("epoch", "place"), KILLS)
def test_a_killed_cell_goes_on_to_the_same_bits(place, epoch, intricate, digits, tmp_path):
    clean, clean_directory = intricate
    dying = run_worker(job(INTRICATE, tmp_path / "1", digits), faults=f"kill-{place}:{epoch}")
    assert dying.exit_code == KILLED, dying.log
    second = job(INTRICATE, tmp_path / "2", digits, earlier_directories=(str(tmp_path / "1"),))
    resumed = run_worker(second)
    assert resumed.exit_code == 0, resumed.log
    assert history(resumed) == history(clean)
    assert sha256_of(tmp_path / "2" / "weights.npz") == sha256_of(clean_directory / "weights.npz")
    for kind in (events.Evaluated, events.ModelBuilt):
        assert _without_seconds(resumed.one(kind)) == _without_seconds(clean.one(kind))
    # what the dead attempt told is what the next one tells again
    told = history(dying)
    assert history(resumed)[: len(told)] == told
    assert not list((tmp_path / "1").iterdir())


def _without_seconds(event):
    return replace(event, **{name: 0.0 for name in ("seconds", "setup_seconds") if hasattr(event, name)})


@pytest.mark.parametrize(
    "faults",
    [
        "stop-in-epoch:4",
        pytest.param("stop-after-epoch:3", marks=pytest.mark.exhaustive),
        pytest.param("stop-in-epoch:4,no-writes", marks=pytest.mark.exhaustive),
    ],
)
def test_sigterm_saves_the_last_whole_epoch(faults, intricate, digits, tmp_path):
    clean, clean_directory = intricate
    stopped = run_worker(job(INTRICATE, tmp_path / "1", digits), faults=faults)
    assert stopped.exit_code == 0, stopped.log
    assert stopped.told[-1] == events.Interrupted(3)
    second = job(INTRICATE, tmp_path / "2", digits, earlier_directories=(str(tmp_path / "1"),))
    resumed = run_worker(second)
    assert resumed.one(events.Resumed).epoch == 3
    assert [epoch.replayed for epoch in resumed.epochs()][:4] == [True, True, True, False]
    assert history(resumed) == history(clean)
    assert sha256_of(tmp_path / "2" / "weights.npz") == sha256_of(clean_directory / "weights.npz")


def test_sigterm_before_the_first_epoch_ends_leaves_nothing_to_resume(digits, tmp_path):
    stopped = run_worker(job(cell(), tmp_path / "1", digits), faults="stop-in-epoch:1")
    assert (stopped.exit_code, stopped.told[-1]) == (0, events.Interrupted(0))
    resumed = run_worker(job(cell(), tmp_path / "2", digits, earlier_directories=(str(tmp_path / "1"),)))
    assert not resumed.all(events.Resumed)
    assert resumed.one(events.Completed).epochs == 2


def test_a_state_of_another_cell_or_a_damaged_one_is_ignored_and_said(finished, digits, tmp_path):
    run_worker(job(cell(cell_id="f" * 20), tmp_path / "1", digits), faults="stop-after-epoch:1")
    run_worker(job(cell(), tmp_path / "2", digits), faults="stop-after-epoch:1")
    path = tmp_path / "2" / "state.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    earlier = (str(tmp_path / "2"), str(tmp_path / "1"))
    run = run_worker(job(cell(), tmp_path / "3", digits, earlier_directories=earlier))
    damaged, foreign = run.all(events.CheckpointFailed)
    assert "damaged" in damaged.reason
    assert "belongs to cell " + "f" * 20 in foreign.reason
    assert not run.all(events.Resumed)
    assert history(run) == history(finished[0])


def test_a_nan_loss_is_told_with_its_epoch_and_ends_the_cell_as_diverged(digits, tmp_path):
    # five batches of 64 in an epoch of 270 images
    run = run_worker(job(cell(), tmp_path / "1", digits), faults="nan-loss:8")
    last = run.epochs()[-1]
    assert run.exit_code == 0
    assert run.told[-1] == events.Diverged(epoch=2, batch=3)
    assert (last.epoch, last.improved) == (2, False)
    assert np.isnan(last.train_loss)
    assert not run.all(events.Completed)


def test_weights_go_to_a_child_and_its_classes_get_a_new_last_layer(finished, digits, tmp_path):
    run, directory = finished
    digest = next(event.sha256 for event in run.all(events.ArtifactWritten) if event.kind == "weights")
    high = replace(cell().data, classes=(5, 6, 7, 8, 9), num_classes=5, train_examples=50, test_examples=50)
    child = cell(data=high, weights=Weights("parent", None, cell().cell_id), stages=(stage(train="head", epochs=1),))
    done = run_worker(
        job(
            child,
            tmp_path / "1",
            digits,
            parent_weights=str(directory / "weights.npz"),
            parent_weights_sha256=digest,
        )
    )
    assert done.exit_code == 0, done.told
    assert done.one(events.ModelBuilt).weights_sha256 == digest
    before, after = (np.load(place / "weights.npz") for place in (directory, tmp_path / "1"))
    assert np.array_equal(before["conv1/kernel"], after["conv1/kernel"])
    assert not np.array_equal(before["dense/kernel"], after["dense/kernel"])
    assert after["predictions/kernel"].shape == (16, 5)


def test_changed_parent_weights_are_a_data_error(finished, digits, tmp_path):
    _, directory = finished
    child = cell(weights=Weights("parent", None, cell().cell_id))
    wrong = job(
        child,
        tmp_path / "1",
        digits,
        parent_weights=str(directory / "weights.npz"),
        parent_weights_sha256="0" * 64,
    )
    failed = run_worker(wrong)
    assert failed.exit_code == 1
    assert failed.told[-1].cause == "data_error"
    assert "expected sha256 0000" in failed.told[-1].message


def test_a_missing_dataset_is_a_data_error_that_names_bench_prepare(tmp_path):
    failed = run_worker(job(cell(), tmp_path / "1", tmp_path / "nowhere"))
    assert failed.told[-1].cause == "data_error"
    assert "bench prepare" in failed.told[-1].message
    assert failed.told[-1].traceback


@pytest.mark.parametrize("precision", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.exhaustive)])
def test_precision_is_observed_on_the_model(precision, digits, tmp_path):
    low = cell(precision=precision, data=replace(cell().data, train_examples=100))
    run = run_worker(job(low, tmp_path / "1", digits), faults="kill-after-epoch:1")
    run = run_worker(job(low, tmp_path / "2", digits, earlier_directories=(str(tmp_path / "1"),)))
    assert run.one(events.ModelBuilt).compute_dtype == precision.removeprefix("mixed_")
    assert run.one(events.Completed).epochs == 2


def test_smoothing_is_for_training_and_losses_told_of_other_data_are_plain_cross_entropy(digits, tmp_path):
    # with so much smoothing a smoothed loss could not fall below 2.2, whatever the predictions
    smooth = cell(data=replace(cell().data, train_examples=None), stages=(stage(label_smoothing=0.8, epochs=6),))
    run = run_worker(job(smooth, tmp_path / "1", digits))
    last = run.epochs()[-1]
    assert last.train_loss > 2.2 > last.val_loss
    assert run.one(events.Evaluated).test_loss < 2.2


def test_labels_as_vectors_train_too(digits, tmp_path):
    run = run_worker(job(cell(labels="one_hot"), tmp_path / "1", digits))
    assert run.one(events.Completed).epochs == 2


def test_without_validation_the_last_epoch_is_kept(digits, tmp_path):
    blind = cell(data=replace(cell().data, validation_fraction=0.0), keep="last")
    run = run_worker(job(blind, tmp_path / "1", digits))
    assert [(epoch.val_accuracy, epoch.val_loss) for epoch in run.epochs()] == [(None, None)] * 2
    assert run.one(events.Evaluated).best_epoch == 2


_QUIET_IMPORT = """
import threading, os, sys
import tensorflow, keras
before = len(os.listdir("/proc/self/task"))
from benchmark.training import worker
from tensorflow.python.eager import context
assert len(os.listdir("/proc/self/task")) == before, "a thread was started"
assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
assert context.context()._context_handle is None, "an operation ran or a device was asked for"
opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
assert not [path for path in opened if "nvidia" in path or path.endswith(".sqlite")], opened
assert not {"sqlalchemy", "sqlite3", "tensorflow_datasets"} & sys.modules.keys()
"""


@pytest.mark.exhaustive  # that a template which has imported it is fit to be forked: test_scheduling_fork_safety.py
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_importing_the_worker_runs_nothing():
    done = subprocess.run(
        [sys.executable, "-c", _QUIET_IMPORT],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_worker_cannot_reach_the_network(digits, tmp_path):
    failed = run_worker(job(cell(), tmp_path / "1", digits), faults="ask-network")
    assert failed.told[-1].cause == "data_error"
    assert "downloads are made by `bench prepare` only" in failed.told[-1].message


def predictions_of(run, directory):
    told = run.all(events.Predicted)[0]
    content = (directory / told.name).read_bytes()
    return decode(PredictionRow(told.examples, told.class_names, sha256(content).hexdigest(), content))


def test_predictions_come_to_the_scores_that_were_told(finished, digits):
    run, directory = finished
    found, told = predictions_of(run, directory), run.one(events.Evaluated)
    assert found.class_names == tuple("0123456789")
    assert (found.predicted == found.labels).mean() == told.test_accuracy
    assert loss(found.probabilities, found.labels) == pytest.approx(told.test_loss, rel=1e-3)
    # the indices lead back to the images
    assert np.array_equal(np.load(digits / "test_labels.npy")[found.indices], found.labels)
    assert found.tta_probabilities is None
    assert told.tta_accuracy is None


@pytest.fixture(scope="session")
def rich(digits, tmp_path_factory):
    """The same cell, averaged over views, and saved in every form."""
    directory = tmp_path_factory.mktemp("rich") / "1"
    return run_worker(job(cell(tta=2, save=("model", "h5", "architecture")), directory, digits)), directory


def test_views_and_saved_models_change_nothing_of_the_training(rich, finished):
    assert rich[0].exit_code == 0, rich[0].log
    assert history(rich[0]) == history(finished[0])
    assert sha256_of(rich[1] / "weights.npz") == sha256_of(finished[1] / "weights.npz")
    plain, told = finished[0].one(events.Evaluated), rich[0].one(events.Evaluated)
    assert (told.test_accuracy, told.test_loss) == (plain.test_accuracy, plain.test_loss)


def test_test_time_augmentation_is_told_beside_the_plain_scores(rich):
    run, directory = rich
    found, told = predictions_of(run, directory), run.one(events.Evaluated)
    assert (found.tta_predicted == found.labels).mean() == told.tta_accuracy
    assert loss(found.tta_probabilities, found.labels) == pytest.approx(told.tta_loss, rel=1e-3)
    assert not np.array_equal(found.tta_probabilities, found.probabilities)


def test_the_same_cell_draws_the_same_views_again(rich, digits, tmp_path):
    again = run_worker(job(cell(tta=2), tmp_path / "1", digits))
    assert _without_seconds(again.one(events.Evaluated)) == _without_seconds(rich[0].one(events.Evaluated))
    assert sha256_of(tmp_path / "1" / "predictions.npz") == sha256_of(rich[1] / "predictions.npz")


@pytest.mark.exhaustive
def test_saved_files_are_artifacts_and_load_to_the_same_predictions(rich, digits):
    run, directory = rich
    files = {artifact.kind: artifact.name for artifact in run.all(events.ArtifactWritten)}
    assert files == {
        "weights": "weights.npz",
        "history": "history.json",
        "predictions": "predictions.npz",
        "validation_predictions": "validation_predictions.npz",
        "model": "model.keras",
        "h5": "model.weights.h5",
        "architecture": "architecture.json",
    }
    # by a user's own program, who has nothing but Keras
    code = """
import sys, json, keras, numpy as np
folder, images = sys.argv[1], np.load(sys.argv[2]).astype("float32")
whole = keras.saving.load_model(f"{folder}/model.keras")
assert getattr(whole, "optimizer", None) is None
rebuilt = keras.models.model_from_json(open(f"{folder}/architecture.json").read())
rebuilt.load_weights(f"{folder}/model.weights.h5")
print(json.dumps([model.predict(images, verbose=0).tolist() for model in (whole, rebuilt)]))
"""
    found = predictions_of(run, directory)
    images = directory / "images.npy"
    np.save(images, np.load(digits / "test_images.npy")[found.indices])
    command = [sys.executable, "-c", code, directory, images]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    images.unlink()
    for probabilities in json.loads(done.stdout.splitlines()[-1]):
        assert np.allclose(probabilities, found.probabilities, atol=1e-3)
