"""Every engine keeps the same promises: agents are placed, ended, looked after, and nobody is left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray_cluster import RayCluster
from waiting import wait_until

from benchmark.errors import UserError
from benchmark.scheduling.executors.executor_registry import executor_names, require_executor
from benchmark.scheduling.executors.protocol import AgentCommand, Node
from benchmark.scheduling.executors.separate_executor import SeparateExecutor, open_executor

TESTS = Path(__file__).resolve().parent


def needs(library: str, extra: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{library} is not installed: pip install 'benchmark-matrix[{extra}]'")


def on_every_engine(*, ray_always: bool = False) -> pytest.MarkDecorator:
    """Ray takes seconds to start: one test of it is enough for every day."""
    with_ray = [pytest.mark.ray, needs("ray", "ray"), *([] if ray_always else [pytest.mark.exhaustive])]
    engines = [
        "simulated",
        pytest.param("slurm", marks=needs("submitit", "slurm")),
        pytest.param("ray", marks=with_ray),
    ]
    return pytest.mark.parametrize("engine", engines, indirect=True, scope="module")


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    cluster = RayCluster()
    try:
        cluster.start(2)
        cluster.start(1)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def engine(request) -> Iterator[tuple[str, dict[str, str]]]:
    """What follows `--executor`, and the variables that go with it; two nodes each."""
    path = {"PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    if request.param == "ray":
        yield "ray", {**path, **request.getfixturevalue("ray_cluster").environment}
    elif request.param == "slurm":
        yield "slurm:nodes=2,cpus=2", {**path, "BENCH_SUBMITIT": "local"}
    else:
        yield "simulated:2x2", path


class Engine:
    """An opened engine and a folder where stand-in agents tell what becomes of them."""

    def __init__(self, executor: SeparateExecutor, folder: Path) -> None:
        self.executor, self.folder = executor, folder
        self.ended: dict[str, str] = {}

    def submit(self, node: Node, **order: object) -> str:
        text = json.dumps({"folder": str(self.folder), **order})
        return self.executor.submit(node, AgentCommand("standin_agent", text, {"BENCH_EXTRA": "extra"}))

    def begun(self) -> list[dict]:
        return [json.loads(file.read_text()) for file in self.folder.glob("*.begun")]

    def wait_for_agents(self, count: int) -> list[dict]:
        wait_until(lambda: self.failed() or len(self.begun()) == count, f"{count} agents have begun")
        return self.begun()

    def failed(self) -> bool:
        self.ended.update(self.executor.poll())
        assert not self.ended
        return False

    def wait_for_end(self, handle: str) -> str:
        def has_ended() -> bool:
            self.ended.update(self.executor.poll())
            return handle in self.ended

        wait_until(has_ended, "the agent has ended")
        return self.ended.pop(handle)


@contextmanager
def opened(engine: tuple[str, dict[str, str]], folder: Path, **options: bool) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in engine[1].items():
            patch.setenv(name, value)
        executor = open_executor(engine[0], folder / "engine", **options)
        try:
            yield Engine(executor, folder)
        finally:
            executor.close()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@on_every_engine()
def test_agents_run_on_every_node_and_end_with_the_engine(engine, tmp_path):
    with opened(engine, tmp_path) as opened_engine:
        nodes = opened_engine.executor.slots()
        assert len({node.name for node in nodes}) == len(nodes) == 2
        for node in nodes:
            opened_engine.submit(node)
        agents = opened_engine.wait_for_agents(2)
        assert sorted(agent["granted"]["cores"] for agent in agents) == sorted(node.cores for node in nodes)
        # the node's own variables, and those of the order; what engines set for what they start is none of them
        expected = {
            "CUDA_VISIBLE_DEVICES": "-1",
            "OMP_NUM_THREADS": None,
            "RAY_AUTH_TOKEN": None,
            "BENCH_EXTRA": "extra",
        }
        assert [agent["environment"] for agent in agents] == [expected] * 2
        # a node that holds an agent of ours is still told
        wait_until(
            lambda: {node.name for node in opened_engine.executor.slots()} == {node.name for node in nodes}, "both"
        )
    wait_until(lambda: not any(is_alive(agent["pid"]) for agent in agents), "all agents are gone")


@on_every_engine()
def test_an_agent_that_ends_is_told_with_the_reason_and_its_node_takes_another_one(engine, tmp_path):
    with opened(engine, tmp_path) as opened_engine:
        node = opened_engine.executor.slots()[0]
        first = opened_engine.submit(node, exit=3)
        assert opened_engine.wait_for_end(first) == "it ended with exit code 3: a reason to end"
        wait_until(
            lambda: node.name in {node.name for node in opened_engine.executor.slots()}, "the node is free again"
        )
        again = next(each for each in opened_engine.executor.slots() if each.name == node.name)
        second = opened_engine.submit(again)
        (agent,) = opened_engine.wait_for_agents(1)
        os.kill(agent["pid"], signal.SIGKILL)
        assert opened_engine.wait_for_end(second) == "it was killed by SIGKILL"


@on_every_engine()
def test_a_cancelled_agent_ends_at_once_and_others_go_on(engine, tmp_path):
    with opened(engine, tmp_path) as opened_engine:
        nodes = opened_engine.executor.slots()
        first = opened_engine.submit(nodes[0], saving_seconds=60)
        (agent,) = opened_engine.wait_for_agents(1)
        opened_engine.submit(nodes[1])
        opened_engine.wait_for_agents(2)
        begun = time.monotonic()
        opened_engine.executor.cancel(first)
        opened_engine.wait_for_end(first)
        assert not is_alive(agent["pid"])
        assert time.monotonic() - begun < 5
        assert not opened_engine.executor.poll()
        opened_engine.executor.cancel(first)  # it has ended already
        opened_engine.executor.cancel("unheard of")


DRIVER = """
import json, os, signal, sys
from pathlib import Path
from benchmark.scheduling.executors.protocol import AgentCommand
from benchmark.scheduling.executors.separate_executor import open_executor
executor, folder = open_executor(sys.argv[1], Path(sys.argv[2], "engine")), sys.argv[2]
for node in executor.slots():
    executor.submit(node, AgentCommand("standin_agent", json.dumps({"folder": folder, "saving_seconds": 0.5})))
