"""The real command line, killed and interrupted: everything dies with it, nothing is lost, the next run goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import pytest
from harness import finish, running, undisturbed
from scheduling_runs import is_dead
from waiting import wait_until

from benchmark.machine import cpu_cores

pytestmark = pytest.mark.slow

SLOW = {"BENCH_FAKE_EPOCH_SECONDS": "0.1"}
ENDLESS = {"BENCH_FAKE_EPOCH_SECONDS": "60"}
TRAINS = "select count(*) from attempt where state = 'running' and worker_pid is not null"
HAS_EPOCHS = "select count(*) > 1 from epoch"


@pytest.fixture(scope="module")
def clean():
    return undisturbed()


@pytest.fixture
def run(tmp_path):
    yield from running(tmp_path)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("expand:1", marks=pytest.mark.exhaustive),
        pytest.param("launch:1", marks=pytest.mark.exhaustive),
        "launch:2",
        pytest.param("commit:1", marks=pytest.mark.exhaustive),
        "commit:4",
    ],
)
def test_a_command_that_is_killed_takes_everything_with_it_and_loses_nothing(run, clean, fault):
    done = run.bench(BENCH_FAULT=f"{fault}:kill9")
    assert done.returncode == -signal.SIGKILL
    run.wait_until_alone()
    finish(run, clean)


def test_everything_is_dead_100_milliseconds_after_the_command_is_killed(run):
    def seconds_to_die() -> float:
        process = run.start(**ENDLESS)
        run.wait_for(TRAINS)
        family = run.processes()
        assert len(family) >= 4
        begun = time.monotonic()
        process.kill()
        # these alone: to look through all processes of a large machine takes longer than they may
        wait_until(lambda: all(map(is_dead, family)), pause_seconds=0.002)
        seconds = time.monotonic() - begun
        process.communicate()
        run.wait_until_alone()
        return seconds

    # what other programs do may delay one of them, and not all
    assert any(seconds_to_die() < 0.1 * _slack() for _ in range(20))


def test_an_attempt_of_a_killed_command_is_abandoned_and_goes_on(run, clean):
    process = run.start(**run.held())
    run.wait_for(HAS_EPOCHS)
    process.kill()
    process.communicate()
    finish(run, clean)
    assert run.rows("select count(*) > 0 from attempt where state = 'abandoned'") == [(1,)]
    assert run.rows("select count(*) > 0 from attempt where resumed_from_epoch > 0") == [(1,)]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.exhaustive),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 143, marks=pytest.mark.exhaustive),
    ],
    ids=str,
)
def test_a_signal_lets_workers_save_their_state(run, clean, number, code):
    process = run.start(**run.held())
    run.wait_for(HAS_EPOCHS)
    os.kill(process.pid, number)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in stderr
    assert "bench run" in stderr or "benchmark" in stderr
    assert run.processes() == []
    states = run.rows("select state, detail from attempt where state not in ('completed')")
    assert states
    assert {state for state, _ in states} == {"interrupted"}
    assert any("state is saved up to epoch" in detail for _, detail in states)
    finish(run, clean)


def test_a_second_signal_does_not_wait(run, clean):
    struck = run.folder / "struck"
    process = run.start(BENCH_FAULT="batch:2:deaf", BENCH_FAULT_MARK=str(struck), BENCH_FAKE_EPOCH_SECONDS="2")
    wait_until(struck.with_name("struck.0").exists)
    os.kill(process.pid, signal.SIGINT)
    while "interrupted by SIGINT" not in (line := process.stderr.readline()):
        assert line
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    # the grace that the first one gives is a minute
    assert time.monotonic() - begun < 30
    assert process.returncode == 130
    assert run.processes() == []
    finish(run, clean)


def test_a_terminal_that_goes_away_stops_nothing(run, clean):
    process = run.start(**SLOW)
    process.stdout.close()
    process.stderr.close()
    assert process.wait() in {0, 1}
    finish(run, clean)


def test_a_template_that_is_killed_harms_no_running_worker(run, clean):
    process = run.start("run", "--machine", "test", "-v", "--jobs", "2", **run.held())
    # nobody is just being forked
    both = f"count(*) = {min(2, cpu_cores())}"
    run.wait_for(f"select {both} from attempt where state = 'running' and worker_pid is not null")
    (template,) = [pid for pid in run.processes() if _is_template(pid)]
    os.kill(template, signal.SIGKILL)
    run.let_on()
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "template process died" in stderr
    assert run.rows("select count(*) from attempt where state != 'completed'") == [(0,)]
    run.check(clean)


def test_after_three_deaths_of_the_template_workers_are_spawned(run, clean):
    done = run.call("run", "--machine", "test", "-v", BENCH_FAULT="template.fork:1:kill9")
    assert done.exit_code == 0, done.stderr
    assert "died 3 times" in done.stderr
    run.check(clean)


def test_a_template_that_cannot_import_is_not_forked(run, clean):
    done = run.call("run", "--machine", "test", "-v", BENCH_FAULT="template.preload:1:raise:ImportError")
    assert done.exit_code == 0, done.stderr
    assert "unfit" in done.stderr
    run.check(clean)


@pytest.mark.exhaustive  # test_scheduling_loop.py
def test_spawned_workers_give_the_same_numbers(run, clean):
    done = run.call("run", "--machine", "test", "--isolation", "spawn")
    assert done.exit_code == 0, done.stderr
    run.check(clean)


def _is_template(pid: int) -> bool:
    # Its guardians and workers have its command line too, but also a parent that has it.
    def says(number: int) -> bool:
        return b"template_process" in Path(f"/proc/{number}/cmdline").read_bytes()

    with contextlib.suppress(OSError):  # some come and go
        parent = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        return says(pid) and not says(parent)
    return False


def _slack() -> float:
    """More when other programs keep this machine busy."""
    return 1.0 + 2.0 * os.getloadavg()[0] / (os.cpu_count() or 1)


KILLS = int(os.environ.get("BENCH_TEST_KILLS", "3"))


@pytest.mark.exhaustive
def test_random_kills_of_anything_lose_nothing(run, clean):
    """`make soak` makes half an hour of it."""
    random = Random(20)
    acknowledged: dict[tuple, tuple] = {}
    for _ in range(KILLS):
        process = run.start(BENCH_FAKE_EPOCH_SECONDS="0.08")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=random.uniform(0.3, 1.2) * _slack())
        victims = run.processes()
        if victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(victims), signal.SIGKILL)
            time.sleep(random.uniform(0.0, 0.1))
        process.kill()
        process.communicate()
        run.wait_until_alone()
        if run.database.exists():
            now = run.epochs()
            assert {key: now[key] for key in acknowledged} == acknowledged
            acknowledged = now
        if process.returncode in {0, 3}:
            shutil.rmtree(run.folder / "results.artifacts")
            run.database.unlink()
            acknowledged = {}
    finish(run, clean)
