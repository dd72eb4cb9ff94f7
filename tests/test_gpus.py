"""GPUs, on invented ones: who gets which, what a worker sees of them, and what happens when one is lost."""

from __future__ import annotations

import importlib.util

import pytest
from harness import running
from scheduling_plans import fake_cell
from scheduling_runs import Place
from training_cells import cell, job, run_worker

from benchmark import events, machine, machine_load
from benchmark.events import EpochFinished
from benchmark.scheduling.processes.environment import forks_safely, template_environment, worker_environment

MATRIX = """\
[matrix]
dataset = "digits_low"
model = "simple_cnn"
strategy = "scratch"
seed = [0, 1, 2, 3]
backend = "fake"
device = ["gpu"]

[defaults]
epochs = 3
"""
TWO = {"BENCH_TEST_GPUS": "A,B"}


@pytest.fixture
def run(tmp_path):
    """A run in this process, which otherwise counts its GPUs once for all."""
    machine._gpus.cache_clear()
    yield from running(tmp_path, MATRIX)
    machine._gpus.cache_clear()


def attempts(run):
    """(GPU, what the worker saw, begin, end, state) of each attempt, in order."""
    rows = run.rows("select gpu, device_name, started_utc, finished_utc, state from attempt order by attempt_id")
    assert rows
    return rows


def most_at_once(rows):
    """How many attempts of these were under way together, as far as the recorded times tell."""
    return max(sum(other[2] <= row[2] < other[3] for other in rows) for row in rows)


def test_each_gpu_serves_one_cell_at_a_time_and_its_worker_sees_no_other(run):
    done = run.call("run", "--machine", "test", **TWO)
    assert done.exit_code == 0, done.stderr
    rows = attempts(run)
    assert {row[:2] for row in rows} <= {(0, "GPU-A"), (1, "GPU-B")}
    for gpu in {row[0] for row in rows}:
        assert most_at_once([row for row in rows if row[0] == gpu]) == 1
    assert run.rows("select gpu_names, gpu_driver from run") == [("A, B", "0")]


@pytest.mark.skipif(machine.cpu_cores() < 2, reason="on one core one cell runs at a time")
def test_cells_share_a_gpu_when_that_is_asked_for_and_their_timings_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TESTING", "1")
    monkeypatch.setattr(machine, "gpu_count", lambda: 1)
    monkeypatch.setattr(machine_load, "disturbance", lambda *_: None)
    place = Place(tmp_path)
    cells = [fake_cell(device="gpu", seed=seed, epochs=20) for seed in (0, 1)]
    assert place.run(cells[:1]).exit_code == 0
    assert place.rows("select neighbours, timing_valid from attempt join execution using (execution_id)") == [(0, 1)]
    assert place.run(cells, rerun=True, gpu_share=2).exit_code == 0
    rows = place.rows("select gpu, timing_valid from attempt join execution using (execution_id)")
    assert rows[1:] == [(0, 0), (0, 0)]
    assert place.rows("select max(neighbours) from attempt") == [(1,)]


def test_a_gpu_that_is_not_there_is_left_out_and_nothing_falls_back_to_the_cpu(run):
    done = run.call("plan", "--set", 'device="gpu:1"', BENCH_TEST_GPUS="A")
    assert "this machine has 1 GPU" in done.stdout
    assert "0 cells" in done.stdout


def test_a_lost_gpu_fails_its_cell_and_the_others_go_on_with_the_next_one(run):
    first = run.call("plan", "--format", "json", **TWO).stdout
    lost = next(part for part in first.split('"') if len(part) == 20 and part.isalnum())
    done = run.call("run", "--machine", "test", "--jobs", "1", BENCH_FAULT=f"batch:2:lost@{lost}", **TWO)
    assert done.exit_code == 3, done.stderr
    assert "GPU 0 was lost 2 times; nothing more runs on it" in done.stderr
    statuses = dict(run.rows("select cell_id, coalesce(cause, status) from execution"))
    assert statuses.pop(lost) == "device_lost"
    assert set(statuses.values()) == {"completed"}
    assert [row[0] for row in attempts(run) if row[4] == "device_lost"] == [0, 0, 1]
    assert {row[0] for row in attempts(run)[2:]} == {1}


def test_a_gpu_without_memory_left_gives_its_cell_one_more_try(run):
    done = run.call("run", "--machine", "test", "--jobs", "1", BENCH_FAULT="batch:2:full_gpu", BENCH_TEST_GPUS="A")
    assert done.exit_code == 3
    assert run.rows("select distinct cause from execution where status = 'failed'") == [("oom",)]
    assert [state for *_, state in attempts(run)][:2] == ["oom", "oom"]


@pytest.mark.parametrize(
    ("setting", "visible"),
    [
        (None, ["GPU-a1", "GPU-b2", "GPU-b3"]),
        ("", []),
        ("-1", []),
        ("2,0", ["GPU-b3", "GPU-a1"]),
        ("0,7,1", ["GPU-a1"]),
        ("GPU-b2", ["GPU-b2"]),
        ("GPU-a", ["GPU-a1"]),
        ("GPU-b", []),
        ("1,1", ["GPU-b2"]),
        ("MIG-x,0", ["MIG-x", "GPU-a1"]),
    ],
)
def test_only_gpus_that_the_shell_leaves_visible_are_there(setting, visible):
    assert machine.visible_devices(setting, ["GPU-a1", "GPU-b2", "GPU-b3"]) == visible


def test_a_worker_sees_its_gpu_by_its_uuid_and_takes_no_more_memory_than_it_needs():
    seen = worker_environment({"CUDA_VISIBLE_DEVICES": "3"}, "jax", 1, "GPU-b2")
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["XLA_PYTHON_CLIENT_PREALLOCATE"]) == ("GPU-b2", "false")
    assert worker_environment({}, "torch", 1, "GPU-b2")["KERAS_TORCH_DEVICE"] == "cuda"
    assert worker_environment({}, "torch", 1, None)["KERAS_TORCH_DEVICE"] == "cpu"


def test_pytorch_on_a_gpu_is_never_forked_because_keras_asks_for_the_device_when_it_is_imported():
    assert template_environment({}, "torch")["KERAS_TORCH_DEVICE"] == "cpu"
    assert not forks_safely("torch", "gpu")
    assert all(forks_safely(*which) for which in (("torch", "cpu"), ("tensorflow", "gpu"), ("jax", "gpu")))


@pytest.mark.tf
@pytest.mark.skipif(machine.gpu_count() > 0, reason="there is a GPU here")
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_gpu_cell_whose_process_sees_no_gpu_fails_and_trains_nothing(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"the extra [{backend}] is not installed")
    placed = job(cell(device="gpu", device_kind="gpu", backend=backend), tmp_path / "1", None, gpu=0)
    ended = run_worker(placed, backend=backend, CUDA_VISIBLE_DEVICES="GPU-a1")
    failed = ended.one(events.Failed)
    assert failed.cause == "device_lost"
    assert "the backend sees no GPU" in failed.message
    assert not ended.all(EpochFinished)
