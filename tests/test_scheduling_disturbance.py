"""Which epochs of a cell count as timed: those that nothing touched, whatever became of the others."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import pytest
from results_samples import begin, cell, complete, epoch, set_up
from scheduling_plans import fake_cell
from scheduling_runs import Place

from benchmark import control_groups, machine, machine_load
from benchmark.machine_load import LoadSample, disturbance
from benchmark.results.store.database import open_database
from benchmark.scheduling.loop import disturbance as watching
from benchmark.scheduling.loop.disturbance import in_words

QUIET = LoadSample(0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TESTING", "1")
    monkeypatch.setattr(watching, "SPAN_SECONDS", 0.0)
    return Place(tmp_path)


def samples(monkeypatch, *hot: int) -> None:
    """Each look at the machine is a second later; at these looks, from 0, it is found to have been too hot since."""
    looks = [0]

    def load_sample() -> LoadSample:
        now = looks[0]
        looks[0] += 1
        return LoadSample(float(now), float(now), None, None, heat_events=sum(at <= now for at in hot))

    monkeypatch.setattr(machine_load, "load_sample", load_sample)


def timing(place: Place) -> tuple[bool, list[int], float, str]:
    ((valid, epochs, steady, detail),) = place.rows(
        "select timing_valid, disturbed_epochs, steady_seconds_per_epoch, attempt.detail "
        "from execution join attempt using (execution_id)"
    )
    return bool(valid), json.loads(epochs), steady, detail


def test_a_touched_epoch_is_left_out_and_not_the_execution(place, monkeypatch):
    samples(monkeypatch, 3)
    assert place.run([fake_cell(epochs=6)]).exit_code == 0
    valid, epochs, steady, detail = timing(place)
    assert (valid, epochs) == (True, [3])
    assert detail == "timing disturbed: the processor was slowed down because it was hot (in epoch 3)"
    rows = dict(place.rows("select epoch, seconds from epoch"))
    quiet = sorted(seconds for number, seconds in rows.items() if number not in {1, 3})
    assert steady == pytest.approx((quiet[1] + quiet[2]) / 2)


def test_with_most_epochs_touched_the_timing_does_not_count(place, monkeypatch):
    samples(monkeypatch, 2, 3, 4, 5)
    assert place.run([fake_cell(epochs=6)]).exit_code == 0
    valid, epochs, _, detail = timing(place)
    assert (valid, epochs) == (False, [2, 3, 4, 5])
    assert detail.endswith("(in epoch 2, 3, 4, 5)")


def test_what_happens_after_the_last_epoch_touches_none(place, monkeypatch):
    samples(monkeypatch, 5)
    assert place.run([fake_cell(epochs=4)]).exit_code == 0
    valid, epochs, _, detail = timing(place)
    assert (valid, epochs) == (True, [])
    assert detail.endswith("(outside of epochs)")


def test_an_undisturbed_execution_says_so(place, monkeypatch):
    samples(monkeypatch)
    assert place.run([fake_cell(epochs=1)]).exit_code == 0
    assert timing(place)[:2] == (True, [])


def test_epochs_that_are_too_short_to_be_judged_alone_are_judged_together(place, monkeypatch):
    monkeypatch.setattr(watching, "SPAN_SECONDS", math.inf)
    samples(monkeypatch, 1)
    assert place.run([fake_cell(epochs=5)]).exit_code == 0
    valid, epochs, _, detail = timing(place)
    assert (valid, epochs) == (False, [1, 2, 3, 4, 5])
    assert detail == "timing disturbed: the processor was slowed down because it was hot"


@pytest.mark.parametrize(
    ("disturbed", "valid", "steady"),
    [
        ([], True, 2.0),
        ([1], True, 2.0),
        ([3], True, 2.0),
        ([2, 3], True, 3.0),
        ([2, 3, 4], False, 9.0),
        (None, False, None),
    ],
)
def test_half_of_the_steady_epochs_and_two_must_be_undisturbed(tmp_path, disturbed, valid, steady):
    """Five epochs, the first with tracing, of 1, 2, 2, 9 and 2 seconds; for `[2, 3]` the fourth takes 4."""
    seconds = [1.0, 2.0, 2.0, 4.0 if disturbed == [2, 3] else 9.0, 2.0]
    if disturbed == [2, 3, 4]:
        seconds[4] = 9.0
    with open_database(tmp_path / "r.sqlite", mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, "m")
        set_up(recorder, start.attempt_id)
        for number, taken in enumerate(seconds, 1):
            recorder.record(start.attempt_id, epoch(number, seconds=taken))
        facts = {"disturbed": disturbed != [], "disturbed_epochs": disturbed}
        complete(recorder, start.attempt_id, 5, **facts)
        with database.reading() as connection:
            row = connection.exec_driver_sql(
                "SELECT timing_valid, steady_seconds_per_epoch, fit_seconds FROM execution"
            ).one()
    assert (bool(row[0]), row[1]) == (valid, steady)
    assert row[2] == 5.0


def test_throughput_is_that_of_the_undisturbed_epochs():
    from benchmark.results.write.outcome import images_per_second

    rows = [
        {"epoch": number, "traced": number == 1, "input_seconds": 0.0, "step_seconds": 1.0, "images_per_second": rate}
        for number, rate in enumerate([10.0, 100.0, 20.0, 100.0], 1)
    ]
    assert images_per_second(rows, {3}) == 100.0
    assert images_per_second(rows, {2, 3, 4}) == pytest.approx(220 / 3)


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({"heat_events": 1}, "hot"),
        ({"swapped_bytes": 2 << 20}, "2 MiB of memory were swapped"),
        ({"throttled_seconds": 0.6}, "quota held processes back for 0.6 s"),
        ({"boottime_seconds": 70.0}, "slept"),
    ],
)
def test_heat_swapping_quotas_and_sleep_disturb(later, words):
    after = replace(QUIET, **{"monotonic_seconds": 10.0, "boottime_seconds": 10.0, **later})
    assert words in str(disturbance(QUIET, after, own_seconds=0.0, cores=2))
    still = replace(QUIET, monotonic_seconds=10.0, boottime_seconds=10.0, swapped_bytes=4096, throttled_seconds=0.1)
    assert disturbance(QUIET, still, own_seconds=0.0, cores=2) is None


@pytest.mark.parametrize(("line", "seconds"), [("throttled_usec 2500000", 2.5), ("throttled_time 1500000000", 1.5)])
def test_the_time_that_a_quota_took_is_read_in_both_versions_of_control_groups(tmp_path, monkeypatch, line, seconds):
    (tmp_path / "cpu.stat").write_text(f"nr_periods 7\n{line}\n")
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    monkeypatch.setattr(control_groups, "MEMBERSHIP", tmp_path / "none")
    assert control_groups.throttled_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize(("processes", "valid"), [("1", True), ("3", False)])
def test_other_programs_on_the_gpu_disturb_its_cells(place, monkeypatch, processes, valid):
    monkeypatch.setenv("BENCH_TEST_GPUS", "one")
    monkeypatch.setenv("BENCH_TEST_GPU_PROCESSES", processes)
    machine._gpus.cache_clear()
    samples(monkeypatch)
    try:
        assert place.run([fake_cell(epochs=6, device="gpu")]).exit_code == 0
    finally:
        machine._gpus.cache_clear()
    assert timing(place)[0] is valid
    assert ("2 other programs used its GPU" in str(timing(place)[3])) is not valid


def test_reasons_name_the_epochs_that_they_touched():
    assert in_words({2: "heat", 3: "heat"}, [1, 2, 3]) == "heat (in epoch 2, 3)"
    assert in_words({1: "heat"}, [1]) == "heat"
    assert in_words(dict.fromkeys(range(1, 20), "heat"), range(1, 30)).endswith("9, 10, …)")


def test_cells_side_by_side_share_a_reading(monkeypatch):
    looks = []
    monkeypatch.setattr(
        machine_load, "load_sample", lambda: looks.append(1) or LoadSample(time.monotonic(), 0.0, 0.0, 0.0)
    )
    meter = watching.DisturbanceMeter(lambda: (), cores=2)
    first = meter.read()
    assert meter.read(at_most_old=60.0) is first
    assert meter.read() is not first
    assert len(looks) == 2
