"""Tests wait for events: time passes in one helper, whatever else the machine does meanwhile."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from waiting import wait_until

TESTS = Path(__file__).parent
MAY_SLEEP = {
    "waiting.py": "the one place",
    "cluster_soak.py": "the same on the nodes of a cluster",
    "standin_agent.py": "a program that tests place on nodes, where it waits to be ended",
    "test_cluster_faults.py": "a run that is stopped, or a node that is cut off, for longer than a lease",
    "test_cluster_losses.py": "a node that comes back again and again",
    "test_ray_cluster_runs.py": "a node that hangs for longer than its lease, a server that is away for a minute",
    "soak.py": "strikes at moments by chance, for half an hour; no part of `make test`",
    "test_scheduling_interruptions.py": "the same in small, left out by `make test`",
}


def sleeps(path: Path) -> list[int]:
    """Lines of a file in which this process sleeps; programs that tests write and start are texts, and are not meant."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if "sleep" in {getattr(call.func, "attr", ""), getattr(call.func, "id", "")}]


def test_tests_sleep_in_one_place_only():
    assert {path.name for path in TESTS.glob("*.py") if sleeps(path)} == set(MAY_SLEEP)


def test_a_sleep_is_seen_however_it_is_imported(tmp_path):
    file = tmp_path / "test.py"
    file.write_text("import time\nfrom time import sleep\ntime.sleep(1)\nsleep(2)\n'time.sleep(3)'\n")
    assert sleeps(file) == [3, 4]


def test_what_does_not_happen_fails_with_what_was_waited_for(monkeypatch):
    monkeypatch.setattr("waiting.PATIENCE_SECONDS", 0.01)
    with pytest.raises(AssertionError, match="the moon"):
        wait_until(lambda: False, "the moon")
