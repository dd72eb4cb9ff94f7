"""The whole default tour by `bench run`, against the same cells as plain Keras scripts, one process after another.

    python perf/tour.py [--rounds 1] [--select EXPR]

Both sides run in turn (A B A B …) on one machine; the ratio of wall times is what counts, CPU seconds stand beside.
Appends a line for each round to perf/results.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from perf_clock import of_attempts
from perf_notes import append_result

from benchmark import machine
from benchmark.catalog.cache import default_cache_root, prepared_directory
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind

ROOT = Path(__file__).resolve().parent.parent


def timed(action) -> tuple[float, float]:
    """Wall and CPU seconds (children included) of `action()`."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def run_bench(folder: Path, select: list[str]) -> None:
    command = [sys.executable, "-m", "benchmark", "run", "-q", "--matrix", str(ROOT / "matrix.toml")]
    options = [part for expression in select for part in ("--select", expression)]
    subprocess.run([*command, *options, "--db", str(folder / "bench.sqlite")], check=True, cwd=folder)


def run_scripts(folder: Path, cells) -> None:
    for number, cell in enumerate(cells):
        file = folder / f"{number}.json"
        file.write_text(json.dumps(cell.to_dict()))
        arrays = prepared_directory(cell.data.source, cell.data.image_size, cell.data.color, default_cache_root())
        script = [sys.executable, str(ROOT / "perf" / "plain_cell.py"), str(file), str(arrays), str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(cell.threads)}
        subprocess.run([*script, str(folder / "scripts.csv")], check=True, env=environment, stderr=subprocess.DEVNULL)


def compare(folder: Path, select: list[str], cells) -> str:
    bench_wall, bench_cpu = timed(lambda: run_bench(folder, select))
    bench_cpu += of_attempts(folder / "bench.sqlite")
    plain_wall, plain_cpu = timed(lambda: run_scripts(folder, cells))
    with (folder / "scripts.csv").open() as file:
        assert len(list(csv.reader(file))) == len(cells)
    return (
        f"{len(cells)} cells: bench {bench_wall:.0f} s wall, {bench_cpu:.0f} s CPU; plain scripts {plain_wall:.0f} s "
        f"wall, {plain_cpu:.0f} s CPU; ratio **{bench_wall / plain_wall:.2f}** wall, {bench_cpu / plain_cpu:.2f} CPU"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--select", action="append", default=[])
    options = parser.parse_args()
    kind = MachineKind(gpus=0, cores=machine.cpu_cores())
    cells = load_matrix(ROOT / "matrix.toml", select=options.select, machine_kind=kind).cells
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            text = compare(Path(name), options.select, cells)
        append_result("tour", text, "python perf/tour.py")


if __name__ == "__main__":
    main()
