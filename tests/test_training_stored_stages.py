from __future__ import annotations

from dataclasses import replace

import pytest
from training_cells import KILLED, architecture, cell, history, job, run_worker, stage

from benchmark import events
from benchmark.files import sha256_of
from benchmark.matrix.cell import EarlyStopping, ReduceLearningRate, Weights
from benchmark.matrix.planning.stage_keys import common_stages, stage_key
from benchmark.training.programs.prepare import prepare

pytestmark = pytest.mark.tf

# everything that has a memory of its own: dropout, batch normalisation, augmentation, early stopping, learning-rate
# reduction, and a momentum that the second stage must not inherit
SHARED = stage(
    train="last:8",
    epochs=4,
    augment=(("flip", "horizontal"), ("rotation", 0.1), ("contrast", 0.2)),
    reduce_learning_rate=ReduceLearningRate("val_loss", 0.5, 1, 1e-6),
    early_stopping=EarlyStopping("val_accuracy", 2, 0.0),
)
FIRST = cell(
    architecture=architecture("advanced_cnn", filters=(4, 8), stage_dropout=(0.2, 0.3), dense_units=8),
    stages=(SHARED, stage(train="all", epochs=1)),
)
# so coarse that no epoch of its second stage is as good as those that it shares
SPOILT = replace(
    FIRST,
    cell_id="1" * 20,
    stages=(SHARED, stage(train="all", epochs=2, optimizer="sgd", momentum=0.9, learning_rate=1.0)),
)
WHOLE = replace(FIRST, cell_id="3" * 20, stages=(SHARED,), tta=1)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return prepare("digits", 16, "grey", tmp_path_factory.mktemp("cache"))


def sharing_job(of, directory, digits, stages, **changes):
    folder = str(stages / stage_key(of, 1))
    return job(of, directory, digits, shared_stages={"1": folder}, **changes)


@pytest.fixture(scope="module")
def stages(digits, tmp_path_factory):
    """The folder in which a cell that trains has left the end of its first stage."""
    place = tmp_path_factory.mktemp("first")
    run = run_worker(sharing_job(FIRST, place / "1", digits, place / "stages", stored_stages=(1,)))
    assert run.exit_code == 0, run.log
    assert run.one(events.StageStored) == events.StageStored(1, stored=True)
    return place / "stages"


@pytest.fixture(scope="module")
def alone(digits, tmp_path_factory):
    """What cells come to that train everything themselves."""
    runs = {}
    for one in (SPOILT, WHOLE):
        directory = tmp_path_factory.mktemp("alone") / "1"
        runs[one.cell_id] = run_worker(job(one, directory, digits)), directory
    return runs


def assert_same_bits(run, directory, undisturbed):
    theirs, there = undisturbed
    assert run.exit_code == 0, run.log
    assert history(run) == history(theirs)
    for name in ("weights.npz", "predictions.npz"):
        assert sha256_of(directory / name) == sha256_of(there / name)
    ours, expected = (replace(one.one(events.Evaluated), seconds=0.0) for one in (run, theirs))
    assert ours == expected


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(SPOILT, id="best in shared stage"),
        pytest.param(WHOLE, id="whole cell", marks=pytest.mark.exhaustive),
    ],
)
def test_a_cell_that_begins_with_the_stage_of_another_comes_to_the_bits_of_its_own_training(
    one, stages, alone, digits, tmp_path
):
    run = run_worker(sharing_job(one, tmp_path / "1", digits, stages))
    assert_same_bits(run, tmp_path / "1", alone[one.cell_id])
    shared = [epoch for epoch in run.epochs() if epoch.stage == 1]
    assert run.one(events.StagesTaken).stages == 1
    assert not run.all(events.Resumed)
    assert [epoch.replayed for epoch in run.epochs()] == [epoch.stage == 1 for epoch in run.epochs()]
    if one is SPOILT:
        assert run.one(events.Evaluated).best_epoch <= len(shared)
    told = run.one(events.StageStarted)
    assert told.shared_epochs == len(shared)
    assert told.shared_seconds == pytest.approx(sum(epoch.seconds for epoch in shared))
    done = run.one(events.Completed)
    assert done.fit_seconds == pytest.approx(sum(epoch.seconds for epoch in run.epochs()))
    assert done.total_seconds < done.fit_seconds + alone[one.cell_id][0].one(events.Completed).total_seconds


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param("kill-after-epoch:5", marks=pytest.mark.exhaustive),
        "kill-in-epoch:6",
        pytest.param("stop-in-epoch:5", marks=pytest.mark.exhaustive),
    ],
)
def test_a_cell_killed_after_it_began_with_a_shared_stage_goes_on_as_always(faults, stages, alone, digits, tmp_path):
    epochs = len([epoch for epoch in alone[SPOILT.cell_id][0].epochs() if epoch.stage == 1])
    name, _, number = faults.partition(":")
    dying = run_worker(sharing_job(SPOILT, tmp_path / "1", digits, stages), faults=f"{name}:{int(number) - 4 + epochs}")
    assert dying.exit_code in {0, KILLED}
    second = sharing_job(SPOILT, tmp_path / "2", digits, stages, earlier_directories=(str(tmp_path / "1"),))
    resumed = run_worker(second)
    assert_same_bits(resumed, tmp_path / "2", alone[SPOILT.cell_id])
    # stopped before it had an epoch of its own, it has nothing to resume from and takes the shared stage again
    assert bool(resumed.all(events.Resumed)) != bool(resumed.all(events.StagesTaken))
    assert resumed.one(events.StageStarted).shared_epochs == epochs


