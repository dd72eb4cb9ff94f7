from __future__ import annotations

import pytest

from benchmark.scheduling.processes.environment import (
    THREAD_VARIABLES,
    base_environment,
    template_environment,
    worker_environment,
)

SHELL = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LC_ALL": "C",
    "TFDS_DATA_DIR": "/data",
    "BENCH_CACHE": "/cache",
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "KERAS_BACKEND": "torch",
    "AWS_SECRET_ACCESS_KEY": "canary",
    "BENCH_DB": "postgresql://me:canary@host/db",
    "CUDA_VISIBLE_DEVICES": "0,1",
}


@pytest.mark.parametrize("name", THREAD_VARIABLES)
def test_threads_come_from_the_plan_whatever_the_shell_says(name):
    assert worker_environment(SHELL, "tensorflow", 3, None)[name] == "3"


def test_a_cpu_cell_sees_no_gpu_and_a_gpu_cell_one():
    assert worker_environment(SHELL, "tensorflow", 1, None)["CUDA_VISIBLE_DEVICES"] == "-1"
    assert worker_environment(SHELL, "tensorflow", 1, "GPU-1")["CUDA_VISIBLE_DEVICES"] == "GPU-1"


@pytest.mark.parametrize("make", [base_environment, template_environment])
def test_secrets_stay_with_the_scheduler(make):
    assert "canary" not in str(make(SHELL, "tensorflow"))


def test_what_a_worker_needs_is_inherited():
    environment = worker_environment(SHELL, "tensorflow", 1, None)
    assert {name: environment[name] for name in ("PATH", "HOME", "LC_ALL", "TFDS_DATA_DIR", "BENCH_CACHE")} == {
        name: SHELL[name] for name in ("PATH", "HOME", "LC_ALL", "TFDS_DATA_DIR", "BENCH_CACHE")
    }


def test_the_backend_is_the_cells():
    assert worker_environment(SHELL, "jax", 1, None)["KERAS_BACKEND"] == "jax"
    assert "KERAS_BACKEND" not in worker_environment(SHELL, "fake", 1, None)
