"""`bench run` on nodes and a real server; where nodes are stand-ins, the processes that stand for each of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from cli_workplace import ROOT, Workplace
from waiting import wait_until

from benchmark.results.store.database import open_database

CHAINED = """
[matrix]
name = "parents and children on nodes"
dataset = "digits_low"
model = "simple_cnn"
strategy = ["short", "long"]
seed = [0, 1, 2]
backend = "fake"

[[matrix.include]]
dataset = "digits"
strategy = "continued"
model = "simple_cnn"
seed = [0, 1, 2]

[strategy.short]
epochs = 3

[strategy.long]
extends = "short"
epochs = 6

[strategy.continued]
epochs = 3
weights = { dataset = "digits_low", strategy = "short" }
"""
"""Cells of which some start from the weights of others."""


@dataclass
class Cluster:
    """A folder with a matrix, a database on a server, and `bench run` on nodes: stand-ins, or those of another engine.

    Attributes:
        engine: What follows `--executor`.
        variables: What the driver needs for it.
    """

    place: Workplace
    target: str
    engine: str = "simulated:2x2"
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **variables: str):
        return self.place.run(*self.arguments(*arguments), **{**self.variables, **variables})

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """A run that goes on while the test does; its words are in `run.log`."""
        with (self.place.directory / "run.log").open("w") as log:
            return subprocess.Popen(
                self.place.command(*self.arguments(*arguments)),
                cwd=self.place.directory,
                env={**self.place.environment, **self.variables, **variables},
                stdout=log,
                stderr=log,
                text=True,
            )

    def arguments(self, *arguments: str) -> list[str]:
        return ["run", "--executor", self.engine, "--db", self.target, *arguments]

    @property
    def log(self) -> str:
        return (self.place.directory / "run.log").read_text()

    def rows(self, query: str):
        with open_database(self.target, mode="read") as opened, opened.reading() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def processes(self) -> list[int]:
        """All processes of ours that runs in this folder have, on nodes too, where these were started with its cache."""
        mark, found = f"BENCH_CACHE={self.place.directory}/cache".encode(), []
        for pid in pids():
            with contextlib.suppress(OSError):
                is_ours = b"benchmark" in Path(f"/proc/{pid}/cmdline").read_bytes().replace(str(ROOT).encode(), b"")
                if is_ours and pid != os.getpid() and mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
        return found

    def digests(self) -> dict[str, str]:
        rows = self.rows("SELECT cell_id, digest FROM results WHERE status = 'completed'")
        assert len({cell for cell, _ in rows}) == len(rows)
        return dict(rows)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class StandIn:
    """The processes of a stand-in node: its keeper, the agent, and all that the agent has started."""

    keeper: int
    agent: int

    def processes(self) -> list[int]:
        """All of them that live now, the keeper first."""
        parents = {pid: parent_of(pid) for pid in pids()}
        found = [self.keeper]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def signal(self, number: int) -> None:
        """As a computer that dies (SIGKILL), hangs (SIGSTOP), or wakes up again (SIGCONT)."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def parent_of(pid: int) -> int:
    """The process that has started another; 0 when that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def stand_ins(cluster: Cluster) -> list[StandIn]:
    """The nodes that have an agent now."""
    found = []
    for pid in cluster.processes():
        with contextlib.suppress(OSError):
            if b"benchmark.scheduling.cluster.agent" in Path(f"/proc/{pid}/cmdline").read_bytes():
                keeper = parent_of(pid)
                if b"keeper" in Path(f"/proc/{keeper}/cmdline").read_bytes():
                    found.append(StandIn(keeper, pid))
    return found


def begun(cluster: Cluster, count: int):
    """Waits until so many cells wait at the gate of their second epoch."""

    def are_there() -> bool:
        try:
            return len(cluster.rows("SELECT 1 FROM epoch WHERE epoch = 1")) >= count
        except Exception:  # noqa: BLE001  the run makes the tables
            return False

    wait_until(are_there)


def digests_at_home(folder: Path, matrix: str) -> dict[str, str]:
    """The digests of the cells of a matrix, run on one computer in a folder of their own."""
    place = Workplace(folder)
    place.write(matrix)
    done = place.run("run")
    assert done.returncode == 0, done.stderr
    cells = json.loads(place.run("query", "SELECT cell_id, digest FROM results", "--format", "json").stdout)
    return {row["cell_id"]: row["digest"] for row in cells}
