"""Rows 4, 5, 11, 16, 17, 18 and 29 of the fault matrix: processes that die, stop, or do not listen, at awkward moments."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys

import psutil
import pytest
from harness import Run, finish, processes_with, running, undisturbed
from scheduling_plans import fake_cell
from scheduling_runs import GuardianKiller, Listener, Place
from waiting import wait_until

pytestmark = pytest.mark.slow

ENDLESS = {"BENCH_FAKE_EPOCH_SECONDS": "60"}
TRAINS = "select count(*) from attempt where state = 'running' and worker_pid is not null"
HAS_EPOCHS = "select count(*) > 1 from epoch"
VICTIM = fake_cell(seed=0, epochs=4)
OTHER = fake_cell(seed=1, epochs=2)


@pytest.fixture(scope="module")
def clean():
    return undisturbed()


@pytest.fixture
def run(tmp_path):
    yield from running(tmp_path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_TESTING", "1")
    monkeypatch.setenv("BENCH_RUN_MARK", tmp_path.name)
    return Place(tmp_path)


def test_killed_when_all_is_done_but_said_to_nobody(run, clean):
    done = run.bench(BENCH_FAULT="report:1:kill9")
    assert done.returncode == -signal.SIGKILL
    run.wait_until_alone()
    finish(run, clean)
    assert run.rows("select count(*) from attempt") == [(len(clean),)]


# ---- 5: the guardian


def test_a_killed_guardian_leaves_not_even_a_grandchild(place, monkeypatch):
    monkeypatch.setenv("BENCH_FAULT", "batch:2:child")
    monkeypatch.setenv("BENCH_FAULT_MARK", str(place.folder / "struck"))
    assert place.run([VICTIM], GuardianKiller(place, monkeypatch), jobs=1).exit_code == 0
    assert [state for state, _ in place.attempts()] == ["crashed", "completed"]
    mark = f"BENCH_RUN_MARK={place.folder.name}"
    wait_until(lambda: not processes_with(mark), "nothing of the run lives")


# ---- 11: workers that do not listen when the run is asked to stop


class Interrupter(Listener):
    """Asks the run to stop as soon as a cell has finished an epoch, and no longer listens."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._struck = place.folder / "struck.0"

    def epoch(self, cell, event):
        if event.epoch == 1:
            wait_until(self._struck.exists)
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "fault", ["deaf", "stop", *(pytest.param(each, marks=pytest.mark.exhaustive) for each in ("hang", "spin"))]
)
def test_a_worker_that_ignores_the_end_is_killed_when_its_grace_is_over(place, monkeypatch, fault):
    monkeypatch.setenv("BENCH_FAULT", f"batch:5:{fault}")
    monkeypatch.setenv("BENCH_FAULT_MARK", str(place.folder / "struck"))
    assert place.run([VICTIM], Interrupter(place), grace_seconds=0.5).exit_code == 143
    assert place.attempts() == [("interrupted", "asked to stop; it ended without saving a newer state")]
    monkeypatch.delenv("BENCH_FAULT")
    assert place.run([VICTIM]).exit_code == 0
    assert place.rows("select resumed_from_epoch from attempt where state = 'completed'") == [(1,)]


def test_a_stopped_guardian_is_killed_with_its_group(place, monkeypatch):
    # its worker has not ended before it is asked to stop
    monkeypatch.setenv("BENCH_FAKE_GATE", f"2:{place.folder / 'gate'}")

    class Stopper(Listener):
        def epoch(self, cell, event):
            for (pid,) in place.rows("select guardian_pid from attempt where state = 'running'"):
                os.kill(pid, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGTERM)

    assert place.run([VICTIM], Stopper(), grace_seconds=0.5).exit_code == 143
    (place.folder / "gate").touch()
    assert place.run([VICTIM]).exit_code == 0


# ---- 16: Ctrl-C, as often as one likes, wherever it strikes