sys.stdin.read()
"""


@on_every_engine(ray_always=True)
def test_agents_save_and_end_when_the_run_is_killed(engine, tmp_path):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, engine[0], str(tmp_path)], env={**os.environ, **engine[1]}, stdin=subprocess.PIPE
    )
    with driver:
        wait_until(lambda: len(list(tmp_path.glob("*.begun"))) == 2, "two agents have begun")
        agents = [json.loads(file.read_text())["pid"] for file in tmp_path.glob("*.begun")]
        driver.kill()
    begun = time.monotonic()
    wait_until(lambda: not any(map(is_alive, agents)), "all agents are gone")
    assert time.monotonic() - begun < 20
    assert len(list(tmp_path.glob("*.saved"))) == 2


# ---- names


def test_an_unknown_engine_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"--executor rya:x: expected one of local, ray, slurm.*did you mean 'ray'\?"):
        require_executor("rya:x")
    assert executor_names()[:3] == ("local", "ray", "slurm")
    assert "simulated" not in executor_names()


@pytest.mark.parametrize(("name", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, name, library):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == library else find(asked))
    with pytest.raises(UserError, match=rf"pip install 'benchmark-matrix\[{name}\]'"):
        require_executor(f"{name}:anything")


def test_the_local_one_takes_no_argument():
    assert require_executor("local") == "local"
    with pytest.raises(UserError, match="--jobs"):
        require_executor("local:4")


@pytest.mark.parametrize("argument", ["", "2", "0x2", "2x0", "axb", "2x2x"])
def test_stand_in_nodes_are_counted(argument, tmp_path):
    with pytest.raises(UserError, match="NODESxCPUS"):
        open_executor(f"simulated:{argument}", tmp_path)
