"""Rows 44, 51 and 80 with real cells through the real command line: exact resume, both ways of making a worker, data."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess

import pytest
from harness import Run, running

pytestmark = [pytest.mark.tf, pytest.mark.slow]

MATRIX = """\
[matrix]
dataset = "digits"
model = "tiny"
strategy = "intricate"
seed = [0, 1, 2]

[[matrix.include]]
dataset = "digits"
model = "tiny"
strategy = "intricate"
seed = 3
precision = "mixed_bfloat16"

[defaults]
batch_size = 32
image_size = 16
train_examples = 160
test_examples = 60

[model.tiny]
extends = "advanced_cnn"
filters = [4, 8]
stage_dropout = [0.2, 0.3]
dense_units = 8

[strategy.intricate]
[[strategy.intricate.stage]]
train = "last:8"
epochs = 3
augment = { flip = "horizontal", rotation = 0.1 }
early_stopping = { monitor = "val_accuracy", patience = 2 }
reduce_learning_rate = { monitor = "val_loss", factor = 0.5, patience = 1, min_learning_rate = 1e-6 }
[[strategy.intricate.stage]]
train = "all"
epochs = 2
optimizer = "sgd"
momentum = 0.9
learning_rate = 0.05
"""
"""All that has a memory of its own: dropout, batch normalisation, augmentation, two optimizers, both callbacks."""

FAULTS = {0: "epoch.sent:2:kill9", 1: "batch:13:kill9", 2: "epoch.sent:3:kill9", 3: "batch:18:kill9"}
"""By seed: at the end of an epoch, inside one, between the stages, inside the second stage; five batches an epoch."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return {"BENCH_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def clean(tmp_path_factory, cache):
    """What undisturbed cells of these seeds come to."""

    def come_to(seeds: list[int]) -> dict[int, tuple]:
        with contextlib.contextmanager(running)(tmp_path_factory.mktemp("clean"), MATRIX) as run:
            done = bench(run, cache, *chosen(seeds))
            assert done.returncode == 0, done.stderr
            return numbers(run)

    return come_to


@pytest.fixture
def run(tmp_path):
    yield from running(tmp_path, MATRIX)


def bench(run: Run, cache: dict[str, str], *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    process = run.start("run", "--machine", "test", *arguments, **cache, **extra)
    stdout, stderr = process.communicate(timeout=580)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def numbers(run: Run) -> dict[int, tuple]:
    """By seed: every epoch's numbers with the test's, as a digest, and the digest of the kept weights."""
    rows = run.rows(
        "select cell.seed, execution.digest, artifact.sha256 from execution join cell using (cell_id) "
        "join artifact using (execution_id) where kind = 'weights' and execution.status = 'completed'"
    )
    return {seed: facts for seed, *facts in rows}


def chosen(seeds: list[int]) -> list[str]:
    return [part for seed in seeds for part in ("--select", f"seed={seed}")]


def faults(run: Run, seeds: list[int]) -> str:
    plan = json.loads(run.call("plan", "--format", "json").stdout)
    cells = {cell["seed"]: cell["cell_id"] for cell in plan["cells"]}
    return ",".join(f"{FAULTS[seed]}@{cells[seed]}" for seed in seeds)


@pytest.mark.parametrize(
    ("isolation", "seeds"),
    [
        ("fork", [1, 2]),
        # at every point in one process: test_training_worker.py
        pytest.param("fork", [0, 3], marks=pytest.mark.exhaustive),
        pytest.param("spawn", [1, 3], marks=pytest.mark.exhaustive),
    ],
)
def test_a_killed_cell_goes_on_to_the_same_bits(run, clean, cache, isolation, seeds):
    """The undisturbed cells were forked: so both ways of making a worker give the same bits, whatever came before."""
    options = ("--isolation", isolation, *chosen(seeds))
    mark = {"BENCH_FAULT": faults(run, seeds), "BENCH_FAULT_MARK": str(run.folder / "struck")}
    done = bench(run, cache, *options, **mark)
    assert done.returncode == 0, done.stderr
    states = run.rows("select state, count(*) from attempt group by 1 order by 1")
    assert states == [("completed", len(seeds)), ("crashed", len(seeds))]
    assert run.rows("select count(*) > 0 from attempt where resumed_from_epoch > 0") == [(1,)]
    assert run.rows("select distinct isolation from attempt") == [(isolation,)], done.stderr
    assert numbers(run) == clean(seeds)
    assert run.rows("select count(*) from execution where resumed and timing_valid") == [(0,)]


SCRIPTS = """\
[matrix]
dataset = "digits"
model = "own"
strategy = "scratch"
seed = [0, 1]
[model.own]
command = ["python", "own.py"]
"""
WAITS = """\
import time
from pathlib import Path
from benchmark import cell
images = cell.test[0]
cell.epoch(train_loss=1.0)
while not Path("gone").exists():
    time.sleep(0.01)
cell.finish(probabilities=[[0.1] * 10] * len(images))
"""


def test_data_that_vanish_in_mid_run_end_the_cells_that_need_them(tmp_path):
    """That a network ends so too: test_training_worker.py."""
    with contextlib.contextmanager(running)(tmp_path / "run", SCRIPTS) as run:
        (run.folder / "own.py").write_text(WAITS)
        process = run.start("run", "--machine", "test", "--jobs", "1", "--allow-plugins")
        run.wait_for("select count(*) > 0 from epoch")
        shutil.rmtree(run.folder / "cache")
        (run.folder / "gone").touch()
        _, stderr = process.communicate(timeout=580)
        assert process.returncode == 3, stderr
        rows = run.rows("select state, detail from attempt order by attempt_id")
        assert [state for state, _ in rows] == ["completed", "data_error"]
        assert "bench prepare" in rows[1][1]
