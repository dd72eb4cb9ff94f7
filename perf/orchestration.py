"""Cells that train nothing: what each one more costs, by `bench run` and by what a user would take instead.

    python perf/orchestration.py [--cells 200] [--rounds 3] [--hydra PYTHON]

The peers: a `ProcessPoolExecutor` that spawns a fresh interpreter for each cell (isolated, as here), without any import
of TensorFlow; and with `--hydra`, the Python of a throw-away environment that has `hydra-core` and
`hydra-joblib-launcher`, Hydra's basic launcher (one after another) and its joblib launcher (not isolated). Nobody but
`bench` writes a database. The marginal wall time is that of N cells less that of 10, for each cell between.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from perf_clock import ROOT, Spent, interleaved, middle, run
from perf_notes import append_result

FEW = 10
JOBS = 2

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

POOL = """
import csv, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def cell(seed):
    return seed, 0.5

if __name__ == "__main__":
    with ProcessPoolExecutor(int(sys.argv[2]), get_context("spawn"), max_tasks_per_child=1) as pool:
        with open("results.csv", "w", newline="") as file:
            csv.writer(file).writerows(pool.map(cell, range(int(sys.argv[1]))))
"""

HYDRA = """
import csv, hydra
from omegaconf import DictConfig

@hydra.main(version_base=None, config_path=None)
def cell(config: DictConfig) -> None:
    with open("result.csv", "w", newline="") as file:
        csv.writer(file).writerow([config.seed, 0.5])

if __name__ == "__main__":
    cell()
"""


def bench(folder: Path, count: int) -> Spent:
    (folder / "matrix.toml").write_text(MATRIX.format(seeds=list(range(count))))
    command = [sys.executable, "-m", "benchmark", "run", "-q", "--jobs", JOBS]
    environment = {"BENCH_TESTING": "1", "BENCH_FAKE_EPOCH_SECONDS": "0", "PYTHONPATH": str(ROOT)}
    spent = run(command, folder, environment)
    with closing(sqlite3.connect(folder / "results.sqlite")) as database:
        ((done,),) = database.execute("SELECT count(*) FROM results WHERE status = 'completed'")
    assert done == count
    return spent


def pool(folder: Path, count: int) -> Spent:
    (folder / "pool.py").write_text(POOL)
    return run([sys.executable, "pool.py", count, JOBS], folder)


def hydra(folder: Path, count: int, python: str, *launcher: str) -> Spent:
    (folder / "cell.py").write_text(HYDRA)
    return run([python, "cell.py", "-m", f"+seed=range({count})", *launcher], folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hydra", metavar="PYTHON", help="of an environment with hydra-core, hydra-joblib-launcher")
    options = parser.parse_args()
    peers = {"bench": bench, "spawn pool": pool}
    if options.hydra:
        joblib = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={JOBS}")
        peers["Hydra basic"] = lambda folder, count: hydra(folder, count, options.hydra)
        peers["Hydra joblib"] = lambda folder, count: hydra(folder, count, options.hydra, *joblib)

    def side(action, count: int):
        def once(_round: int) -> Spent:
            with tempfile.TemporaryDirectory() as name:
                return action(Path(name), count)

        return once

    sides = {
        f"{name}, {count} cells": side(action, count)
        for name, action in peers.items()
        for count in (options.cells, FEW)
    }
    found = interleaved(sides, options.rounds)
    more = options.cells - FEW
    texts, marginal = [], {}
    for name in peers:
        many, few = middle(found[f"{name}, {options.cells} cells"]), middle(found[f"{name}, {FEW} cells"])
        marginal[name] = 1000 * (many.wall - few.wall) / more
        cpu = 1000 * (many.cpu - few.cpu) / more
        whose = "of the scheduler" if name == "bench" else "with its processes"
        texts.append(f"{name} {marginal[name]:.1f} ms wall, {cpu:.1f} ms CPU {whose}, {many.memory / 2**20:.0f} MiB")
    ratios = ", ".join(
        f"{marginal['bench'] / value:.2f} of {name}" for name, value in marginal.items() if name != "bench"
    )
    text = f"{options.cells} empty cells, {JOBS} jobs, each one more: {'; '.join(texts)}; ratio **{ratios}**"
    append_result("orchestration", text, "python perf/orchestration.py")


if __name__ == "__main__":
    main()
