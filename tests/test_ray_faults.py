"""What becomes of agents when nodes of a Ray cluster die, hang, join, or are taken by others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_cluster import RayCluster
from test_executors import Engine, is_alive, opened
from waiting import wait_until

from benchmark.errors import StorageError

pytest.importorskip("ray", reason="ray is not installed: pip install 'benchmark-matrix[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.exhaustive]


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    made = RayCluster()
    try:
        made.start(1)
        made.start(2, "--num-gpus=2")
        yield made
    finally:
        made.close()


@pytest.fixture
def engine(cluster, tmp_path) -> Iterator[Engine]:
    with opened(("ray", cluster.environment), tmp_path) as engine:
        yield engine


def placed(engine: Engine, address: str) -> tuple[str, int]:
    """An agent on the node: its handle and its process."""
    before = {agent["pid"] for agent in engine.begun()}
    node = wait_until(lambda: next((node for node in engine.executor.slots() if node.name == address), None), address)
    handle = engine.submit(node)
    agents = engine.wait_for_agents(len(before) + 1)
    return handle, next(agent["pid"] for agent in agents if agent["pid"] not in before)


def seconds_until_told(engine: Engine, handle: str) -> float:
    begun = time.monotonic()
    engine.wait_for_end(handle)
    return time.monotonic() - begun


def test_a_dead_node_is_told_and_one_that_joins_takes_an_agent(cluster, engine):
    head, second = cluster.nodes
    kept, _ = placed(engine, head.address)
    lost, pid = placed(engine, second.address)
    second.kill()
    assert seconds_until_told(engine, lost) < 10
    assert not is_alive(pid)
    wait_until(lambda: [node.name for node in engine.executor.slots()] == [head.address], "the dead node is no slot")
    joined = cluster.start(1)
    placed(engine, joined.address)
    assert kept not in engine.ended


def test_the_death_of_the_raylet_alone_is_told_too_and_its_agent_ends(cluster, engine):
    handle, pid = placed(engine, cluster.nodes[1].address)
    for process in cluster.nodes[1].pids():
        if b"/raylet/raylet" in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(process, signal.SIGKILL)
    assert seconds_until_told(engine, handle) < 10
    begun = time.monotonic()
    wait_until(lambda: not is_alive(pid), "the agent is gone")
    assert time.monotonic() - begun < 20


def test_a_cancelled_agent_of_a_hung_node_is_given_up_soon(cluster, engine):
    handle, pid = placed(engine, cluster.nodes[1].address)
    cluster.nodes[1].signal(signal.SIGSTOP)
    engine.executor.cancel(handle)
    assert seconds_until_told(engine, handle) < 10
    cluster.nodes[1].signal(signal.SIGCONT)
    wait_until(lambda: not is_alive(pid), "the agent is gone when the node wakes up")


def test_the_head_may_die_without_the_run(cluster, engine):
    handle, pid = placed(engine, cluster.nodes[1].address)
    cluster.nodes[0].kill()
    # agents go on: Ray waits for a minute whether its head comes back
    assert seconds_until_told(engine, handle) < 120
    assert engine.executor.slots() == ()
    with pytest.raises(StorageError, match="the same command goes on"):
        engine.executor.poll()
    begun = time.monotonic()
    wait_until(lambda: not is_alive(pid), "the agent is gone")
    assert time.monotonic() - begun < 20


HOG = """
import ray, sys
ray.init(address="auto", log_to_driver=False, _node_ip_address="127.0.0.2")
@ray.remote(num_cpus=1, resources={"node:127.0.0.3": 0.01})
class Hog:
    def ready(self): return True
hog = Hog.remote()
ray.get(hog.ready.remote())
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_others_hold_is_left_to_them(cluster, tmp_path):
    environment = {**os.environ, **cluster.environment}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOG], env=environment, **pipes) as hog:
        assert hog.stdout.readline() == b"ready\n"
        with opened(("ray", cluster.environment), tmp_path) as engine:
            wait_until(
                lambda: {node.name: node.cores for node in engine.executor.slots()}["127.0.0.3"] == 1, "one is left"
            )
            placed(engine, "127.0.0.3")
        hog.stdin.close()


def test_gpus_are_asked_for_where_cells_want_them(cluster, tmp_path):
    with opened(("ray", cluster.environment), tmp_path, wants_gpus=True) as engine:
        assert {node.name: node.gpus for node in engine.executor.slots()} == {"127.0.0.2": 0, "127.0.0.3": 2}
        placed(engine, "127.0.0.3")
        (agent,) = engine.begun()
        assert sorted(agent["granted"]["gpus"]) == ["0", "1"]
        assert agent["environment"]["CUDA_VISIBLE_DEVICES"] == ",".join(agent["granted"]["gpus"])
