"""The main job as a user sees it: real command line, real TensorFlow, real database, real kills."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from waiting import wait_until

from benchmark.cli.main import bench

pytestmark = [pytest.mark.tf, pytest.mark.slow]

MATRIX = """
[matrix]
name = "end to end"
dataset = ["digits"]
model = ["simple_cnn"]
strategy = ["scratch", "careful"]
seed = [0, 1]

[defaults]
epochs = 2
batch_size = 32
train_examples = 200
test_examples = 100

[strategy.careful]
extends = "scratch"
label = "Two stages, augmented"
dropout = 0.5
augment = { rotation = 0.05, translation = 0.1 }
[[strategy.careful.stage]]
train = "all"
epochs = 2
learning_rate = 1e-3
reduce_learning_rate = { monitor = "val_loss", factor = 0.5, patience = 0, min_learning_rate = 1e-6 }
[[strategy.careful.stage]]
train = "head"
epochs = 2
learning_rate = 1e-4

[strategy.from_low]
weights = { dataset = "digits_low", strategy = "scratch" }

[[matrix.include]]
dataset = "digits_high"
model = "simple_cnn"
strategy = "from_low"
seed = 0

[report]
transfer = [{ fine_tuned = "from_low", scratch = "scratch" }]
progression = [["scratch", "careful"]]
"""


class Bench:
    """A folder with a matrix, and the command line in it."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self.directory = directory
        self.database = directory / "results.sqlite"
        (directory / "matrix.toml").write_text(MATRIX)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BENCH_")},
            "BENCH_CACHE": str(cache),
            "BENCH_MACHINE": "tester",
            "COLUMNS": "100",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "benchmark", *arguments]

    def __call__(self, *arguments: str) -> str:
        process = self.start(*arguments)
        stdout, stderr = process.communicate(timeout=580)
        assert process.returncode == 0, f"{arguments} gave {process.returncode}\n{stdout}\n{stderr}"
        assert "Traceback" not in stderr
        return stdout

    def answer(self, *arguments: str) -> str:
        """What the command line says in this process, which saves the half second that one of its own takes."""
        with contextlib.chdir(self.directory):
            done = CliRunner(env=self.environment).invoke(bench, arguments, prog_name="bench")
        assert done.exit_code == 0, done.stderr
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def rows(self, sql: str) -> list[tuple]:
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30) as connection:
            rows = connection.execute(sql).fetchall()
        connection.close()
        return rows

    def wait_for_epochs(self, count: int) -> None:
        def recorded() -> bool:
            with contextlib.suppress(sqlite3.OperationalError):  # the schema is being made
                return self.database.exists() and self.rows("select count(*) from history")[0][0] >= count
            return False

        wait_until(recorded, f"{count} epochs are recorded")

    def numbers(self) -> list[tuple]:
        """All that must not depend on kills: every epoch's values and the test results."""
        epochs = self.rows(
            "select cell_id, stage, epoch, train_accuracy, train_loss, val_accuracy, val_loss, learning_rate "
            "from history order by cell_id, epoch"
        )
        tests = self.rows("select cell_id, status, best_epoch, test_accuracy, test_loss from results order by cell_id")
        return [*epochs, *tests]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache) -> Bench:
    """A matrix that ran undisturbed."""
    place = Bench(tmp_path_factory.mktemp("undisturbed"), cache)
    place("run")
    return place


def test_every_cell_of_the_matrix_is_there_with_its_parent(finished):
    results = pd.read_sql("select * from results", f"sqlite:///{finished.database}")
    assert len(results) == 6
    assert set(results["status"]) == {"completed"}
    child = results[results["strategy"] == "from_low"].iloc[0]
    parent = results[results["cell_id"] == child["parent_cell_id"]].iloc[0]
    assert (parent["dataset"], parent["strategy"], parent["seed"]) == ("digits_low", "scratch", 0)
    assert results["test_accuracy"].between(0, 1).all()
    assert (results["peak_rss_bytes"] > 2**27).all()
    assert (results["fit_seconds"] > 0).all()
    assert set(results["machine"]) == {"tester"}


