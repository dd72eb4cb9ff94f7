"""A worker that only tries a cell: real steps, timed, of which nothing is left."""

from __future__ import annotations

import itertools

import pytest
from training_cells import architecture, cell, job, run_worker, stage

from benchmark import events
from benchmark.training.programs.prepare import prepare

pytestmark = pytest.mark.tf

TWO_STAGES = cell(
    architecture=architecture("simple_cnn", filters=(4, 8), dense_units=8),
    stages=(stage(train="head"), stage(augment=(("flip", "horizontal"),), batch_size=32, mixup=0.2)),
    labels="one_hot",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    digits = prepare("digits", 16, "grey", folder / "cache")
    directory = folder / "1"
    told = run_worker(job(TWO_STAGES, directory, digits, trial_seconds=0.2, trial_stages=(1, 2)))
    return told, directory


def test_a_trial_tells_what_a_few_steps_of_each_stage_took(run):
    told, _ = run
    assert told.exit_code == 0, told.log
    kinds = [type(event).__name__ for event in told.told]
    assert kinds == ["Started", "ModelBuilt", "Progress", "Progress", "Tried"]
    assert [event.stage for event in told.all(events.Progress)] == [1, 2]
    tried = told.one(events.Tried)
    for seconds in (tried.tracing_seconds, tried.step_seconds, tried.predict_seconds):
        assert len(seconds) == 2
        assert all(0 < value < 20 for value in seconds)
    # tracing is what a trial is for: a step takes much less
    assert tried.tracing_seconds[1] > 5 * tried.step_seconds[1]


def test_it_ends_in_time_and_after_at_least_two_steps(run):
    tried = run[0].one(events.Tried)
    assert len(tried.step_ends) >= 3
    assert all(before < after for before, after in itertools.pairwise(tried.step_ends))
    spent = tried.step_ends[-1] - tried.step_ends[0]
    assert spent >= 0.2 or len(tried.step_ends) > 20_000
    assert spent < 0.2 + 5 * max(0.1, *tried.step_seconds)


def test_it_leaves_nothing(run):
    assert list(run[1].iterdir()) == []
