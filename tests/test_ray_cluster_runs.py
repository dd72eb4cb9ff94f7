"""`bench run` on a Ray cluster of this computer: what must hold when nodes, the run, the server or their ways fail."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from cli_workplace import Workplace
from ray_cluster import RayCluster, RayNode
from server_proxy import Proxy
from simulated_cluster import CHAINED, Cluster, begun, digests_at_home
from waiting import wait_until

pytest.importorskip("ray", reason="ray is not installed: pip install 'benchmark-matrix[ray]'")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.postgres,
    pytest.mark.exhaustive,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("target", ["postgresql"], indirect=True),
]

DOUBLED = "SELECT execution_id FROM epoch GROUP BY execution_id HAVING count(*) != max(epoch) OR min(epoch) != 1"


@dataclass
class RayRuns:
    """A Ray cluster, a folder with a matrix, and a gate before the second epoch of every cell."""

    ray: RayCluster
    cluster: Cluster
    gate: Path
    proxy: Proxy
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.started.append(self.cluster.start(*arguments))
        return self.started[-1]

    def add_node(self, cpus: int = 2, **variables: str) -> RayNode:
        cache = self.cluster.place.environment["BENCH_CACHE"]
        gate = {"BENCH_FAKE_GATE": f"2:{self.gate}", "BENCH_CACHE": cache}
        return self.ray.start(cpus, **{**gate, **self.server(), **variables})

    def server(self, port: int | None = None) -> dict[str, str]:
        """Variables by which libpq finds the server: directly, or by a way that can be cut."""
        url = sa.make_url(self.cluster.target)
        return {"PGHOST": "127.0.0.1", "PGPORT": str(port or self.proxy.port)} if url.host is None else {}

    def finish(self, at_home: dict[str, str]) -> None:
        """One more run where the first was stopped; then all that must hold after any fault."""
        self.gate.touch()
        done = self.cluster.run("--lease", "20s")
        assert done.returncode == 0, done.stderr
        self.check(at_home)

    def check(self, at_home: dict[str, str]) -> None:
        assert self.cluster.digests() == at_home
        assert self.cluster.rows(DOUBLED) == []
        assert self.cluster.rows("SELECT count(*) FROM execution") == [(len(at_home),)]
        assert self.cluster.rows("SELECT count(*) FROM attempt WHERE state = 'completed'") == [(len(at_home),)]
        assert self.cluster.rows("SELECT count(*) FROM attempt WHERE state = 'running'") == [(0,)]
        assert self.cluster.rows("SELECT count(*) FROM message") == [(0,)]
        assert self.cluster.rows("SELECT count(*) FROM node WHERE left_utc IS NULL") == [(0,)]
        wait_until(lambda: not self.cluster.processes(), "nothing of the run lives")


@pytest.fixture
def ways(server) -> Iterator[list[Proxy]]:
    """Ways to the server: that of the first node and the run, and that of the second node."""
    proxies = [Proxy(server), Proxy(server)]
    yield proxies
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def runs(tmp_path, target, ways) -> Iterator[RayRuns]:
    place = Workplace(tmp_path / "place")
    place.directory.mkdir()
    place.write(CHAINED)
    ray = RayCluster()
    # which way a process goes is said by its variables
    url = sa.make_url(target)
    rest = {name: value for name, value in url.query.items() if name != "host"}
    url = url.set(host=None, port=None, query=rest)
    cluster = Cluster(place, url.render_as_string(hide_password=False), "ray")
    made = RayRuns(ray, cluster, tmp_path / "gate", ways[0])
    try:
        made.add_node()
        made.add_node(**made.server(ways[1].port))
        cluster.variables = {**ray.environment, **made.server()}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in made.server().items():
                patch.setenv(name, value)
            yield made
    finally:
        for run in made.started:
            run.kill()
            run.wait()
        ray.close()


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """The digests of the same cells, run on one computer."""
    return digests_at_home(tmp_path_factory.mktemp("home"), CHAINED)


def is_left(cluster: Cluster, name: str) -> bool:
    return bool(cluster.rows(f"SELECT 1 FROM node WHERE left_utc IS NOT NULL AND name LIKE '{name}%%'"))


def test_cells_of_a_killed_node_go_on_elsewhere_within_ten_seconds(runs, at_home):
    run = runs.start("--lease", "60s")
    begun(runs.cluster, 4)
    lost = runs.ray.nodes[1]
    lost.kill()
    struck = time.monotonic()
    wait_until(lambda: is_left(runs.cluster, lost.address), "the node is lost")
    requeued = time.monotonic() - struck
    runs.gate.touch()
    assert run.wait(120) == 0, runs.cluster.log
    assert requeued < 10
    runs.check(at_home)
    assert runs.cluster.rows("SELECT count(*) FROM attempt WHERE state = 'abandoned'") == [(2,)]


def test_a_hung_node_loses_its_cells_within_its_lease_and_writes_nothing_when_it_wakes(runs, at_home):
    run = runs.start("--lease", "3s")
    begun(runs.cluster, 4)
    hung = runs.ray.nodes[1]
    hung.signal(signal.SIGSTOP)
    struck = time.monotonic()
    wait_until(lambda: is_left(runs.cluster, hung.address), "the node is lost")
    assert time.monotonic() - struck < 6
    runs.gate.touch()
    assert run.wait(180) == 0, runs.cluster.log
    before = runs.cluster.rows("SELECT * FROM attempt ORDER BY attempt_id"), runs.cluster.rows("SELECT * FROM epoch")
    hung.signal(signal.SIGCONT)
    wait_until(lambda: not runs.cluster.processes(), "nothing of the run lives")
    after = runs.cluster.rows("SELECT * FROM attempt ORDER BY attempt_id"), runs.cluster.rows("SELECT * FROM epoch")
    assert after == before
    runs.check(at_home)


def test_when_the_run_is_killed_all_nodes_are_free_within_twenty_seconds_and_the_next_goes_on(runs, at_home):
    run = runs.start()
    begun(runs.cluster, 4)
    run.kill()
    run.wait()
    killed = time.monotonic()
    wait_until(lambda: not runs.cluster.processes(), "nothing of the run lives")
    assert time.monotonic() - killed < 20
    runs.finish(at_home)
    assert runs.cluster.rows("SELECT count(*) FROM attempt WHERE resumed_from_epoch = 1") == [(4,)]


@pytest.mark.parametrize("seconds", [5, 40])
def test_cells_go_on_while_the_server_is_away(runs, ways, at_home, seconds):
    run = runs.start("--lease", "4s")
    begun(runs.cluster, 4)
    for way in ways:
        way.cut()
    runs.gate.touch()
    time.sleep(seconds)
    for way in ways:
        way.mend()
    assert run.wait(180) == 0, runs.cluster.log
    runs.check(at_home)
    # nobody was taken for lost
    assert runs.cluster.rows("SELECT count(*) FROM attempt") == [(len(at_home),)]


def test_a_node_that_is_cut_off_loses_its_cells_and_none_of_them_counts_twice(runs, ways, at_home):
    run = runs.start("--lease", "3s")
    begun(runs.cluster, 4)
    ways[1].cut(server_notices=False)
    wait_until(lambda: is_left(runs.cluster, runs.ray.nodes[1].address), "the node is lost")
    # now both the lost node and the other one train the same cells
    runs.gate.touch()
    wait_until(lambda: len(runs.cluster.digests()) > 2, "cells go on elsewhere")
    ways[1].mend()
    assert run.wait(180) == 0, runs.cluster.log
    runs.check(at_home)


def test_when_the_head_dies_the_run_says_so_and_a_new_cluster_goes_on(runs, at_home, tmp_path):
    run = runs.start()
    begun(runs.cluster, 4)
    runs.ray.nodes[0].kill()
    wait_until(lambda: is_left(runs.cluster, runs.ray.nodes[0].address), "the node of the head is lost")
    assert run.wait(150) == 4, runs.cluster.log
    assert "the same command goes on" in runs.cluster.log
    begun_at = time.monotonic()
    wait_until(lambda: not runs.cluster.processes(), "nothing of the run lives")
    assert time.monotonic() - begun_at < 20
    runs.ray.close()
    fresh = RayCluster()
    try:
        runs.ray = fresh
        runs.add_node()
        runs.cluster.variables |= fresh.environment
        runs.finish(at_home)
    finally:
        fresh.close()


def test_a_node_that_joins_takes_cells_and_one_that_is_shut_down_gives_them_back(runs, at_home):
    run = runs.start("--lease", "20s")
    begun(runs.cluster, 4)
    joined = runs.add_node()
    begun(runs.cluster, 6)
    assert runs.cluster.rows(f"SELECT count(*) FROM attempt WHERE node = '{joined.address}'") == [(2,)]
    leaving = runs.ray.nodes[1]
    for pid in leaving.pids():
        if b"/raylet/raylet" in Path(f"/proc/{pid}/cmdline").read_bytes():
            # what `ray stop` does on a computer that others have no node on
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: is_left(runs.cluster, leaving.address), "the node has left")
    runs.gate.touch()
    assert run.wait(180) == 0, runs.cluster.log
    runs.check(at_home)


def test_a_node_that_ray_drains_saves_its_cells_which_go_on_elsewhere(runs, at_home):
    run = runs.start("--lease", "60s")
    begun(runs.cluster, 4)
    drained = runs.ray.nodes[1]
    runs.ray.drain(drained)
    wait_until(lambda: is_left(runs.cluster, drained.address), "the node has left")
    runs.gate.touch()
    assert run.wait(120) == 0, runs.cluster.log
    assert f"node {drained.address} is removed by the engine" in runs.cluster.log
    runs.check(at_home)
    of_node = f"SELECT state, count(*) FROM attempt WHERE node = '{drained.address}' GROUP BY state"
    assert runs.cluster.rows(of_node) == [("interrupted", 2)]
    assert runs.cluster.rows("SELECT count(*) FROM attempt WHERE resumed_from_epoch = 1") == [(2,)]


REAL = """
[matrix]
name = "real cells on nodes"
dataset = "digits_low"
model = "simple_cnn"
strategy = "scratch"
seed = [0]
backend = "tensorflow"

[[matrix.include]]
dataset = "digits_high"
strategy = "transfer"
model = "simple_cnn"
seed = [0]

[defaults]
epochs = 2
train_examples = 200
test_examples = 100

[strategy.transfer]
weights = { dataset = "digits_low", strategy = "scratch" }

[[strategy.transfer.stage]]
epochs = 2
train = "head"

[[strategy.transfer.stage]]
epochs = 1
"""


@pytest.mark.tf
def test_real_cells_on_nodes_give_the_numbers_of_one_computer_to_the_bit(runs, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    clean = digests_at_home(home, REAL)
    runs.cluster.place.write(REAL)
    runs.gate.touch()
    done = runs.cluster.run()
    assert done.returncode == 0, done.stderr
    assert runs.cluster.digests() == clean
