"""`docs/cluster.md`, word by word: every block that it tells people to type is typed, on this computer."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import page_commands
import pytest
import slurm_standin
from cli_workplace import ROOT, Workplace
from ray_cluster import HEAD, RayNode, free_port
from server_proxy import Proxy
from simulated_cluster import digests_at_home

from benchmark.results.store.reference import RESULTS
from benchmark.scheduling.executors.slurm_settings import read_settings

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
TYPED = {"sh", "bash", "console"}
PART = re.compile(r"^#+ (?P<title>[^\n]+)$|^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
WHERE = re.compile(r"# on (node-1 and node-2|node-1|node-2)\b")

COMPUTERS = {"node-1": HEAD, "node-2": "127.0.0.3"}
"""The computers of the page, and the addresses of this one that stand for them."""

STARTED = ("2. A database", "5. A matrix")
ON_TWO = ("1. bench", "2. A database", "4. The cluster", "5. A matrix")
SESSIONS = {
    "two computers": (*ON_TWO, "6. The run", "What was recorded before"),
    "one computer": ("5. A matrix", "Two nodes on one computer"),
    "Slurm": (*STARTED, "Slurm"),
    "submitit": (*STARTED, "Without Slurm"),
    "object storage": (*ON_TWO, "Artifacts and data"),
}
"""What is typed one after the other, by the headings under which it stands."""

ELSEWHERE = {"An executor of your own": "test_executors.py"}
"""Blocks that follow a heading and are no commands: the module that tries them."""


def sections() -> dict[str, list[tuple[str, str]]]:
    """Languages and codes of the blocks below each heading, of any depth."""
    found: dict[str, list[tuple[str, str]]] = {}
    title = ""
    for part in PART.finditer(PAGE):
        title = part["title"] or title
        if part["language"]:
            found.setdefault(title, []).append((part["language"], part["code"]))
    return found


SECTIONS = sections()


def test_every_block_of_the_page_is_typed_in_a_session():
    typed = {title for titles in SESSIONS.values() for title in titles}
    assert typed | ELSEWHERE.keys() == SECTIONS.keys()
    assert "<!-- no run -->" not in PAGE
    for title, module in ELSEWHERE.items():
        assert not TYPED & {language for language, _ in SECTIONS[title]}
        assert "cluster.md" in (Path(__file__).parent / module).read_text()


def test_what_is_left_out_of_a_session_is_on_the_page_and_has_its_reason():
    for words, reason in page_commands.NOT_RUN.items():
        assert f"sudo {' '.join(words)}\n" in PAGE
        assert reason


def test_the_container_of_the_page_is_what_its_address_says():
    yaml = pytest.importorskip("yaml", reason="needs pyyaml, which ray brings")
    blocks = dict(SECTIONS["2. A database"])
    given = yaml.safe_load(blocks["yaml"])
    (service,) = given["services"].values()
    address = re.search(
        r'BENCH_DB="(?P<all>postgresql://(?P<user>\w+):\$\(cat (?P<file>[\w-]+)\)@[\w-]+/(?P<name>\w+))"', PAGE
    )
    values = service["environment"]
    assert (values["POSTGRES_USER"], values["POSTGRES_DB"]) == (address["user"], address["name"])
    ((name, secret),) = given["secrets"].items()
    assert values["POSTGRES_PASSWORD_FILE"] == f"/run/secrets/{name}"
    assert service["secrets"] == [name]
    assert Path(secret["file"]).name == address["file"]
    assert f"> {address['file']}\n" in blocks["sh"]
    # an address without a port means the usual one
    assert service["ports"] == ["5432:5432"]
    assert re.fullmatch(r"postgres:1[2-7]", service["image"])
    (volume,) = service["volumes"]
    # from 18 on the image keeps them elsewhere
    assert volume.partition(":") == (next(iter(given["volumes"])), ":", "/var/lib/postgresql/data")
    assert service["healthcheck"]["test"] == f"pg_isready --username {address['user']} --dbname {address['name']}"


@pytest.mark.parametrize("argument", sorted(set(re.findall(r"--executor slurm:(\S+?)[`\s]", PAGE))))
def test_what_the_page_asks_of_slurm_is_asked(argument, tmp_path):
    """Slurm as the tests of submitit mock it."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'benchmark-matrix[slurm]'")
    from submitit.slurm.test_slurm import mocked_slurm

    from benchmark.scheduling.executors.protocol import AgentCommand, ExecutorSettings
    from benchmark.scheduling.executors.slurm import SlurmExecutor

    settings = read_settings(argument)
    with mocked_slurm():
        executor = SlurmExecutor(ExecutorSettings(argument, tmp_path))
        assert len(executor.slots()) == settings.nodes
        handle = executor.submit(executor.slots()[0], AgentCommand("standin_agent", "{}"))
    script = (tmp_path / "submitit" / f"{handle}_submission.sh").read_text()
    asked = {f"cpus-per-task={settings.cpus}", f"time={settings.time_minutes}", "nodes=1"}
    asked |= {f"gpus-per-node={settings.gpus}"} if settings.gpus else set()
    asked |= {f"{name}={value}" for name, value in settings.options.items()}
    assert asked <= set(re.findall(r"#SBATCH --(\S+)", script))


