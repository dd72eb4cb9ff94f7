"""The guardian as a process: what it does with its worker, its group, and its scheduler's silence."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

import pytest
from waiting import PATIENCE_SECONDS, wait_until

from benchmark.events import Exited, Launched, from_line
from benchmark.scheduling.processes import guardian
from benchmark.scheduling.processes.guarded_process import start_guardian
from benchmark.scheduling.processes.guardian import BoundedLog

PYTHON = [sys.executable, "-I", "-S", "-c"]


@pytest.fixture
def guarded(tmp_path):
    """Starts a Python program under a guardian; everything is gone afterwards."""
    started = []

    def start(code: str):
        lines = start_guardian([*PYTHON, code], dict(os.environ), tmp_path / "log.txt")
        started.append(lines)
        return lines

    yield start
    for lines in started:
        lines.close()


def said(lines, kind):
    """Waits for what the guardian says."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and not lines.report.closed:
        select.select([lines.report.fd], [], [], 0.05)
        for line in lines.report.read():
            event = from_line(line)
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def is_gone_soon(pid: int) -> bool:
    return wait_until(lambda: not alive(pid), f"process {pid} is gone", pause_seconds=0.005)


def test_the_exit_status_and_the_usage_are_reported(guarded):
    exited = said(guarded("x = bytearray(50 << 20); raise SystemExit(7)"), Exited)
    assert (exited.exit_code, exited.signal) == (7, 0)
    assert exited.peak_rss_bytes > 50 << 20


def test_a_signal_is_told_from_a_status(guarded):
    exited = said(guarded("import os; os.abort()"), Exited)
    assert (exited.exit_code, exited.signal) == (0, signal.SIGABRT)


def test_the_worker_is_named_before_it_does_anything(guarded):
    launched = said(guarded("import time; time.sleep(600)"), Launched)
    assert os.getpgid(launched.worker_pid) == launched.guardian_pid
    assert guardian.start_ticks(launched.worker_pid) == launched.worker_start_ticks > 0


SLEEPERS = "import subprocess, time; subprocess.Popen(['sleep', '600']); print('up', flush=True); time.sleep(600)"


def group_of(launched: Launched) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "-g", str(launched.guardian_pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listed.stdout.split()]


def up(path) -> str:
    """Waits until the worker has written a line, and gives it."""
    return wait_until(lambda: path.exists() and "\n" in (text := path.read_text()) and text)


def test_silence_of_the_scheduler_kills_the_whole_group(guarded, tmp_path):
    lines = guarded(SLEEPERS)
    launched = said(lines, Launched)
    up(tmp_path / "log.txt")
    group = group_of(launched)
    assert len(group) == 3
    os.close(lines.life)
    lines.life = -1
    assert all(is_gone_soon(pid) for pid in group)


def test_what_a_worker_leaves_is_killed_with_its_end(guarded, tmp_path):
    lines = guarded("import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)")
    said(lines, Exited)
    assert is_gone_soon(int((tmp_path / "log.txt").read_text()))


ESCAPE = """
import os, time
read, written = os.pipe()
if not os.fork():
    os.setsid()
    if not os.fork():
        print(os.getpid(), flush=True)
        os.write(written, b".")
        time.sleep(600)
    os._exit(0)
os.read(read, 1)
time.sleep({})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process that makes a session of its own has left")
@pytest.mark.parametrize("end", ["the worker's", "the scheduler's"])
def test_a_grandchild_in_a_session_of_its_own_is_killed_too(guarded, tmp_path, end):
    lines = guarded(ESCAPE.format(0 if end == "the worker's" else 600))
    escaped = int(up(tmp_path / "log.txt"))
    if end == "the worker's":
        said(lines, Exited)
    else:
        os.close(lines.life)
        lines.life = -1
    assert is_gone_soon(escaped)


def test_a_worker_dies_with_its_guardian(guarded):
    launched = said(guarded("import time; time.sleep(600)"), Launched)
    os.kill(launched.guardian_pid, signal.SIGKILL)
    assert is_gone_soon(launched.worker_pid)


@pytest.mark.parametrize(("order", "number"), [(guardian.TERMINATE, 15), (guardian.KILL, 9), (guardian.DUMP, 10)])
def test_orders_become_signals(guarded, order, number):
    lines = guarded("import time; time.sleep(600)")
    said(lines, Launched)
    lines.order(order)
    assert said(lines, Exited).signal == number


def test_an_order_that_comes_before_the_worker_is_ready_is_not_lost(guarded):
    for _ in range(5):
        lines = guarded("import time; time.sleep(600)")
        lines.order(guardian.TERMINATE)
        assert said(lines, Exited).signal == signal.SIGTERM


def test_signals_for_everybody_do_not_end_the_guardian(guarded):
    lines = guarded("import time; time.sleep(600)")
    launched = said(lines, Launched)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(launched.guardian_pid, number)
    # it still hears its orders, and its worker did not end by one of these
    lines.order(guardian.KILL)
    assert said(lines, Exited).signal == signal.SIGKILL


def test_a_worker_inherits_no_descriptor_but_its_own(guarded, tmp_path):
    with open(tmp_path / "results.sqlite", "w") as database:  # noqa: PTH123
        os.set_inheritable(database.fileno(), True)
        said(
            guarded("import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]])"),
            Exited,
        )
    assert "sqlite" not in (tmp_path / "log.txt").read_text()


def test_a_log_keeps_the_end_and_stays_small(tmp_path):
    log = BoundedLog(str(tmp_path / "log.txt"), limit=1000)
    assert not list(tmp_path.iterdir())
    for number in range(1000):
        log.write(b"%04d\n" % number)
    kept = (tmp_path / "log.old.txt").read_bytes() + (tmp_path / "log.txt").read_bytes()
    assert 1000 <= len(kept) <= 2000
    assert kept.endswith(b"0998\n0999\n")
    assert kept.count(b"\n") * 5 == len(kept)


def test_a_log_that_cannot_be_written_only_loses_output(tmp_path):
    BoundedLog(str(tmp_path / "missing" / "log.txt")).write(b"words")
