from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from waiting import PATIENCE_SECONDS

from benchmark import machine
from benchmark.results.records import StaleAttempt
from benchmark.scheduling.processes.leftover_processes import kill_leftovers


def leftover(**changes) -> StaleAttempt:
    facts = {"boot_id": "now", "guardian_pid": 100, "worker_pid": 101, "worker_start_ticks": 7, **changes}
    return StaleAttempt(1, 1, "cell", 1, **facts)


@pytest.fixture
def swept(monkeypatch):
    """What is killed for an attempt, on a machine where process 101 has these facts."""

    def sweep(stale: StaleAttempt, *, ticks: int | None = 7, group: int = 100) -> list[tuple[int, int]]:
        killed: list[tuple[int, int]] = []
        monkeypatch.setattr(machine, "boot_id", lambda: "now")
        monkeypatch.setattr(machine, "process_start_ticks", lambda pid: ticks)
        monkeypatch.setattr(os, "getpgid", lambda pid: group)
        monkeypatch.setattr(os, "killpg", lambda pid, number: killed.append((pid, number)))
        kill_leftovers([stale])
        return killed

    return sweep


def test_a_worker_that_is_provably_ours_is_killed_with_its_group(swept):
    assert swept(leftover()) == [(100, signal.SIGKILL)]


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"boot_id": "before the reboot"}, {}),
        ({"boot_id": None}, {}),
        ({"worker_pid": None}, {}),
        ({"guardian_pid": None}, {}),
        ({}, {"ticks": 8}),
        ({}, {"ticks": None}),
        ({}, {"group": 55}),
    ],
)
def test_a_stranger_with_the_same_number_is_not_touched(swept, changes, facts):
    assert swept(leftover(**changes), **facts) == []


def test_a_real_leftover_dies():
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    stale = leftover(
        boot_id=machine.boot_id(),
        guardian_pid=sleeper.pid,
        worker_pid=sleeper.pid,
        worker_start_ticks=machine.process_start_ticks(sleeper.pid),
    )
    assert os.getpgid(sleeper.pid) == sleeper.pid
    assert kill_leftovers([stale]) == 1
    assert sleeper.wait(PATIENCE_SECONDS) == -signal.SIGKILL
