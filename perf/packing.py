"""Small cells packed side by side with one thread each, against one after another with all threads.

    python perf/packing.py [--cells 6] [--model advanced_cnn] [--epochs 3] [--rounds 2]

Wall time is that from the start of the first cell to the end of the last; the imports before are the same for both.
Beside them stands what `threads = "auto"` comes to, measured anew.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from perf_clock import Spent, interleaved, ratio, run, told
from perf_notes import append_result

from benchmark import machine

MATRIX = """
[matrix]
dataset = "digits"
model = "{model}"
strategy = "scratch"
device = "cpu"
threads = {threads}
seed = {seeds}
[defaults]
epochs = {epochs}
"""


def bench(folder: Path, options: argparse.Namespace, threads: int, jobs: int) -> Spent:
    """One run, as its workers took it, and as their guardians saw what they used."""
    seeds = list(range(options.cells))
    (folder / "matrix.toml").write_text(
        MATRIX.format(model=options.model, threads=threads, seeds=seeds, epochs=options.epochs)
    )
    run([sys.executable, "-m", "benchmark", "run", "-q", "--jobs", jobs], folder)
    with closing(sqlite3.connect(folder / "results.sqlite")) as database:
        ((done, cpu, memory, wall),) = database.execute(
            "SELECT count(*), sum(user_seconds + system_seconds), max(peak_rss_bytes),"
            " (julianday(max(finished_utc)) - julianday(min(started_utc))) * 86400"
            " FROM attempt WHERE state = 'completed'"
        )
    assert done == options.cells
    return Spent(wall, cpu, memory)


def chosen(folder: Path, options: argparse.Namespace) -> tuple[int, Spent]:
    """What `threads = "auto"` comes to, and what measuring it took."""
    (folder / "matrix.toml").write_text(
        MATRIX.format(model=options.model, threads='"auto"', seeds=[0], epochs=options.epochs)
    )
    command = [sys.executable, "-m", "benchmark", "plan", "-q", "--probe", "--format", "json"]
    with (folder / "plan.json").open("w") as plan:
        spent = run(command, folder, {"BENCH_CACHE": str(folder / "cache")}, stdout=plan)
    (cell,) = json.loads((folder / "plan.json").read_text())["cells"]
    return cell["threads"], spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--model", default="advanced_cnn")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    cores = len(machine.available_cores())

    def side(threads: int, jobs: int):
        def once(_round: int) -> Spent:
            with tempfile.TemporaryDirectory() as name:
                return bench(Path(name), options, threads, jobs)

        return once

    found = interleaved({"packed": side(1, cores), "in turn": side(cores, 1)}, options.rounds)
    packed, turn = found["packed"], found["in turn"]
    with tempfile.TemporaryDirectory() as name:
        threads, measuring = chosen(Path(name), options)
    text = (
        f"{options.cells} cells of {options.model}: {told(f'{cores} at once with 1 thread', packed)}; "
        f"{told(f'one after another with {cores} threads', turn)}; ratio **{ratio(packed, turn):.2f}** wall; "
        f'`threads = "auto"` chose {threads} in {measuring.wall:.1f} s'
    )
    append_result("packing", text, "python perf/packing.py")


if __name__ == "__main__":
    main()