@dataclass
class Computer:
    """One of those on which a session is typed: its folder, and its variables as the last block has left them."""

    name: str
    folder: Path
    variables: dict[str, str]

    def type(self, code: str) -> str:
        """Gives the lines to a shell that ends at the first that fails; returns what they print."""
        kept = self.folder / ".variables"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{code}\nenv -0 > '{kept}'"],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        pairs = (pair.partition("=") for pair in kept.read_text().split("\0") if pair)
        self.variables = {name: value for name, _, value in pairs}
        return done.stdout


@dataclass
class Session:
    """Types what stands under headings of the page, with stand-ins for what is not here.

    Attributes:
        standins: What the page says, and what is typed instead.
        said: What the blocks of each heading have printed.
    """

    computers: dict[str, Computer]
    standins: dict[str, str]
    said: dict[str, str] = field(default_factory=dict)

    def type(self, *titles: str) -> None:
        for title in titles:
            for language, code in SECTIONS[title]:
                if language in TYPED:
                    self.said[title] = self.said.get(title, "") + self._type(code)
                else:
                    name = "matrix.toml" if language == "toml" else f"compose.{language}"
                    (self.computers["node-1"].folder / name).write_text(code)

    def _type(self, code: str) -> str:
        where = WHERE.match(code)
        for name, standin in self.standins.items():
            code = code.replace(name, standin)
        names = where[1].split(" and ") if where else ["node-1"]
        return "".join(self.computers[name].type(code) for name in names)

    def document(self, query: str) -> list[dict]:
        """Rows of the database that `BENCH_DB` names."""
        return json.loads(self.computers["node-1"].type(f'bench query "{query}" --format json'))

    def digests(self) -> dict[str, str]:
        rows = self.document("SELECT cell_id, digest FROM results WHERE status = 'completed'")
        assert len({row["cell_id"] for row in rows}) == len(rows)
        return {row["cell_id"]: row["digest"] for row in rows}

    def nodes(self) -> list[str]:
        return sorted(row["node"] for row in self.document("SELECT DISTINCT node FROM attempt"))


