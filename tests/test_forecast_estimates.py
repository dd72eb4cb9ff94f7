from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import replace
from statistics import median

import pytest
from scheduling_plans import fake_cell

from benchmark.events import EpochFinished
from benchmark.forecast.cost import network_of
from benchmark.forecast.estimate import Durations, pioneers, run_seconds
from benchmark.forecast.remaining import Remaining, Running
from benchmark.forecast.simulation import Room
from benchmark.matrix.cell import Architecture, Cell
from benchmark.results.read.durations import efforts
from benchmark.results.store.database import open_database
from benchmark.results.store.reference import RESULTS

SMALL = Architecture("simple_cnn", (("dense_units", 128), ("filters", (32, 64)), ("kernel_size", 3)))
LARGE = Architecture("resnet18", (("filters", (64, 128, 256, 512)),))


def small(**changes):
    return replace(fake_cell(backend="tensorflow", **changes), architecture=SMALL)


def large(**changes):
    return replace(fake_cell(backend="tensorflow", model="resnet18", **changes), architecture=LARGE)


def with_epochs(cell, epochs):
    (stage,) = cell.stages
    return replace(cell, cell_id=f"{epochs:020x}", stages=(replace(stage, epochs=epochs),))


def past(cell, seconds):
    return {"cell_id": cell.cell_id, "total_seconds": seconds}


def effort(cell, seconds, *, first=None, executions=3, epochs=None):
    """What `results.read.durations.efforts` says of like cells that took so long, a second of it outside the epochs."""
    first = first if first is not None else seconds / 4
    return {
        "spec": json.dumps(cell.to_dict()), "executions": executions, "epochs": epochs or cell.epochs,
        "setup_seconds": 0.1, "first_epoch_seconds": first, "fit_seconds": seconds - 1, "total_seconds": seconds,
        "peak_rss_bytes": 700 << 20,
    }  # fmt: skip


def finished(epoch, seconds, *, traced=False, stage=1, replayed=False):
    return EpochFinished(
        stage, epoch, epoch, 0.5, 1.0, 0.5, 1.0, 1e-3, seconds, 0.0, seconds, 0.0, 0.0, 100.0, traced, True, replayed
    )


def test_without_a_record_large_networks_take_longer_than_small_ones():
    durations = Durations()
    assert durations.estimate(small()).basis == "usual"
    assert durations.seconds(large()) > 3 * durations.seconds(small())
    assert durations.estimate(large()).peak_rss_bytes > 1.5 * durations.estimate(small()).peak_rss_bytes
    # 11 million parameters of four bytes
    assert durations.estimate(large()).disk_bytes == pytest.approx(45e6, rel=0.01)


def test_shared_epochs_shorten_cells_of_the_same_shape_and_make_no_other_cheaper():
    shared = {**effort(small(), 60.0), "total_seconds": 4.0, "shared_seconds": 56.0}
    seen, alone = Durations(efforts=[shared]), Durations(efforts=[effort(small(), 60.0)])
    assert seen.seconds(replace(small(), seed=99, cell_id="9" * 20)) == pytest.approx(4.0)
    longer = with_epochs(small(), 3 * small().epochs)
    assert seen.seconds(longer) == pytest.approx(alone.seconds(longer))
    assert seen.seconds(large()) == pytest.approx(alone.seconds(large()))


def test_the_same_cell_counts_most_then_its_shape_then_its_kind_then_the_cost_model():
    cell = small(epochs=4)
    durations = Durations([past(cell, 12.0)], [effort(cell, 10.0)])
    assert (durations.seconds(cell), durations.estimate(cell).basis) == (12.0, "same cell")
    other_seed = small(epochs=4, seed=1)
    assert (durations.seconds(other_seed), durations.estimate(other_seed).basis) == (10.0, "same shape")
    longer = with_epochs(cell, 40)
    assert durations.estimate(longer).basis == "same model"
    assert 10.0 < durations.seconds(longer) < 100.0
    assert durations.estimate(large()).basis == "cost model"
    assert durations.seconds(large()) > 2 * Durations().seconds(large())


def test_a_slow_machine_is_slow_in_everything():
    usual = Durations()
    slow = Durations((), [effort(cell, 3 * usual.seconds(cell)) for cell in (small(), small(epochs=9))])
    assert slow.seconds(large()) == pytest.approx(3 * usual.seconds(large()), rel=0.3)


def test_cells_that_stop_early_are_forecast_by_what_they_took():
    cell = small(epochs=50)
    durations = Durations((), [effort(cell, 10.0, epochs=10)])
    assert durations.seconds(small(epochs=50, seed=9)) == 10.0
    assert durations.seconds(with_epochs(cell, 100)) > 50.0


