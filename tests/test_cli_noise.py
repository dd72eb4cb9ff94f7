"""`bench doctor --noise` and `bench run --prove-resume`: what this machine can be trusted with, measured and not believed."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from cli_workplace import Workplace

from benchmark.cli.runs import scratch_runs

MATRIX = """
[matrix]
dataset = ["digits", "digits_low"]
model = "simple_cnn"
strategy = "scratch"
seed = 0
backend = "fake"

[[matrix.include]]
dataset = "digits"
model = "simple_cnn"
strategy = "continued"
seed = 0

[defaults]
epochs = 8

[strategy.continued]
weights = { dataset = "digits_low", strategy = "scratch" }
"""
NOISE = ("doctor", "--noise", "--runs", "3", "--set", "backend=fake")


@pytest.fixture
def place(tmp_path) -> Workplace:
    place = Workplace(tmp_path)
    place.write(MATRIX)
    return place


@pytest.fixture
def slow_epochs(monkeypatch) -> None:
    """There is time to kill a cell in the middle of one."""
    monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.2")


def test_the_noise_of_a_machine_is_measured_kept_and_quoted(place):
    found = place.document(*NOISE)
    assert (found["machine"], found["runs"], found["deterministic"]) == ("tester", 3, True)
    assert len(found["seconds"]) == 3
    assert 0 <= found["seconds_sd_percent"] < 100
    assert json.loads((place.directory / "cache" / "noise.json").read_text())["tester"]["runs"] == 3
    assert not list(place.directory.glob("results*"))
    assert place.call("run").exit_code == 0
    sentence = "Noise floor of machine tester: 3 runs of one cell with one seed gave the same bits"
    assert sentence in " ".join(place.call("report").stdout.split())
    a, b = "dataset=digits,strategy=scratch", "dataset=digits,strategy=continued"
    assert sentence in " ".join(place.call("compare", a, b, "--metric", "fit_seconds").stdout.split())
    assert sentence not in " ".join(place.call("compare", a, b).stdout.split())


def test_what_a_table_says_of_noise_is_one_sentence(place):
    done = place.call(*NOISE)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("deterministic\n3 runs of one cell")
    assert "scatter by" in done.stdout


def drift(monkeypatch) -> None:
    """Each run draws other random numbers, as on a machine whose sums depend on the moment."""
    real, seeds = scratch_runs.run_matrix, itertools.count()

    def run_matrix(plan, database, options, observer):
        number = next(seeds)
        cells = tuple(replace(cell, order_seed=number) for cell in plan.cells)
        return real(replace(plan, cells=cells), database, options, observer)

    monkeypatch.setattr(scratch_runs, "run_matrix", run_matrix)


def test_a_machine_that_comes_to_other_numbers_is_not_deterministic(place, monkeypatch):
    drift(monkeypatch)
    assert place.document(*NOISE)["deterministic"] is False


def test_a_report_is_up_to_date_with_and_without_what_a_computer_knows_of_itself(place):
    assert place.call("run").exit_code == 0
    assert place.call("report", "--output", "without.md").exit_code == 0
    assert place.call(*NOISE).exit_code == 0
    assert place.call("report", "--output", "with.md").exit_code == 0
    for name in ("with.md", "without.md"):
        assert place.call("report", "--check", name).exit_code == 0
    assert "Noise floor" in (place.directory / "with.md").read_text()


@pytest.mark.usefixtures("slow_epochs")
@pytest.mark.parametrize("strategy", ["scratch", "continued"])
def test_a_cell_that_was_killed_comes_to_the_same_bits(place, strategy):
    found = place.document("run", "--prove-resume", f"dataset=digits,strategy={strategy}")
    assert found["verdict"] == "identical"
    assert 1 <= found["resumed_from_epoch"] <= found["killed_in_epoch"] <= 9
    assert found["digest"] == found["resumed_digest"]
    assert not list(place.directory.glob("results*"))


@pytest.mark.usefixtures("slow_epochs")
def test_a_cell_that_comes_to_other_numbers_after_a_kill_is_shown_with_what_differs(place, monkeypatch):
    drift(monkeypatch)
    done = place.call("run", "--prove-resume", "dataset=digits,strategy=scratch", "--format", "json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["verdict"]) == (3, "different")
    assert found["digest"] != found["resumed_digest"]
    assert found["differences"][0].startswith("epoch 1: train_accuracy ")
    done = place.call("run", "--prove-resume", "dataset=digits,strategy=scratch")
    assert done.stdout.startswith("different: killed in epoch")
    assert done.stdout.splitlines()[-1].endswith("more")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [("dataset=mnist", 2, "no cell of"), ("model=simple_cnn", 2, "expected one cell"), ("ffff0000", 2, "no cell of")],
)
def test_a_cell_must_be_meant(place, text, code, words):
    done = place.call("run", "--prove-resume", text)
    assert (done.exit_code, words in done.stderr) == (code, True)


def test_a_cell_that_fails_proves_nothing(place):
    done = place.call(
        "run", "--prove-resume", "dataset=digits,strategy=scratch", BENCH_FAULT="epoch.sent:2:raise:ValueError"
    )
    assert done.exit_code == 3
    assert "expected to complete" in done.stderr
