"""Every engine keeps the same promises: agents are placed, ended, looked after, and nobody is left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import slurm_standin
from ray_cluster import RayCluster
from simulated_cluster import parent_of, pids
from waiting import wait_until

import benchmark
from benchmark.errors import BenchError, UserError
from benchmark.scheduling.executors import slurm
from benchmark.scheduling.executors.executor_registry import executor_names, require_executor
from benchmark.scheduling.executors.protocol import AgentCommand, ExecutorSettings, Granted, Node
from benchmark.scheduling.executors.ray import RayExecutor, why_no_connection
from benchmark.scheduling.executors.ray_node import AgentHolder
from benchmark.scheduling.executors.separate_executor import SeparateExecutor, open_executor
from benchmark.scheduling.executors.slurm import SlurmExecutor
from benchmark.scheduling.executors.slurm_settings import JobSettings, read_settings
from benchmark.testing.simulated_nodes import SimulatedExecutor

TESTS = Path(__file__).resolve().parent


def needs(library: str, extra: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{library} is not installed: pip install 'benchmark-matrix[{extra}]'")


def on_every_engine(*, always: bool = False) -> pytest.MarkDecorator:
    """One test of those that take their time to start is enough for every day."""
    rarely = [] if always else [pytest.mark.exhaustive]
    engines = [
        "simulated",
        pytest.param("slurm", marks=[needs("submitit", "slurm"), pytest.mark.exhaustive]),
        pytest.param("submitit", marks=[needs("submitit", "slurm"), *rarely]),
        pytest.param("ray", marks=[needs("ray", "ray"), pytest.mark.ray, *rarely]),
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
def engine(request, tmp_path_factory) -> Iterator[tuple[str, dict[str, str]]]:
    """What follows `--executor`, and the variables that go with it; two nodes each."""
    path = {"PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    if request.param == "ray":
        yield "ray", {**path, **request.getfixturevalue("ray_cluster").environment}
    elif request.param == "submitit":
        yield "slurm:nodes=2,cpus=2", {**path, "BENCH_SUBMITIT": "local"}
    elif request.param == "slurm":
        yield "slurm:nodes=2,cpus=2", {**path, **slurm_standin.install(tmp_path_factory.mktemp("slurm") / "bin")}
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


def words_of(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@on_every_engine()
def test_agents_run_on_every_node_and_end_with_the_engine(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_OF_RUN", "1")
    monkeypatch.setenv("BENCH_DB", "postgresql://user:secret@server/results")
    with opened(engine, tmp_path) as opened_engine:
        nodes = opened_engine.executor.slots()
        assert len({node.name for node in nodes}) == len(nodes) == 2
        for node in nodes:
            opened_engine.submit(node)
        agents = opened_engine.wait_for_agents(2)
        assert sorted(agent["granted"]["cores"] for agent in agents) == sorted(node.cores for node in nodes)
        # the node's own variables, the run's own of bench, those of the command; none that engines set for what they start
        none = dict.fromkeys(("OMP_NUM_THREADS", "RAY_AUTH_TOKEN", "BENCH_DB"))
        expected = {"CUDA_VISIBLE_DEVICES": "-1", "BENCH_EXTRA": "extra", "BENCH_OF_RUN": "1", **none}
        assert [agent["environment"] for agent in agents] == [expected] * 2
        engines = [pid for pid in pids() if parent_of(pid) == os.getpid() and b"engine_process" in words_of(pid)]
        # with it Slurm would keep the password in the files of its jobs
        assert [b"BENCH_DB=" in Path(f"/proc/{pid}/environ").read_bytes() for pid in engines] == [False]
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
        first = opened_engine.submit(nodes[0], saving_seconds=600)
        (agent,) = opened_engine.wait_for_agents(1)
        opened_engine.submit(nodes[1])
        opened_engine.wait_for_agents(2)
        opened_engine.executor.cancel(first)
        opened_engine.wait_for_end(first)
        assert not is_alive(agent["pid"])
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


@on_every_engine(always=True)
def test_agents_save_and_end_when_the_run_is_killed(engine, tmp_path):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, engine[0], str(tmp_path)], env={**os.environ, **engine[1]}, stdin=subprocess.PIPE
    )
    with driver:
        wait_until(lambda: len(list(tmp_path.glob("*.begun"))) == 2, "two agents have begun")
        agents = [json.loads(file.read_text())["pid"] for file in tmp_path.glob("*.begun")]
        driver.kill()
    wait_until(lambda: not any(map(is_alive, agents)), "all agents are gone")
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
        SimulatedExecutor(ExecutorSettings(argument, tmp_path))


# ---- an engine of one's own


PAGE = (TESTS.parent / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = {
    text.partition("\n")[0].removeprefix("# "): text
    for _, text in re.findall(r"```(python|toml)\n(.*?)```", PAGE, re.DOTALL)
}
SSH = """#!/bin/sh
host=$1
shift
[ "$host" != nowhere ] || { echo "no route to host" >&2; exit 255; }
case "$*" in nproc) echo 2;; *) PATH="$BIN:$PATH" exec sh -c "exec $*";; esac
"""


@pytest.fixture
def ssh(tmp_path, monkeypatch) -> None:
    """The package of the page, installed, and an `ssh` that stays on this computer."""
    site, tools = tmp_path / "site", tmp_path / "tools"
    about = site / "bench_ssh-1.0.dist-info"
    about.mkdir(parents=True)
    tools.mkdir()
    described = tomllib.loads(BLOCKS["pyproject.toml"])["project"]
    ((name, target),) = described["entry-points"]["benchmark.executors"].items()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[benchmark.executors]\n{name} = {target}\n")
    (site / "bench_ssh.py").write_text(BLOCKS["bench_ssh.py"])
    (tools / "ssh").write_text(SSH)
    (tools / "ssh").chmod(0o755)
    (tools / "python3").symlink_to(sys.executable)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BIN", str(Path(sys.executable).parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(TESTS.parent), str(TESTS))))


def test_the_engine_of_the_page_places_and_ends_agents(ssh, tmp_path):
    assert executor_names()[-1] == "ssh"
    with opened(("ssh:alice+bob", {}), tmp_path) as engine:
        assert [(node.name, node.cores) for node in engine.executor.slots()] == [("alice", 2), ("bob", 2)]
        handles = [engine.submit(node) for node in engine.executor.slots()]
        engine.wait_for_agents(2)
        engine.executor.cancel(handles[0])
        assert engine.wait_for_end(handles[0]) == "it was killed by SIGKILL"
        third = engine.submit(engine.executor.slots()[0], exit=1)
        assert engine.wait_for_end(third) == "it ended with exit code 1: a reason to end"


def test_what_an_engine_of_ones_own_refuses_is_said_in_a_line(ssh, tmp_path):
    with pytest.raises(UserError, match=r"^--executor ssh: ssh does not reach nowhere: no route to host$"):
        open_executor("ssh:nowhere", tmp_path)
    site = tmp_path / "site" / "bench_ssh.py"
    site.write_text("import nothing_of_this_name\n")
    with pytest.raises(
        UserError, match=r"bench_ssh:SshExecutor cannot be imported: No module named 'nothing_of_this_name'"
    ):
        open_executor("ssh:alice", tmp_path)
    site.write_text("def SshExecutor(settings):\n    raise ZeroDivisionError('oh')\n")
    with pytest.raises(BenchError, match=r"^--executor ssh: ZeroDivisionError: oh; see .*executor.log$"):
        open_executor("ssh:alice", tmp_path)


# ---- settings


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nodes", "expected slurm:KEY=VALUE"),
        ("node=2", r"slurm:node: expected one of nodes, .*did you mean 'nodes'\?"),
        ("nodes=0", "slurm:nodes: expected a number of at least 1, got '0'"),
        ("cpus=two", "slurm:cpus: expected a number of at least 1, got 'two'"),
        ("gpus=-1", "slurm:gpus: expected a number of at least 0"),
        ("memory=lots", "slurm:memory: expected a size such as 16G, got 'lots'"),
        ("time=tomorrow", "slurm:time: expected a time such as 90m, 4h or 1d"),
        ("time=90", "slurm:time: expected at least 5m, .* got '90'"),
        ("nodes=1,nodes=2", "it stands twice"),
    ],
)
def test_a_wrong_setting_of_slurm_is_named(argument, message):
    with pytest.raises(UserError, match=message):
        read_settings(argument)


def test_settings_of_slurm_are_read():
    settings = read_settings("partition=gpu, nodes=4,cpus=08,gpus=0,memory=16GiB,time=4h,qos=high")
    assert settings == JobSettings(4, 8, 0, "16G", 240, {"partition": "gpu", "qos": "high"})
    assert settings.memory_bytes == 16 << 30
    assert read_settings("") == JobSettings(options={})
    assert read_settings("time=1d").time_minutes == 1440


@needs("submitit", "slurm")
def test_a_computer_without_slurm_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no Slurm on this computer"):
        SlurmExecutor(ExecutorSettings("", tmp_path))
    monkeypatch.setenv("BENCH_SUBMITIT", "laptop")
    with pytest.raises(UserError, match="BENCH_SUBMITIT: expected slurm or local, got 'laptop'"):
        SlurmExecutor(ExecutorSettings("", tmp_path))


@needs("submitit", "slurm")
def test_slurm_is_asked_for_what_the_settings_say(tmp_path, monkeypatch):
    for name, value in slurm_standin.install(tmp_path / "bin").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "executable", "/bin/true")  # what the job runs is not the question here
    executor = SlurmExecutor(ExecutorSettings("cpus=8,gpus=2,memory=16G,time=4h,account=lab", tmp_path / "engine"))
    (node,) = executor.slots()
    assert node == Node("slurm-1", 8, 2, 16 << 30)
    executor.submit(node, AgentCommand("standin_agent", "{}"))
    script = (tmp_path / "bin" / "jobs" / "1.script").read_text()
    for line in ("cpus-per-task=8", "gpus-per-node=2", "mem=16G", "time=240", "account=lab", "no-requeue", "nodes=1"):
        assert f"#SBATCH --{line}\n" in script
    assert "srun" in script
    assert "--cpus-per-task=8 /bin/true -P" in script
    assert (tmp_path / "engine" / "submitit").stat().st_mode & 0o777 == 0o700


@needs("submitit", "slurm")
def test_what_a_job_is_told_is_deleted_when_it_has_ended_at_the_latest_by_the_next_run(tmp_path, monkeypatch):
    for name, value in slurm_standin.install(tmp_path / "bin").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "executable", "/bin/true")
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 0.0)
    folder = tmp_path / "engine" / "submitit"
    folder.mkdir(parents=True)
    (folder / "77_submitted.pkl").touch()
    executor = SlurmExecutor(ExecutorSettings("", tmp_path / "engine"))
    assert not list(folder.iterdir())
    handle = executor.submit(executor.slots()[0], AgentCommand("standin_agent", '{"password": "canary"}'))
    assert b"canary" in (folder / f"{handle}_submitted.pkl").read_bytes()
    wait_until(lambda: handle in executor.poll(), "the job has ended")
    assert not [file for file in folder.iterdir() if b"canary" in file.read_bytes()]


@pytest.mark.exhaustive
@needs("submitit", "slurm")
def test_a_job_that_slurm_has_lost_is_told(tmp_path):
    variables = slurm_standin.install(tmp_path / "bin")
    with opened(("slurm:cpus=1", {**variables, "PYTHONPATH": str(TESTS)}), tmp_path) as engine:
        handle = engine.submit(engine.executor.slots()[0])
        engine.wait_for_agents(1)
        os.killpg(int((tmp_path / "bin" / "jobs" / "1.pid").read_text()), signal.SIGKILL)
        assert engine.wait_for_end(handle).startswith("its job 1 is gone")


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "head", "head:", ":6379"])
def test_an_address_that_is_none_of_ray_is_refused(address, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=r"RAY_ADDRESS is .*: expected HOST:PORT"):
        RayExecutor(ExecutorSettings("", tmp_path))


def test_a_ray_that_does_not_answer_is_named_with_the_way_to_start_one(tmp_path, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(UserError, match=r"no Ray answers at .*ray start --head"):
            RayExecutor(ExecutorSettings("", tmp_path))
    assert "ray start --head" in why_no_connection("", ConnectionError("Could not find any running Ray instance."))


def test_a_node_with_another_version_is_told_with_both():
    why = AgentHolder().hold(AgentCommand("standin_agent", "{}"), Granted(1), "9.9")
    assert why.startswith(
        f"this node has benchmark-matrix {benchmark.__version__}, but 9.9 where `bench run` was started"
    )
