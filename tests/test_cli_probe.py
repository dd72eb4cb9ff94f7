"""Measuring before deciding, from outside: `bench plan --probe`, and `threads = "auto"` in plan and run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from cli_workplace import Workplace
from click.testing import Result
from waiting import wait_until

from benchmark.machine import cpu_cores

MATRIX = """
[matrix]
dataset = "digits"
model = {models}
strategy = "scratch"
seed = [0, 1]
backend = "fake"
threads = {threads}
[defaults]
epochs = 3
"""

THREADS_PAY = {"BENCH_FAKE_THREADS_EXPONENT": "3", "BENCH_FAKE_EPOCH_SECONDS": "0.8"}

needs_two_cores = pytest.mark.skipif(cpu_cores() < 2, reason="there is nothing to choose on one core")


class Bench(Workplace):
    """A workplace whose trials are short."""

    def matrix(self, threads: object = '"auto"', models: object = '["simple_cnn"]') -> None:
        self.write(MATRIX.format(threads=threads, models=models))

    def bench(self, *arguments: str, **variables: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"BENCH_TRIAL_SECONDS": "0.1", **variables}.items():
                patch.setenv(name, value)
            return self.call(*arguments)

    def planned(self, *arguments: str, **variables: str) -> dict:
        done = self.bench("plan", *arguments, "--format", "json", **variables)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def choices(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in self.directory.glob("cache/trials/threads-*.json")]

    def threads(self) -> list[tuple[int, str]]:
        with contextlib.closing(sqlite3.connect(self.directory / "results.sqlite")) as database:
            return database.execute("SELECT threads, status FROM results ORDER BY cell_id").fetchall()


@pytest.fixture
def place(tmp_path) -> Bench:
    return Bench(tmp_path)


def bases(document: dict) -> set[str]:
    return {cell["forecast_basis"] for cell in document["cells"]}


def test_a_probe_makes_a_forecast_that_stays_and_touches_no_database(place):
    place.matrix(1, ["simple_cnn", "resnet18"])
    assert bases(place.planned()) == {"usual"}
    slow = {"BENCH_FAKE_EPOCH_SECONDS": "0.4"}
    document = place.planned("--probe", **slow)
    assert bases(document) == {"trial"}
    assert sorted(path.name for path in place.directory.iterdir()) == ["cache", "matrix.toml"]
    for cell in document["cells"]:
        # and what it took to begin, which is the machine's affair
        assert 1.2 < cell["forecast_seconds"] < 8
    again = place.bench("plan", "--probe", **slow)
    assert "trying" not in again.stderr
    assert "trial" in again.stdout
    assert document["cells"] == place.planned(**slow)["cells"]
    assert "been measured on this machine yet" not in again.stdout


def test_a_run_goes_by_what_was_tried_and_says_how_it_compares(place):
    place.matrix(1)
    slow = {"BENCH_FAKE_EPOCH_SECONDS": "0.3"}
    place.planned("--probe", **slow)
    done = place.bench("run", **slow)
    assert done.exit_code == 0, done.stderr
    assert "the forecast was" in done.stderr
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as database:
        ((forecast,),) = database.execute("SELECT forecast_seconds FROM run")
    # two cells of 0.9 s, and the start of the run
    assert 0.9 < forecast < 12


@pytest.mark.exhaustive
def test_a_damaged_trial_is_made_again(place):
    place.matrix(1)
    place.planned("--probe")
    (path,) = place.directory.glob("cache/trials/*.json")
    path.write_bytes(b"\x00" * 100)
    assert bases(place.planned()) == {"usual"}
    assert bases(place.planned("--probe")) == {"trial"}


def test_what_cannot_be_tried_is_told_in_a_line_and_planned_without(place):
    place.matrix(1, ["simple_cnn", "resnet18"])
    fault = {"BENCH_FAULT": "build:1:raise:ValueError", "BENCH_FAULT_MARK": str(place.directory / "mark")}
    done = place.bench("plan", "--probe", **fault)
    assert done.exit_code == 0
    (line,) = (line for line in done.stderr.splitlines() if "cannot be tried" in line)
    assert "fault point: ValueError" in line
    assert "4 cells: 4 pending" in done.stdout
    assert {"trial", "usual"} == bases(place.planned())


def test_a_worker_that_dies_does_not_end_the_probe(place):
    place.matrix(1)
    done = place.bench("plan", "--probe", BENCH_FAULT="batch:1:kill9")
    assert done.exit_code == 0
    assert "cannot be tried: its worker was ended by SIGKILL" in done.stderr


def test_a_cache_that_cannot_be_written_is_said_and_nothing_more(place):
    place.matrix(1)
    (place.directory / "cache").write_text("a file where a folder should be")
    done = place.bench("plan", "--probe")
    assert done.exit_code == 0
    assert "a trial cannot be kept" in done.stderr


def test_ctrl_c_ends_a_probe_and_all_that_it_started(place):
    place.matrix(1)
    mark = f"BENCH_RUN_MARK={os.urandom(8).hex()}"
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        place.command("plan", "--probe"),
        cwd=place.directory,
        env={**place.environment, "BENCH_TRIAL_SECONDS": "600", name: value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(_marked(mark)) >= 4)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    wait_until(lambda: not _marked(mark))
    assert not list(place.directory.glob("cache/trials/*"))


def _marked(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
    return found


# ---- threads


@needs_two_cores
def test_a_run_measures_once_and_the_next_one_reuses_all_cells(place):
    place.matrix()
    first = place.bench("run", **THREADS_PAY)
    assert first.exit_code == 0, first.stderr
    assert 'threads = "auto": measuring the whole machine' in first.stderr
    (choice,) = place.choices()
    assert choice["threads"] == cpu_cores()
    assert {int(count) for count in choice["images_per_second"]} >= {1, cpu_cores()}
    assert choice["copies"]["1"] == cpu_cores()
    assert place.threads() == [(cpu_cores(), "completed")] * 2
    # as if one thread were best today: nobody asks any more
    second = place.bench("run")
    assert "measuring" not in second.stderr
    assert "2 completed (2 from earlier runs)" in second.stderr


@pytest.mark.exhaustive
@needs_two_cores
def test_threads_that_gain_nothing_are_not_taken(place):
    place.matrix()
    assert place.bench("run").exit_code == 0
    assert place.threads() == [(1, "completed")] * 2


@needs_two_cores
def test_a_plan_assumes_a_number_until_it_is_measured_and_a_probe_measures_it(place):
    place.matrix('[1, "auto"]')
    before = place.planned(**THREADS_PAY)
    assert {cell["threads"] for cell in before["cells"]} == {1}
    assert any("has not been measured" in note for note in before["notes"])
    after = place.planned("--probe", **THREADS_PAY)
    assert {cell["threads"] for cell in after["cells"]} == {1, cpu_cores()}
    assert after["cells"] == place.planned(**THREADS_PAY)["cells"]
    # trials of both came with it
    assert bases(after) == {"trial"}
    done = place.bench("run", **THREADS_PAY)
    assert "measuring" not in done.stderr
    assert place.bench("why", f"threads={cpu_cores()},seed=0").exit_code == 0


@needs_two_cores
def test_cells_that_are_finished_are_not_measured_for_again(place):
    place.matrix(cpu_cores())
    assert place.bench("run").exit_code == 0
    place.matrix()
    done = place.bench("run")
    assert "measuring" not in done.stderr
    assert "2 completed (2 from earlier runs)" in done.stderr


@needs_two_cores
def test_what_cannot_be_measured_runs_with_the_assumed_number(place):
    place.matrix()
    done = place.bench("plan", "--probe", BENCH_FAULT="batch:2:segv")
    assert done.exit_code == 0
    assert "cannot be tried: its worker was ended by SIGSEGV" in done.stderr
    assert place.choices() == []
    assert "1 is assumed" in done.stdout


def test_a_wrong_duration_of_trials_is_a_mistake_with_a_cure(place):
    place.matrix(1)
    done = place.bench("plan", "--probe", BENCH_TRIAL_SECONDS="soon")
    assert done.exit_code == 2
    assert "BENCH_TRIAL_SECONDS: expected seconds" in done.stderr


@pytest.mark.tf
@pytest.mark.exhaustive  # what the worker of a trial does: test_training_trial.py
def test_a_real_network_is_tried_on_its_data(place):
    place.matrix(1)
    small = ("--set", "backend=tensorflow", "--set", "train_examples=300", "--select", "seed=0")
    document = place.planned("--probe", *small)
    (cell,) = document["cells"]
    assert cell["forecast_basis"] == "trial"
    assert 0.3 < cell["forecast_seconds"] < 60
    assert cell["forecast_peak_rss_bytes"] > 100 << 20
    assert list(place.directory.glob("cache/prepared/digits-*"))
    assert not (place.directory / "results.sqlite").exists()
