from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import psutil
import pytest

from benchmark.scheduling.processes import fork_safety
from benchmark.scheduling.processes.environment import template_environment
from benchmark.scheduling.processes.fork_safety import findings_of_child, objections, settled_findings

FIT = {"threads": ["python"], "imported": True, "initialised": False, "files": ["/dev/null", "pipe:[1]"]}


def test_a_fit_template_meets_no_objection():
    assert objections("tensorflow", FIT) == []
    assert objections("tensorflow", {**FIT, "threads": ["python", "jemalloc_bg_thd"]}) == []
    assert objections("fake", {**FIT, "imported": False}) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": ["python", "python"]}, "a thread 'python' runs"),
        ({"imported": False}, "TensorFlow is not imported"),
        ({"initialised": True}, "TensorFlow is initialised already"),
        ({"files": ["/dev/nvidia0"]}, "/dev/nvidia0"),
        ({"files": ["/home/me/results.sqlite-wal"]}, "results.sqlite-wal"),
        ({"child": "no answer"}, "did not answer"),
    ],
)
def test_an_unfit_template_is_refused_with_the_reason(change, words):
    (reason,) = objections("tensorflow", {**FIT, **change})
    assert words in reason


def findings_after(*statements: str, backend: str = "tensorflow") -> list[dict]:
    """What is found in one process after each of these."""
    look = f"print(json.dumps(findings_of_child({backend!r})), flush=True)"
    lines = ["import json", "from benchmark.scheduling.processes.fork_safety import findings_of_child"]
    for statement in statements:
        lines += [statement, look]
    environment = template_environment(os.environ, backend)
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_thread_is_found():
    (found,) = findings_after(
        "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    )
    assert len(found["threads"]) == 2


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([FIT], FIT),
        ([{**FIT, "threads": ["python", "python"]}, FIT], FIT),
        ([{"child": "no answer"}] * 3 + [FIT], {"child": "no answer"}),
    ],
)
def test_what_a_moment_ago_spoke_against_forking_is_looked_at_again(monkeypatch, answers, expected):
    asked = iter(answers)
    monkeypatch.setattr(fork_safety, "findings_of_child", lambda _: next(asked))
    monkeypatch.setattr(fork_safety.time, "sleep", lambda _: None)
    assert settled_findings("tensorflow") == expected


def test_an_open_database_is_found(tmp_path):
    (found,) = findings_after(
        f"import sqlite3; c = sqlite3.connect({str(tmp_path / 'r.sqlite')!r}); c.execute('create table t(x)')"
    )
    assert any("r.sqlite" in reason for reason in objections("fake", found))


def test_the_child_that_looks_round_is_waited_for():
    before = set(psutil.Process().children())
    findings_of_child("fake")
    assert set(psutil.Process().children()) <= before


@pytest.mark.tf
@pytest.mark.parametrize(
    ("backend", "operation", "words"),
    [
        ("tensorflow", "tensorflow.zeros(3) + 1", "TensorFlow is initialised already"),
        ("jax", "jax.numpy.zeros(3) + 1", "JAX is initialised already"),
        # on the CPU PyTorch has no state of its own, but threads as soon as it computes on more than one
        ("torch", "torch.set_num_threads(2); torch.ones(512, 512) @ torch.ones(512, 512)", "a thread "),
    ],
)
def test_the_real_template_is_fit_and_becomes_unfit_by_an_operation(backend, operation, words):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"the extra [{backend}] is not installed")
    imports = f"import {backend}, keras, benchmark.training.worker"
    before, after = findings_after(imports, operation, backend=backend)
    assert objections(backend, before) == []
    # a child of what has threads may also find a lock that nobody is left to open
    reasons = objections(backend, after)
    assert any(reason.startswith((words, "a process forked from it did not answer")) for reason in reasons), after