@pytest.fixture
def session(tmp_path, server) -> Iterator[Session]:
    if "BENCH_TEST_DATABASE_URL" in os.environ:
        pytest.skip("makes roles and databases, which a server that others use is not for")
    for program in ("bash", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    mark, way, port = uuid.uuid4().hex, Proxy(server, HEAD), str(free_port())
    # paths of sockets in it must be short
    ray_folder = Path(tempfile.mkdtemp(prefix="r"))
    common = {
        "PATH": page_commands.install(tmp_path / "bin"),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
        "PAGE_SERVER": server.render_as_string(hide_password=False),
        "PAGE_FOLDER": str(tmp_path),
        "PAGE_MARK": mark,
        "PAGE_RAY_FOLDER": str(ray_folder),
        # an address without a port leads to the server of the tests
        "PGPORT": str(way.port),
        # Ray listens on all interfaces, whatever it is told: nobody else may take part
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": uuid.uuid4().hex,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    computers = {}
    for name, address in COMPUTERS.items():
        folder = tmp_path / address
        folder.mkdir()
        computers[name] = Computer(name, folder, {**Workplace(folder).environment, **common, "PAGE_ADDRESS": address})
    (tmp_path / "shared").mkdir()
    standins = {
        **COMPUTERS,
        "@localhost/": f"@{HEAD}/",
        "/shared/": f"{tmp_path}/shared/",
        "6379": port,
        "6400": port,
        "=KEY": "=tester",
        "=SECRET": "=never-shown",
    }
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, ray_folder, ignore_errors=True)
        stack.callback(drop, computers["node-1"])
        stack.callback(way.close)
        stack.callback(RayNode("", f"BENCH_NODE_MARK={mark}-").kill)
        yield Session(computers, standins)


def drop(computer: Computer) -> None:
    for kind, name in (("DATABASE", "results"), ("ROLE", "bench")):
        computer.type(f'sudo -u postgres psql --quiet -c "DROP {kind} IF EXISTS {name}" 2> /dev/null')


@pytest.fixture(scope="module")
def at_home(tmp_path_factory) -> dict[str, str]:
    """The digests of the cells of the page's matrix, run on one computer."""
    (matrix,) = (code for language, code in SECTIONS["5. A matrix"] if language == "toml")
    return digests_at_home(tmp_path_factory.mktemp("home"), matrix)


def needs(library: str, extra: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{library} is not installed: pip install 'benchmark-matrix[{extra}]'")


whole = [pytest.mark.exhaustive, pytest.mark.tf, pytest.mark.postgres, pytest.mark.timeout(900)]


def marked(*marks: pytest.MarkDecorator):
    def decorate(test):
        for mark in (*whole, *marks):
            test = mark(test)
        return test

    return decorate


@marked(needs("ray", "ray"), pytest.mark.ray)
def test_two_computers_with_ray(session, at_home):
    session.computers["node-1"].variables |= ray_is_at(session)
    *first, last = SESSIONS["two computers"]
    session.type(*first)
    # `ray status` tells of nodes only after a while; that both are there is seen by where cells ran
    assert session.digests() == at_home
    assert session.nodes() == list(COMPUTERS.values())
    for name in ("results.sqlite", "copy.sqlite"):
        shutil.copy(RESULTS, session.computers["node-1"].folder / name)
    session.type(last)
    assert "4" in session.said[last]
    assert not RayNode("", f"BENCH_NODE_MARK={session.computers['node-1'].variables['PAGE_MARK']}-").pids()


@marked(needs("ray", "ray"), pytest.mark.ray)
def test_two_nodes_on_one_computer(session, at_home):
    # `ray stop` ends all of them
    session.computers["node-1"].variables["PAGE_ADDRESS"] = ""
    session.type(*SESSIONS["one computer"])
    assert session.digests() == at_home
    assert session.nodes() == list(COMPUTERS.values())


@marked(needs("submitit", "slurm"))
def test_jobs_of_slurm(session, at_home, tmp_path):
    computer = session.computers["node-1"]
    computer.variables |= {
        **slurm_standin.install(tmp_path / "slurm"),
        "PATH": os.pathsep.join((str(tmp_path / "slurm"), computer.variables["PATH"])),
    }
    session.type(*SESSIONS["Slurm"])
    assert session.digests() == at_home
    assert session.nodes() == ["slurm-1", "slurm-2"]


@marked(needs("submitit", "slurm"))
def test_jobs_without_slurm(session, at_home):
    session.type(*SESSIONS["submitit"])
    assert session.digests() == at_home
    assert session.nodes() == ["local-1", "local-2"]


@marked(needs("ray", "ray"), needs("s3fs", "s3"), pytest.mark.ray)
def test_artifacts_of_nodes_in_object_storage(session, at_home, s3_server, monkeypatch):
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="lab-results")
    for computer in session.computers.values():
        computer.variables["AWS_ENDPOINT_URL"] = s3_server["AWS_ENDPOINT_URL"]
    session.computers["node-1"].variables |= ray_is_at(session)
    session.type(*SESSIONS["object storage"])
    assert session.digests() == at_home
    assert session.nodes() == list(COMPUTERS.values())
    names = [entry["Key"] for entry in client.list_objects_v2(Bucket="lab-results")["Contents"]]
    for place in ("first", "second"):
        assert sum(name.startswith(f"{place}/") and name.endswith("weights.h5") for name in names) <= len(at_home)


def ray_is_at(session: Session) -> dict[str, str]:
    """On one computer `bench run` must be told which of its addresses is the one of the cluster."""
    return {"RAY_ADDRESS": f"{HEAD}:{session.standins['6379']}", "BENCH_RAY_NODE_IP": HEAD}


def test_the_sessions_are_all_tried():
    source = Path(__file__).read_text()
    assert all(f'SESSIONS["{name}"]' in source for name in SESSIONS)
    assert tomllib.loads(next(code for language, code in SECTIONS["5. A matrix"] if language == "toml"))