def test_history_has_every_epoch_of_every_stage(finished):
    history = pd.read_sql(
        "select * from history where strategy = 'careful' and seed = 0", f"sqlite:///{finished.database}"
    )
    assert list(history.sort_values("epoch")["epoch"]) == [1, 2, 3, 4]
    assert list(history.sort_values("epoch")["stage"]) == [1, 1, 2, 2]
    assert list(history.sort_values("epoch")["stage_epoch"]) == [1, 2, 1, 2]


def test_the_database_is_one_file_after_a_clean_end(finished):
    assert {path.name for path in finished.directory.iterdir()} - {"results.sqlite.lock"} == {
        "matrix.toml",
        "results.sqlite",
        "results.artifacts",
    }


def test_a_second_run_skips_all_that_is_finished(finished):
    before = finished.numbers()
    attempts = finished.rows("select count(*) from attempt")
    finished("run")
    assert finished.rows("select count(*) from attempt") == attempts
    assert finished.numbers() == before
    assert finished.rows("select count(*) from results") == [(6,)]


def test_the_report_has_three_tables_in_every_format(finished):
    document = json.loads(finished.answer("report", "--format", "json"))
    assert len(document["tables"]) >= 3
    markdown = finished.answer("report", "--format", "markdown")
    assert "Two stages, augmented" in markdown
    assert "| " in markdown
    assert "(n=2)" in finished.answer("report", "--format", "markdown", "--table", "transfer") or "   2 |" in markdown
    assert finished.answer("report", "--format", "csv").count("\n") > 5
    assert "digits_high" in finished("report")


def test_plan_knows_what_is_done(finished):
    document = json.loads(finished.answer("plan", "--format", "json"))
    assert {cell["status"] for cell in document["cells"]} == {"completed"}
    assert len(document["cells"]) == 6


@pytest.mark.exhaustive  # test_faults_training.py kills real cells, test_scheduling_interruptions.py the command
def test_a_run_killed_again_and_again_ends_with_the_same_numbers(finished, tmp_path, cache):
    place = Bench(tmp_path, cache)
    for epochs in (1, 7):
        running = place.start("run")
        place.wait_for_epochs(epochs)
        running.kill()
        running.communicate()
        recorded = place.rows("select count(*) from history")[0][0]
        assert recorded >= epochs
    place("run")
    assert place.numbers() == finished.numbers()
    assert place.rows("select count(*) from results where status = 'completed'") == [(6,)]


@pytest.mark.exhaustive  # with the fake backend, which writes every state, in test_cli_noise.py
def test_a_cell_of_short_epochs_is_proved_to_go_on_and_not_only_to_begin_anew(tmp_path, cache):
    place = Bench(tmp_path, cache)
    cell = "strategy=careful,seed=0"
    found = json.loads(place("run", "--prove-resume", cell, "--set", "train_examples=50", "--format", "json"))
    assert found["verdict"] == "identical"
    assert (found["resumed_from_epoch"] or 0) >= found["killed_in_epoch"] - 1 > 0


@pytest.mark.exhaustive  # with the fake backend in test_faults_processes.py
def test_ctrl_c_stops_gracefully_and_the_next_run_goes_on(finished, tmp_path, cache):
    place = Bench(tmp_path, cache)
    running = place.start("run")
    place.wait_for_epochs(2)
    running.send_signal(signal.SIGINT)
    _, log = running.communicate()
    assert running.returncode == 130, log
    assert "Traceback" not in log
    assert "bench run" in log
    assert place.rows("select count(*) from results where status = 'running'") == [(0,)]
    place("run")
    assert place.numbers() == finished.numbers()


@pytest.mark.exhaustive  # with the fake backend in test_faults_processes.py
def test_a_second_run_on_the_same_database_is_refused(tmp_path, cache):
    place = Bench(tmp_path, cache)
    running = place.start("run")
    try:
        place.wait_for_epochs(1)
        refused = subprocess.run(
            place.command("run"),
            cwd=place.directory,
            env=place.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 75
        assert str(running.pid) in refused.stderr
    finally:
        running.send_signal(signal.SIGTERM)
        _, log = running.communicate()
    assert running.returncode == 143, log
