from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmark import machine, machine_load
from benchmark.git_repository import git_state
from benchmark.machine_load import LoadSample, disturbance


def sample(at: float, *, slept: float = 0.0, busy: float | None = 0.0, steal: float = 0.0) -> LoadSample:
    return LoadSample(at, at + slept, busy, steal)


def test_facts_name_this_machine():
    facts = machine.facts()
    assert facts.cpu_cores == len(machine.available_cores()) >= 1
    assert facts.memory_bytes > 2**28
    assert facts.cpu_model
    assert facts.boot_id == machine.boot_id()


def test_a_process_is_named_by_id_and_start_and_a_dead_one_has_none():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        ticks = machine.process_start_ticks(child.pid)
        assert ticks is not None
        assert ticks >= (machine.process_start_ticks(os.getpid()) or 0)
    finally:
        child.communicate(b"\n")
    assert machine.process_start_ticks(child.pid) is None


def test_versions_come_without_importing_and_missing_packages_are_left_out():
    versions = machine.package_versions(["click", "no-such-package-here"])
    assert list(versions) == ["click"]


@pytest.mark.skipif(sys.platform != "linux", reason="there is /proc on Linux only")
def test_the_libraries_of_a_process_are_those_it_was_started_with_whatever_was_imported_since():
    code = "from benchmark import machine; import os; os.environ['LD_LIBRARY_PATH'] = '/cv2/lib64'; print(machine.library_variables())"
    around = {**os.environ, "LD_LIBRARY_PATH": "/opt/cuda"}
    done = subprocess.run([sys.executable, "-c", code], env=around, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "LD_LIBRARY_PATH=/opt/cuda"


def test_git_state_outside_a_repository_is_unknown(tmp_path):
    assert git_state(tmp_path) == (None, None)


def test_git_state_knows_the_commit_and_whether_tracked_files_changed(tmp_path):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "one")
    commit, dirty = git_state(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == (commit, True)


def test_a_quiet_machine_disturbs_nothing():
    assert disturbance(sample(0, busy=0), sample(10, busy=19.9), own_seconds=19, cores=2) is None


def test_busy_neighbours_disturb_a_timing():
    assert "other programs" in str(disturbance(sample(0, busy=0), sample(10, busy=20), own_seconds=10, cores=2))


def test_a_hypervisor_that_takes_time_disturbs_a_timing():
    assert "hypervisor" in str(disturbance(sample(0), sample(10, steal=2), own_seconds=0, cores=2))


def test_a_machine_that_slept_disturbs_a_timing():
    assert "slept" in str(disturbance(sample(0), sample(10, slept=60), own_seconds=0, cores=2))


@pytest.mark.parametrize("busy", [None, 0.0])
def test_a_machine_without_proc_is_never_called_disturbed(busy):
    assert disturbance(sample(0, busy=busy), sample(10, busy=None), own_seconds=0, cores=2) is None


def test_load_samples_move_forward():
    first, second = machine_load.load_sample(), machine_load.load_sample()
    assert second.monotonic_seconds >= first.monotonic_seconds
    assert first.busy_seconds is None or second.busy_seconds >= first.busy_seconds
