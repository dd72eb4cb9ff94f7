"""Random faults against runs on stand-in nodes with PostgreSQL, and what must hold after each; part of `soak.py`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from cli_workplace import Workplace
from results_targets import administer, some_server
from server_proxy import Proxy
from simulated_cluster import Cluster, StandIn, parent_of, stand_ins
from waiting import wait_until

ENGINE = "simulated:3x2"
LEASE_SECONDS = 3.0
STRIKES = 12
"""Faults of one round at most; then the run is left alone until it is done."""

MATRIX = """
[matrix]
name = "soak"
dataset = "digits_low"
model = "simple_cnn"
strategy = ["short", "long", "staged", "staged_longer"]
seed = [{seeds}]
backend = "fake"

[[matrix.include]]
dataset = "digits"
strategy = "continued"
model = "simple_cnn"
seed = [{seeds}]

[strategy.short]
epochs = 4

[strategy.long]
extends = "short"
epochs = 9

[[strategy.staged.stage]]
epochs = 4

[[strategy.staged.stage]]
epochs = 2
learning_rate = 0.0005

[[strategy.staged_longer.stage]]
epochs = 4

[[strategy.staged_longer.stage]]
epochs = 5
learning_rate = 0.0005

[strategy.continued]
epochs = 3
weights = { dataset = "digits_low", strategy = "short" }
"""

DOUBLED = "SELECT execution_id FROM epoch GROUP BY execution_id HAVING count(*) != max(epoch) OR min(epoch) != 1"
SEVERAL = "SELECT cell_id FROM execution GROUP BY cell_id HAVING count(*) > 1"
LEFT = {
    "attempts still count as running": "SELECT attempt_id FROM attempt WHERE state = 'running'",
    "executions still count as running": "SELECT execution_id FROM execution WHERE status = 'running'",
    "messages are left": "SELECT message_id FROM message",
    "nodes are still members": "SELECT node_id FROM node WHERE left_utc IS NULL",
}


class Striker:
    """Knows the faults, and strikes with random ones."""

    def __init__(self, cluster: Cluster, admin: object, way: Proxy, random: Random) -> None:
        self.cluster = cluster
        self.admin = admin
        self.way = way
        self.random = random
        self.counts = Counter[str]()
        self.faults: dict[str, Callable[[subprocess.Popen[str]], bool]] = {
            "node killed": self._kill_node,
            "node hung": self._hang_node,
            "agent killed": lambda _: self._kill(lambda node: [node.agent]),
            "keeper killed": lambda _: self._kill(lambda node: [node.keeper]),
            "process of a node killed": lambda _: self._kill(lambda node: node.processes()[2:]),
            "driver killed": self._kill_driver,
            "driver hung": self._hang_driver,
            "driver interrupted": self._interrupt_driver,
            "engine killed": self._kill_engine,
            "connections ended": self._end_connections,
            "server away": self._cut_the_way,
        }

    def strike(self, run: subprocess.Popen[str]) -> None:
        name = self.random.choice(list(self.faults))
        if self.faults[name](run):
            self.counts[name] += 1

    def _node(self) -> StandIn | None:
        nodes = stand_ins(self.cluster)
        return self.random.choice(nodes) if nodes else None

    def _kill(self, victims: Callable[[StandIn], list[int]]) -> bool:
        node = self._node()
        pids = [] if node is None else victims(node)
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.random.choice(pids), signal.SIGKILL)
        return True

    def _kill_node(self, _: subprocess.Popen[str]) -> bool:
        # the last one is left: a run without nodes ends
        if len(stand_ins(self.cluster)) < 2 or (node := self._node()) is None:
            return False
        node.signal(signal.SIGKILL)
        return True

    def _hang_node(self, _: subprocess.Popen[str]) -> bool:
        if (node := self._node()) is None:
            return False
        node.signal(signal.SIGSTOP)
        time.sleep(self.random.choice((0.3, 1.0, LEASE_SECONDS, 2 * LEASE_SECONDS)))
        node.signal(signal.SIGCONT)
        return True

    def _kill_driver(self, run: subprocess.Popen[str]) -> bool:
        run.kill()
        return True

    def _hang_driver(self, run: subprocess.Popen[str]) -> bool:
        run.send_signal(signal.SIGSTOP)
        time.sleep(self.random.choice((1.0, LEASE_SECONDS, 2 * LEASE_SECONDS)))
        run.send_signal(signal.SIGCONT)
        return True

    def _interrupt_driver(self, run: subprocess.Popen[str]) -> bool:
        run.send_signal(signal.SIGINT)
        return True

    def _kill_engine(self, run: subprocess.Popen[str]) -> bool:
        for pid in self.cluster.processes():
            with contextlib.suppress(OSError):
                if parent_of(pid) == run.pid and b"engine_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    return True
        return False

    def _end_connections(self, _: subprocess.Popen[str]) -> bool:
        """All, as when the server is started anew, or those of one client, as when its way is cut; for a moment or longer."""
        until = time.monotonic() + self.random.choice((0.0, 1.0, LEASE_SECONDS))
        one = self.random.random() < 0.5
        while True:
            with self.admin.connect() as connection:
                pids = list(
                    connection.exec_driver_sql(
                        "SELECT pid FROM pg_stat_activity WHERE pid != pg_backend_pid() AND backend_type = 'client backend'"
                    ).scalars()
                )
                for pid in [self.random.choice(pids)] if one and pids else pids:
                    connection.exec_driver_sql("SELECT pg_terminate_backend(%s)", (pid,))
            if time.monotonic() > until:
                return True
            time.sleep(0.05)

    def _cut_the_way(self, _: subprocess.Popen[str]) -> bool:
        """Nobody reaches the server, which may believe on in the connections that there were."""
        self.way.cut(server_notices=self.random.random() < 0.5)
        time.sleep(self.random.choice((0.5, 2.0, 2 * LEASE_SECONDS)))
        self.way.mend()
        time.sleep(1.0)
        self.way.notice()
        return True


def soak_cluster(folder: Path, minutes: float, seeds: int, seed: int) -> tuple[Counter[str], list[str], int]:
    """Rounds of runs with faults until the time is over.

    Returns:
        How often each fault struck, what did not hold, and how many cells were trained.
    """
    random, counts, broken, cells = Random(seed), Counter[str](), list[str](), 0
    matrix = MATRIX.replace("{seeds}", ", ".join(map(str, range(seeds))))
    home = Workplace(folder / "home")
    home.directory.mkdir(parents=True)
    home.write(matrix)
    done = home.run("run")
    assert done.returncode == 0, done.stderr
    rows = json.loads(home.run("query", "SELECT cell_id, digest FROM results", "--format", "json").stdout)
    clean = {row["cell_id"]: row["digest"] for row in rows}
    until = time.monotonic() + 60 * minutes
    with some_server() as address:
        import sqlalchemy as sa

        admin = administer(sa.make_url(address)).execution_options(isolation_level="AUTOCOMMIT")
        number = 0
        while time.monotonic() < until:
            number += 1
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE SCHEMA soak_{number}")
            url = sa.make_url(address).update_query_dict({"options": f"-csearch_path=soak_{number}"})
            place = Workplace(folder / str(number))
            place.directory.mkdir()
            place.write(matrix)
            way = Proxy(sa.make_url(address))
            cluster = Cluster(place, way.url(url.render_as_string(hide_password=False)), ENGINE)
            striker = Striker(cluster, admin, way, random)
            try:
                broken += [f"round {number}: {problem}" for problem in one_round(cluster, striker, clean)]
            except Exception as error:  # noqa: BLE001  a round that breaks is a finding
                broken.append(f"round {number}: {error!r}")
            finally:
                for pid in cluster.processes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                way.close()
            counts += striker.counts
            cells += len(clean)
            print(f"round {number}: {striker.counts.total()} faults, {len(broken)} problems so far", flush=True)
    return counts, broken, cells


def one_round(cluster: Cluster, striker: Striker, clean: dict[str, str]) -> list[str]:
    """One database from its first run to the one that finds everything done: what did not hold, in words."""
    problems, codes = [], []
    for _ in range(3 * STRIKES):
        run = cluster.start(*("--lease", f"{LEASE_SECONDS:g}s", "--retry-failed"), BENCH_FAKE_EPOCH_SECONDS="0.05")
        while run.poll() is None and striker.counts.total() < STRIKES:
            time.sleep(striker.random.uniform(0.2, 3.0))
            if run.poll() is None:
                striker.strike(run)
        try:
            codes.append(run.wait(240))
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            problems.append(f"a run did not end\n{cluster.log[-3000:]}")
        if (codes and codes[-1] not in EXPECTED) or has_broken(cluster.log):
            problems.append(f"a run ended with {codes[-1]}\n{cluster.log[-3000:]}")
        if codes and codes[-1] == 0:
            break
    else:
        return [*problems, f"the runs ended with {codes}\n{cluster.log[-3000:]}"]
    begun = time.monotonic()
    wait_until(lambda: not cluster.processes(), "nothing of the run lives")
    if time.monotonic() - begun > 20:
        problems.append("something lived for more than 20 s after the last run")
    digests = cluster.digests()
    wrong = [cell_id for cell_id, digest in clean.items() if digests.get(cell_id) != digest]
    problems += [f"{len(wrong)} cells without the digest of an undisturbed run: {wrong[:3]}"] if wrong else []
    for what, query in {**LEFT, "epochs are doubled or missing": DOUBLED, "cells were begun anew": SEVERAL}.items():
        if rows := cluster.rows(query):
            problems.append(f"{what}: {rows[:5]}")
    return problems


def has_broken(log: str) -> bool:
    """Whether a log shows a traceback, but for those of Python that meet Ctrl-C where it is ignored."""
    return log.count("Traceback (most recent") > log.count("Exception ignored in")


EXPECTED = frozenset({0, 3, 4, 75, 130, -signal.SIGINT, -signal.SIGKILL})
"""3: a cell was struck more often than it is tried again, or no node was left; 4: the engine or the server was away; 75: the
run before still holds the database, or has lost it; SIGINT ends a run that has nothing to save yet at once."""