def test_an_execution_without_a_duration_teaches_nothing():
    assert Durations([past(small(), None)]).estimate(small()).basis == "usual"


def test_what_this_run_measures_counts_more_than_the_past():
    cells = [small(seed=seed) for seed in range(4)]
    running = Running(Durations([past(cell, 10.0) for cell in cells], [effort(cells[0], 10.0)]))
    running.learn(cells[0], 20.0)
    assert running.seconds(cells[1]) == pytest.approx(20.0)


def test_a_machine_that_is_busy_today_makes_all_cells_slower():
    cells = [small(seed=seed) for seed in range(3)]
    running = Running(Durations([past(large(), 60.0)], [effort(cells[0], 10.0), effort(large(), 60.0)]))
    for cell in cells:
        running.learn(cell, 20.0)
    assert 70.0 < running.seconds(large()) < 120.0


def test_a_running_cell_is_expected_to_go_on_at_its_pace():
    cell = large(epochs=10)
    running = Running(Durations())
    running.follow(cell, finished(1, 9.0, traced=True), 10.0)
    for epoch in range(2, 6):
        running.follow(cell, finished(epoch, 4.0), 10.0 + 4 * (epoch - 1))
    assert running.left(cell, 26.0) == pytest.approx(20.0, abs=1.0)
    # and the others like it before the first of them has ended
    assert running.seconds(large(epochs=10, seed=5)) == pytest.approx(46.0, rel=0.25)


def test_one_disturbed_epoch_does_not_spoil_the_pace():
    cell = large(epochs=10)
    running = Running(Durations())
    for epoch, seconds in enumerate((9.0, 1.0, 1.0, 20.0, 1.0), 1):
        running.follow(cell, finished(epoch, seconds, traced=epoch == 1), 30.0)
    assert running.left(cell, 30.0) < 7


def test_later_stages_are_not_forgotten():
    cell = replace(large(epochs=[2, 5]), cell_id="a" * 20)
    running = Running(Durations())
    running.follow(cell, finished(1, 9.0, traced=True), 10.0)
    running.follow(cell, finished(2, 4.0), 14.0)
    assert running.left(cell, 14.0) > 20.0


def test_a_resumed_cell_says_nothing_of_the_others():
    cell = large(epochs=10)
    running = Running(Durations())
    before = running.seconds(large(seed=3, epochs=10))
    for epoch in range(1, 9):
        running.follow(cell, finished(epoch, 1.0, replayed=True), 0.1)
    running.learn(cell, 2.0)
    assert running.seconds(large(seed=3, epochs=10)) == before


def test_a_cell_that_is_overdue_is_never_quite_done():
    running = Running(Durations([past(small(), 10.0)]))
    assert running.left(small(), 4.0) == pytest.approx(6.0)
    assert running.left(small(), 40.0) == pytest.approx(4.0)


def test_what_only_a_user_knows_is_forecast_once_it_was_measured():
    cell = replace(small(), architecture=Architecture("plugin:mine", (("table", {"a": 1}),)))
    running = Running(Durations())
    assert running.seconds(cell) > 0
    running.learn(cell, 50.0)
    assert running.seconds(replace(cell, cell_id="b" * 20, seed=4)) == pytest.approx(50.0)


def test_one_cell_of_each_kind_not_measured_goes_first():
    parent = small(strategy="base")
    child = replace(large(strategy="child"), weights=replace(large().weights, parent_cell_id=parent.cell_id))
    cells = [parent, small(seed=1), with_epochs(small(seed=2), 7), large(), large(seed=1), child]
    assert pioneers(cells, Durations()) == {parent.cell_id, large().cell_id}
    assert pioneers(cells, Durations((), [effort(small(seed=8), 3.0)])) == {large().cell_id}


def test_the_time_left_is_what_the_work_takes_side_by_side():
    cells = [small(seed=seed) for seed in range(6)]
    durations = Durations([past(cell, 10.0) for cell in cells])
    two, one = Room(cores=2, jobs=2), Room(cores=2, jobs=1)
    # and four seconds until the first cell begins
    assert run_seconds(cells, durations, two) == pytest.approx(34.0, abs=0.5)
    assert run_seconds(cells, durations, one) == pytest.approx(64.0, abs=0.5)
    assert run_seconds([], durations, one) is None
    work = [(cells[0], 4.0), (cells[1], 12.0)]
    assert Remaining(Running(durations), lambda: work, lambda: two)() == pytest.approx(6.0, abs=0.5)
    wide = [replace(cell, threads=2) for cell in cells]
    assert run_seconds(wide, durations, two) == pytest.approx(64.0, abs=0.5)