def test_a_damaged_stage_is_passed_over_said_and_left_anew(stages, alone, digits, tmp_path):
    place = tmp_path / "stages"
    broken = sharing_job(SPOILT, tmp_path / "1", digits, place)
    (path,) = stages.rglob("state.npz")
    damaged = place / path.relative_to(stages)
    damaged.parent.mkdir(parents=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    run = run_worker(broken)
    assert "not begun from" in run.one(events.CheckpointFailed).reason
    assert "damaged" in run.one(events.CheckpointFailed).reason
    assert not run.all(events.StagesTaken)
    assert_same_bits(run, tmp_path / "1", alone[SPOILT.cell_id])
    assert run.one(events.StageStored).stored
    again = run_worker(sharing_job(WHOLE, tmp_path / "2", digits, place))
    assert again.one(events.StagesTaken).stages == 1
    assert_same_bits(again, tmp_path / "2", alone[WHOLE.cell_id])


@pytest.mark.exhaustive
def test_under_other_circumstances_nothing_is_taken(stages, alone, digits, tmp_path):
    run = run_worker(sharing_job(WHOLE, tmp_path / "1", digits, stages), TF_ENABLE_ONEDNN_OPTS="1")
    assert not run.all(events.StagesTaken)
    assert not run.all(events.CheckpointFailed)
    assert history(run) == history(alone[WHOLE.cell_id][0])


def test_where_no_stage_can_be_stored_that_is_said_and_the_cell_completes(digits, tmp_path):
    two = cell(stages=(stage(epochs=1), stage(epochs=1)))
    wanted = sharing_job(two, tmp_path / "1", digits, tmp_path / "stages", stored_stages=(1,))
    run = run_worker(wanted, faults="no-writes", BENCH_TESTING="1", BENCH_FAULT="ckpt.write:2:enospc")
    assert not list((tmp_path / "stages").rglob("*.*"))
    assert "not stored for other cells" in run.one(events.CheckpointFailed).reason
    assert run.one(events.StageStored) == events.StageStored(1, stored=False)
    assert run.one(events.Completed).epochs == 2


@pytest.mark.exhaustive
def test_a_stage_trained_on_features_is_shared_with_what_they_cost(digits, tmp_path):
    parent = cell(cell_id="4" * 20, stages=(stage(epochs=1),))
    assert run_worker(job(parent, tmp_path / "parent", digits)).exit_code == 0
    path = tmp_path / "parent" / "weights.npz"
    start = {"parent_weights": str(path), "parent_weights_sha256": sha256_of(path)}
    head = stage(train="head", epochs=3)
    frozen = cell(weights=Weights("parent", None, parent.cell_id), stages=(head,))
    phases = replace(frozen, cell_id="5" * 20, stages=(head, stage(train="all", epochs=1)))
    assert common_stages([frozen, phases]).keys() == {frozen.cell_id, phases.cell_id}
    folder = tmp_path / "stages"
    first = run_worker(
        sharing_job(phases, tmp_path / "1", digits, folder, stored_stages=(1,), **start),
        BENCH_CACHE=str(tmp_path / "cache"),
    )
    assert first.exit_code == 0, first.log
    ours = run_worker(sharing_job(frozen, tmp_path / "2", digits, folder, **start), BENCH_CACHE=str(tmp_path / "cache"))
    theirs = run_worker(job(frozen, tmp_path / "3", digits, **start), BENCH_CACHE=str(tmp_path / "other"))
    assert_same_bits(ours, tmp_path / "2", (theirs, tmp_path / "3"))
    told, epochs = ours.one(events.StageStarted), sum(epoch.seconds for epoch in ours.epochs())
    before = first.all(events.StageStarted)[0]
    assert told.features == "computed"
    assert told.shared_seconds == pytest.approx(epochs + before.features_seconds)
    assert ours.one(events.Completed).fit_seconds == pytest.approx(epochs + told.features_seconds)
