"""Hostile moments of runs on stand-in nodes, each with real processes and a real server."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_workplace import Workplace
from simulated_cluster import CHAINED, Cluster, begun, digests_at_home, parent_of, pids, stand_ins
from waiting import PATIENCE_SECONDS, wait_until

from benchmark.results.store.database import open_database

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.exhaustive,
    pytest.mark.parametrize("target", ["postgresql"], indirect=True),
]


@pytest.fixture
def cluster(tmp_path, target):
    place = Workplace(tmp_path / "place")
    place.directory.mkdir()
    place.write(CHAINED)
    cluster = Cluster(place, target)
    yield cluster
    for pid in cluster.processes():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """The digests of the same cells, run on one computer."""
    return digests_at_home(tmp_path_factory.mktemp("home"), CHAINED)


def process_of(cluster: Cluster, run: subprocess.Popen[str], module: str) -> int:
    """A child of the run, by its module."""
    return next(
        pid
        for pid in cluster.processes()
        if parent_of(pid) == run.pid and module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def test_a_run_that_was_stopped_for_longer_than_the_lease_takes_nobody_for_lost(cluster, gate, at_home):
    run = cluster.start("--lease", "2s", BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    run.send_signal(signal.SIGSTOP)
    gate.touch()
    time.sleep(6)
    run.send_signal(signal.SIGCONT)
    assert run.wait(PATIENCE_SECONDS) == 0, cluster.log
    assert cluster.digests() == at_home
    assert cluster.rows("SELECT count(*) FROM attempt") == [(len(at_home),)]


def test_agents_of_a_killed_run_that_live_on_are_fenced_off_by_the_next_at_once(cluster, gate, at_home):
    # a lease that is longer than a test waits
    run = cluster.start("--lease", "600s", BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    # the process that would tell the agents that their run is gone
    engine = process_of(cluster, run, "engine_process")
    os.kill(engine, signal.SIGSTOP)
    old = stand_ins(cluster)
    run.kill()
    run.wait()
    second = cluster.start(BENCH_FAKE_GATE=f"2:{gate}")
    wait_until(lambda: cluster.rows("SELECT 1 FROM run WHERE run_id = 2"), "the second run has begun")
    wait_until(lambda: not {agent.agent for agent in old} & set(cluster.processes()), "the old agents are gone")
    gate.touch()
    assert second.wait(PATIENCE_SECONDS) == 0, cluster.log
    os.kill(engine, signal.SIGCONT)
    assert cluster.digests() == at_home
    assert cluster.rows("SELECT count(*) FROM attempt WHERE run_id = 1 AND state != 'abandoned'") == [(0,)]
    assert cluster.rows("SELECT count(*) FROM attempt WHERE resumed_from_epoch = 1") == [(4,)]


@pytest.mark.parametrize("victim", ["agent", "template"])
def test_a_node_whose_agent_or_template_is_killed_works_on(cluster, gate, at_home, victim):
    run = cluster.start("--lease", "600s", BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    node = stand_ins(cluster)[0]
    templates = [
        pid
        for pid in node.processes()
        if parent_of(pid) == node.agent and b"template" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(node.agent if victim == "agent" else templates[0], signal.SIGKILL)
    if victim == "agent":
        wait_until(lambda: cluster.rows("SELECT 1 FROM attempt WHERE state = 'abandoned'"), "its cells are taken back")
        wait_until(lambda: cluster.log.count(" is ready") == 3, "it has another agent")
    gate.touch()
    assert run.wait(PATIENCE_SECONDS) == 0, cluster.log
    assert cluster.digests() == at_home


def test_nodes_that_cannot_write_artifacts_any_more_say_so_and_the_next_run_goes_on(cluster, gate, at_home):
    run = cluster.start(BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    artifacts = cluster.place.directory / "results.artifacts"
    moved = artifacts.rename(artifacts.with_name("moved"))
    artifacts.write_text("in the way")
    gate.touch()
    assert run.wait(PATIENCE_SECONDS) in {3, 4}, cluster.log
    assert "results.artifacts" in cluster.log
    assert "no node of the cluster is left" in cluster.log
    wait_until(lambda: not cluster.processes(), "nothing of the run lives")
    artifacts.unlink()
    moved.rename(artifacts)
    done = cluster.run("--retry-failed")
    assert done.returncode == 0, done.stderr
    assert cluster.digests() == at_home


@pytest.mark.parametrize("point", ["artifact:1", "stage:1"])
def test_a_node_whose_disk_is_full_leaves_and_its_cells_go_on_elsewhere(cluster, gate, at_home, tmp_path, point):
    once = str(tmp_path / "fault")
    run = cluster.start(BENCH_FAKE_GATE=f"2:{gate}", BENCH_FAULT=f"{point}:enospc", BENCH_FAULT_MARK=once)
    begun(cluster, 2)
    wait_until(lambda: point != "stage:1" or cluster.rows("SELECT 1 FROM node WHERE left_utc IS NOT NULL"))
    gate.touch()
    assert run.wait(PATIENCE_SECONDS) == 0, cluster.log
    assert "leaves: OSError: [Errno 28] No space left on device. Make room on it" in cluster.log
    assert cluster.digests() == at_home
    assert cluster.rows("SELECT count(*) FROM node") == [(2,)]
    ended = dict(cluster.rows("SELECT state, count(*) FROM attempt GROUP BY state"))
    assert ended.keys() == {"completed", "interrupted"}


def test_a_server_that_stands_still_for_longer_than_the_lease_makes_nobody_lost(cluster, gate, at_home):
    run = cluster.start("--lease", "2s", BENCH_FAKE_GATE=f"2:{gate}")
    begun(cluster, 4)
    with open_database(cluster.target, mode="read") as database, database.reading() as connection:
        server = parent_of(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    assert server > 1
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in [server, *(pid for pid in pids() if parent_of(pid) == server)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(6)
    gate.touch()
    assert run.wait(PATIENCE_SECONDS) == 0, cluster.log
    assert cluster.digests() == at_home
    assert cluster.rows("SELECT count(*) FROM attempt") == [(len(at_home),)]


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <stdio.h>
#include <time.h>
static int is_agent(void) {
    static int known = -1;
    if (known < 0) {
        char line[4096] = {0};
        FILE *file = fopen("/proc/self/cmdline", "r");
        size_t length = file ? fread(line, 1, sizeof line - 1, file) : 0;
        if (file) fclose(file);
        for (size_t at = 0; at < length; at++) if (!line[at]) line[at] = ' ';
        known = strstr(line, "cluster.agent") != NULL;
    }
    return known;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(clock, now);
    if (clock == CLOCK_REALTIME && is_agent()) now->tv_sec += SHIFT;
    return answer;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc: its clock cannot be made wrong")
@pytest.mark.parametrize("hours", [-30, 30])
def test_the_clock_of_a_node_may_be_wrong_by_a_day(cluster, tmp_path, at_home, hours):
    """The leases of nodes are judged by the clock of the database alone."""
    shim = tmp_path / "shim.so"
    (tmp_path / "shim.c").write_text(SHIM.replace("SHIFT", str(3600 * hours)))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c", "-ldl"], check=True)
    done = cluster.run("--lease", "2s", LD_PRELOAD=str(shim), BENCH_FAKE_EPOCH_SECONDS="0.4")
    assert done.returncode == 0, done.stderr
    # the times of attempts are those of their node
    (started,) = cluster.rows("SELECT min(attempt.started_utc) < min(run.started_utc) FROM attempt, run")
    assert bool(started[0]) == (hours < 0)
    assert cluster.digests() == at_home
    assert cluster.rows("SELECT count(*) FROM attempt") == [(len(at_home),)]