def on_terminal(run: Run, *arguments: str, **extra: str) -> tuple[subprocess.Popen[bytes], int]:
    """The command in the foreground of a terminal of its own, and the terminal's other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _FOREGROUND, sys.executable, "-m", "benchmark", *(arguments or ("run",))],
        cwd=run.folder,
        env={**run.environment(**extra), "BENCH_MACHINE": "test", "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


_FOREGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def read_until(terminal: int, word: str) -> str:
    """What was written to the terminal up to this word."""
    text = b""
    while word.encode() not in text:
        text += os.read(terminal, 1 << 16)
    return text.decode(errors="replace")


def read_all(terminal: int) -> str:
    """What was written to the terminal by everybody who has let go of it."""
    text = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 1 << 16):
            text += chunk
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode(errors="replace"))


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.exhaustive), 3])
def test_ctrl_c_on_a_terminal(run, clean, times):
    process, terminal = on_terminal(run, **run.held())
    run.wait_for(HAS_EPOCHS)
    os.write(terminal, b"\x03")
    said = read_until(terminal, "interrupted by SIGINT")
    for _ in range(times - 1):
        os.write(terminal, b"\x03")
    code = process.wait(timeout=240)
    said += read_all(terminal)
    assert code == 130, said
    assert "Traceback" not in said
    assert "goes on from here" in said or times > 1
    assert run.processes() == []
    finish(run, clean)


def wait_until_busy(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Waits until a process has used this much processor time, so that it is as far on a slow machine, or has ended."""

    def is_far() -> bool:
        used = psutil.Process(process.pid).cpu_times()
        return process.poll() is not None or used.user + used.system >= seconds

    wait_until(is_far, pause_seconds=0.002)


def test_ctrl_c_at_any_moment_ends_with_130_and_no_traceback(run, clean):
    codes = set()
    for busy in (0.1, 0.3, 0.5):
        process, terminal = on_terminal(run, BENCH_FAKE_EPOCH_SECONDS="0.02")
        wait_until_busy(process, busy)
        os.write(terminal, b"\x03")
        code = process.wait(timeout=240)
        said = read_all(terminal)
        # Python itself may still be starting, and then it is Python that shows where, and may end with a code of its own
        assert "Traceback" not in said or "benchmark" not in said, said
        codes.add(0 if "Fatal Python error" in said else code)
        assert run.processes() == []
    # before the command line listens the kernel ends the process itself: 130 for a shell
    assert codes <= {0, 130, -signal.SIGINT}
    finish(run, clean)


# ---- 17: pipes that nobody reads


@pytest.mark.parametrize(
    "pipe",
    [
        pytest.param("2>&1 | head -n 1", marks=pytest.mark.exhaustive),  # test_cli_run.py
        pytest.param(">&- 2>&-", marks=pytest.mark.exhaustive),
        "< /dev/null > /dev/full 2>&1",
        pytest.param("<&-", marks=pytest.mark.exhaustive),
    ],
)
def test_nobody_reads_and_the_run_goes_on_to_its_end(run, clean, pipe):
    shell = f'set -o pipefail; "{sys.executable}" -m benchmark run --machine test {pipe}'
    done = subprocess.run(
        ["bash", "-c", shell], cwd=run.folder, env=run.environment(), capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    run.check(clean)


# ---- 18: the undead


def test_what_was_stopped_and_wakes_up_after_its_replacement_is_dead_before_it_can_speak(run, clean):
    process = run.start(**ENDLESS)
    run.wait_for(TRAINS)
    rows = run.rows("select guardian_pid, worker_pid from attempt where state = 'running' and worker_pid is not null")
    for pids in rows:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.communicate()
    undead = {pid for pids in rows for pid in pids}
    assert undead & set(run.processes())
    finish(run, clean)
    for pid in undead:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    run.wait_until_alone()
    run.check(clean)


# ---- 29: many at once

STARTS = int(os.environ.get("BENCH_TEST_STARTS", "3"))
"""`make soak` starts twenty."""


def test_of_many_runs_that_start_at_once_exactly_one_runs(run, clean):
    runs = [run.start(**run.held(1)) for _ in range(STARTS)]
    wait_until(lambda: sum(process.poll() is None for process in runs) <= 1)
    (winner,) = [process for process in runs if process.poll() is None]
    run.wait_for(TRAINS)
    winner.terminate()
    said = [process.communicate(timeout=240)[1] for process in runs]
    assert sorted(process.returncode for process in runs) == [*[75] * (STARTS - 1), 143]
    assert all(f"process {winner.pid} on " in words for words, one in zip(said, runs, strict=True) if one is not winner)
    finish(run, clean)


def test_a_run_may_wait_for_another(run, clean):
    first = run.start(BENCH_FAKE_EPOCH_SECONDS="0.15")
    run.wait_for(TRAINS)
    done = run.call("run", "--machine", "test", "--wait")
    assert first.wait(timeout=240) == 0
    assert done.exit_code == 0, done.stderr
    assert run.rows("select count(*) from run") == [(2,)]
    run.check(clean)