def test_a_large_matrix_is_not_summed_up_at_every_question(monkeypatch):
    cells, asked = [small(seed=seed) for seed in range(50)], []

    def work():
        asked.append(1)
        return [(cell, 0.0 if cell is cells[0] else None) for cell in cells]

    remaining = Remaining(Running(Durations()), work, lambda: Room(cores=2, jobs=2))
    answers = {remaining() for _ in range(20)}
    assert len(asked) < 20
    assert len(answers) == len(asked)


def test_the_start_of_earlier_runs_counts_but_not_what_they_prepared():
    cells = [small(epochs=4)]
    assert Durations().start_seconds(cells) == 4.0
    assert Durations(starts={"tensorflow": 9.0}).start_seconds(cells) == 9.0
    assert Durations(starts={"tensorflow": 600.0}).start_seconds(cells) == 12.0
    assert Durations(starts={"tensorflow": 9.0}).start_seconds([]) == 0.0


# ---- how far off


@pytest.fixture(scope="module")
def recorded():
    """The groups of like cells of the committed results, which take 0.8 to 26 s."""
    with open_database(str(RESULTS), mode="read") as database:
        return efforts(database, "reference")


def cell_of(row):
    return Cell.from_dict(json.loads(row["spec"]))


def test_the_tour_is_forecast_within_a_factor_of_two_by_a_machine_that_has_recorded_nothing():
    with contextlib.closing(sqlite3.connect(f"file:{RESULTS}?mode=ro", uri=True)) as database:
        cells = [Cell.from_dict(json.loads(spec)) for (spec,) in database.execute("SELECT spec FROM cell")]
        ((took,),) = database.execute("SELECT (julianday(finished_utc) - julianday(started_utc)) * 86400 FROM run")
    expected = run_seconds(cells, Durations(), Room(cores=2, jobs=2))
    assert len(cells) == 36
    assert took / 1.5 < expected < 1.5 * took


def off_by(row, durations):
    seconds = durations.seconds(cell_of(row)) / row["total_seconds"]
    return max(seconds, 1 / seconds)


def test_a_machine_that_has_recorded_nothing_is_forecast_within_a_factor_of_two(recorded):
    factors = [off_by(row, Durations()) for row in recorded]
    assert max(factors) < 2
    assert median(factors) < 1.3


def test_a_kind_that_was_never_recorded_is_forecast_within_a_factor_of_two(recorded):
    kind_of = Durations().kind_of
    others = [[past for past in recorded if kind_of(cell_of(past)) != kind_of(cell_of(row))] for row in recorded]
    factors = [off_by(row, Durations(efforts=past)) for row, past in zip(recorded, others, strict=True)]
    assert max(factors) < 2
    assert median(factors) < 1.3


def test_cells_with_other_epochs_or_examples_than_those_recorded_are_forecast_within_a_factor_of_two(recorded):
    for row in recorded:
        others = [past for past in recorded if past is not row]
        assert off_by(row, Durations(efforts=others)) < 2


def test_memory_of_what_was_never_recorded_is_forecast_within_a_fifth(recorded):
    for row in recorded:
        peak = Durations().estimate(cell_of(row)).peak_rss_bytes
        assert peak == pytest.approx(row["peak_rss_bytes"], rel=0.2)


def test_a_network_grows_with_its_images_and_its_filters():
    usual = network_of(large())
    assert usual.parameters == pytest.approx(11_184_970, rel=0.001)
    larger = network_of(replace(large(), data=replace(large().data, image_size=32)))
    assert larger.multiply_adds == pytest.approx(4 * usual.multiply_adds, rel=0.01)
    narrow = network_of(replace(large(), architecture=Architecture("resnet18", (("filters", (32, 64, 128, 256)),))))
    assert narrow.multiply_adds == pytest.approx(usual.multiply_adds / 4, rel=0.01)
    assert narrow.parameters == pytest.approx(usual.parameters / 4, rel=0.01)
    assert narrow.layers == usual.layers


def test_more_layers_that_learn_take_longer():
    frozen, some, all_of_it = (
        replace(large(), stages=(replace(large().stages[0], train=train),)) for train in ("head", "last:30", "all")
    )
    seconds = Durations().seconds
    assert seconds(frozen) < seconds(some) < seconds(all_of_it) < 5 * seconds(frozen)
