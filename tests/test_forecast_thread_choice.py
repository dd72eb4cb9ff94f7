"""Which number of threads is chosen from what was measured, and how the choice and trials are kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from scheduling_plans import fake_cell

from benchmark.events import ModelBuilt, Tried
from benchmark.forecast.cost import augmenting_seconds, cost_of
from benchmark.forecast.estimate import Durations
from benchmark.forecast.thread_choice import choose, keep_choice, machine_rate, steps_together, stored_choices
from benchmark.forecast.trial_store import StageTrial, Trial, TrialStore, seconds_by
from benchmark.layout import OWN_MARK
from benchmark.matrix.cell import Architecture

SMALL = Architecture("simple_cnn", (("dense_units", 128), ("filters", (32, 64)), ("kernel_size", 3)))
TRIAL = Trial(0.5, (StageTrial(1.5, 0.02, 0.005),), 600 << 20, 1293, 144, 360)


def cell(**changes):
    return replace(replace(fake_cell(), architecture=SMALL, backend="tensorflow"), **changes)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({1: 100.0, 2: 90.0}, 1),
        ({1: 100.0, 2: 130.0, 4: 110.0}, 2),
        ({1: 100.0, 2: 104.0}, 1),
        ({1: 96.0, 2: 99.0, 4: 100.0}, 1),
        ({1: 50.0, 2: 97.0, 4: 100.0}, 2),
        ({4: 1.0}, 4),
    ],
)
def test_the_most_images_a_second_win_and_a_tie_goes_to_the_fewest_threads(rates, chosen):
    assert choose(rates) == chosen


def test_workers_count_while_all_of_them_are_at_it():
    early = [0.0, 0.1, 0.2, *(0.3 + 0.2 * n for n in range(20))]
    late = [1.0 + 0.2 * n for n in range(20)]
    # alone the first one was faster
    assert steps_together([early, late]) == pytest.approx([0.2, 0.2])


def test_one_disturbed_step_does_not_count():
    steady = [0.1 * n for n in range(30)]
    disturbed = [*(0.1 * n for n in range(10)), *(2.0 + 0.1 * n for n in range(10))]
    assert steps_together([steady, disturbed]) == pytest.approx([0.1, 0.1])


def test_steps_longer_than_the_common_time_are_taken_all_the_same():
    assert steps_together([[0.0, 10.0], [1.0, 11.0]]) == [10.0, 10.0]


def test_workers_that_never_met_say_nothing():
    assert steps_together([[0.0, 1.0], [2.0, 3.0]]) is None
    assert machine_rate(cell(), 1, [told(0.0, 1.0), told(50.0, 1.0)]) is None


def told(begin, step, setup=0.5, tracing=1.5):
    """Of a worker with 1,280 images in batches of 32, whose predictions take no time."""
    built = ModelBuilt(1, 1, 1280, 0, 1, "", None, "float32", setup)
    return built, Tried((tracing,), (step,), (0.0,), tuple(begin + step * n for n in range(10)))


def test_the_rate_of_the_machine_counts_set_up_and_tracing():
    # two epochs of 40 steps in 2 + 80 · 0.1 s, by two workers at once
    assert machine_rate(cell(), 1, [told(0.0, 0.1)] * 2) == pytest.approx(2 * 2560 / 10)


def test_threads_that_halve_the_steps_do_not_pay_for_cells_that_trace_for_long():
    (stage,) = cell().stages
    long = cell(stages=(replace(stage, epochs=100),))
    for one, best in ((cell(), 1), (long, 4)):
        rates = {
            1: machine_rate(one, 1, [told(0.0, 0.04)] * 4),
            4: machine_rate(one, 1, [told(0.0, 0.008)]),
        }
        assert choose(rates) == best


def test_a_choice_is_found_again_and_one_of_another_machine_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.machine.cpu_cores", lambda: 4)
    keep_choice(tmp_path, "a" * 20, 4, {"images_per_second": {1: 1.0, 4: 2.0}})
    keep_choice(tmp_path, "b" * 20, 1, {})
    assert stored_choices(tmp_path) == {"a" * 20: 4, "b" * 20: 1}
    monkeypatch.setattr("benchmark.machine.cpu_cores", lambda: 2)
    assert stored_choices(tmp_path) == {}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 1, "threads": 2}', b"\xff\xfe", "threads"])
def test_a_damaged_choice_is_as_good_as_none(tmp_path, damage):
    keep_choice(tmp_path, "a" * 20, 1, {})
    (path,) = tmp_path.rglob("threads-*.json")
    if damage == "threads":
        path.write_text(json.dumps({**json.loads(path.read_text()), "threads": 10**6}))
    else:
        path.write_bytes(damage)
    assert stored_choices(tmp_path) == {}


def test_a_trial_is_found_for_cells_of_its_kind_only(tmp_path):
    store = TrialStore(tmp_path)
    store.keep(cell(), TRIAL)
    (stage,) = cell().stages
    assert store.find(cell(seed=7, cell_id="f" * 20)) == TRIAL
    assert store.find(cell(stages=(replace(stage, epochs=50, learning_rate=0.5),))) == TRIAL
    for other in (
        cell(threads=2),
        cell(precision="mixed_bfloat16"),
        cell(backend="jax"),
        cell(stages=(replace(stage, batch_size=17),)),
        cell(architecture=replace(SMALL, name="resnet18")),
    ):
        assert store.find(other) is None


def test_a_trial_tells_the_time_of_another_augmentation_by_what_that_usually_takes():
    (stage,) = cell().stages
    heavy = cell(stages=(replace(stage, augment=(("randaugment", (("layers", 2), ("magnitude", 0.3))),)),))
    extra = cost_of(heavy).total() - cost_of(cell()).total()
    assert extra > 0
    assert seconds_by(TRIAL, heavy) - seconds_by(TRIAL, cell()) == pytest.approx(extra)
    tried = replace(
        TRIAL, stages=(replace(TRIAL.stages[0], augmenting_seconds=augmenting_seconds(heavy.stages[0], heavy)),)
    )
    assert seconds_by(tried, heavy) == pytest.approx(seconds_by(TRIAL, cell()))


def test_a_trial_made_with_other_libraries_is_not_used(tmp_path, monkeypatch):
    TrialStore(tmp_path).keep(cell(), TRIAL)
    monkeypatch.setattr("benchmark.forecast.trial_store._versions", lambda _: {"tensorflow": "3.0"})
    assert TrialStore(tmp_path).find(cell()) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record["trial"].pop("stages"),
        lambda record: record["trial"].update(setup_seconds=-1),
        lambda record: record["trial"]["stages"][0].update(step_seconds="fast"),
        lambda record: record["trial"]["stages"].append(record["trial"]["stages"][0]),
        lambda record: record.update(trial=None),
        lambda record: record.update(key={}),
    ],
)
def test_a_damaged_trial_is_as_good_as_none(tmp_path, damage):
    store = TrialStore(tmp_path)
    store.keep(cell(), TRIAL)
    (path,) = tmp_path.rglob("*.json")
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    assert store.find(cell()) is None


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        TrialStore(tmp_path).keep(cell(), TRIAL)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != OWN_MARK] == []


# ---- what a forecast makes of a trial


def tried(trial: Trial = TRIAL, **past) -> Durations:
    return Durations(**past, trials=lambda _: trial)


def test_a_trial_counts_where_no_cell_of_the_kind_is_recorded():
    estimate = tried().estimate(cell())
    assert (estimate.basis, estimate.peak_rss_bytes) == ("trial", TRIAL.peak_rss_bytes)
    (stage,) = cell().stages
    steps = 2 * (1293 / 32 * 0.02 + 144 / 32 * 0.005) + 360 / 32 * 0.005
    # and a little for the process itself
    assert 0.5 + 1.5 + steps < estimate.seconds < 0.5 + 1.5 + steps + 0.4
    longer = cell(cell_id="e" * 20, stages=(replace(stage, epochs=20),))
    assert tried().seconds(longer) - estimate.seconds == pytest.approx(
        18 * (1293 / 32 * 0.02 + 144 / 32 * 0.005), rel=0.05
    )


def test_what_is_recorded_counts_more_than_a_trial():
    row = {
        "spec": json.dumps(cell().to_dict()), "executions": 3, "epochs": 2, "setup_seconds": 0.1,
        "first_epoch_seconds": 10.0, "fit_seconds": 39.0, "total_seconds": 40.0, "peak_rss_bytes": 1 << 30,
    }  # fmt: skip
    durations = tried(efforts=[row])
    assert durations.estimate(cell(seed=9, cell_id="d" * 20)).basis == "same shape"
    (stage,) = cell().stages
    longer = cell(cell_id="e" * 20, stages=(replace(stage, epochs=20),))
    assert durations.estimate(longer).basis == "same model"
    assert durations.estimate(longer).peak_rss_bytes == 1 << 30


def test_of_users_own_data_the_trial_has_counted_the_examples():
    mine = cell(data=replace(cell().data, source="folder:mine", location="/mine"))
    few = replace(TRIAL, training=90, validation=10, test=20)
    assert tried(few).seconds(mine) < tried().seconds(mine) < Durations().seconds(mine) + 10
