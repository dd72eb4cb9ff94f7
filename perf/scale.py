"""Large matrices: planning, reporting, watching, recording, and how each grows.

    python perf/scale.py [--sizes 1000 10000 100000] [--epochs 1000000] [--rounds 3]

Planning: `bench plan --format json` of so many cells. Reading: `bench report` and `bench status` over a database of so
many cells and as many epochs as `--epochs` says (at most 100 for each cell), against pandas reading the same view and
grouping it. Recording: one epoch in a transaction of its own, in a database that holds all those, against appending
a synced line to a CSV file.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import tempfile
import time
from pathlib import Path

from perf_clock import Spent, middle, run
from perf_notes import append_result

MACHINE = "perf"
MATRIX = """
[matrix]
name = "scale"
dataset = ["digits", "digits_low"]
model = ["simple_cnn", "advanced_cnn", "resnet18"]
strategy = ["scratch", "regularized"]
seed = {seeds}
"""
PLACES = 12


def write_matrix(folder: Path, cells: int) -> int:
    seeds = max(cells // PLACES, 1)
    (folder / "matrix.toml").write_text(MATRIX.format(seeds=list(range(seeds))))
    return seeds * PLACES


def bench(folder: Path, *arguments: str) -> Spent:
    with (folder / "answer.txt").open("wb") as answer:
        return run([sys.executable, "-m", "benchmark", *arguments], folder, stdout=answer)


def repeated(rounds: int, action) -> Spent:
    return middle([action() for _ in range(rounds)])


def fill(folder: Path, epochs_of_cell: int, target: str | Path | None = None, log: str | None = None) -> None:
    """A database, at `target` or in the folder, in which every cell of the matrix has completed, written in bulk.

    A `log` is that of every attempt.
    """
    from benchmark.matrix.load import load_matrix
    from benchmark.matrix.plan import MachineKind
    from benchmark.results.schema import tables
    from benchmark.results.store.database import open_database
    from benchmark.results.write.recorder import Recorder

    plan = load_matrix(folder / "matrix.toml", machine_kind=MachineKind(gpus=0, cores=2))
    with open_database(target or folder / "results.sqlite", mode="write") as database:
        recorder = Recorder(database)
        run_id = recorder.begin_run({"machine": MACHINE, "matrix_path": "matrix.toml", "matrix_text": plan.text})
        recorder.register(run_id, plan.cells, plan.left_out, ())
        with database.transaction() as connection:
            for first in range(0, len(plan.cells), 500):
                some = list(enumerate(plan.cells[first : first + 500], first + 1))
                connection.execute(
                    tables.execution.insert(), [execution(run_id, number, cell) for number, cell in some]
                )
                connection.execute(tables.attempt.insert(), [attempt(run_id, number, log) for number, _ in some])
                rows = [epoch(run_id, number, at) for number, _ in some for at in range(1, epochs_of_cell + 1)]
                connection.execute(tables.epoch.insert(), rows)
            # only now: epochs of a finished execution cannot be added to
            connection.execute(tables.execution.update().values(status="completed"))
        recorder.finish_run(run_id, "completed", 0)


def execution(run_id: int, number: int, cell) -> dict[str, object]:
    score = 0.9 + (number * 7919 % 1000) / 20_000
    return {
        "execution_id": number, "cell_id": cell.cell_id, "machine": MACHINE, "first_run_id": run_id, "run_id": run_id,
        "status": "running", "epochs": 10, "best_epoch": 9, "train_accuracy": score, "train_loss": 0.1,
        "val_accuracy": score, "val_loss": 0.1, "test_accuracy": score, "test_loss": 0.1, "parameters": 225_034,
        "trainable_parameters": 225_034, "train_examples": 1293, "validation_examples": 144, "test_examples": 360,
        "data_fingerprint": "f" * 64, "compute_dtype": "float32", "setup_seconds": 0.1, "first_epoch_seconds": 0.6,
        "fit_seconds": 2.0, "evaluate_seconds": 0.1, "total_seconds": 2.5, "images_per_second": 5000.0,
        "peak_rss_bytes": 450_000_000, "timing_valid": True, "resumed": False, "digest": "d" * 64,
        "started_utc": "2026-01-01T00:00:00.000Z", "finished_utc": "2026-01-01T00:00:02.500Z",
    }  # fmt: skip


def attempt(run_id: int, number: int, log: str | None = None) -> dict[str, object]:
    return {
        "attempt_id": number, "execution_id": number, "run_id": run_id, "number": 1, "state": "completed", "log_tail": log,
        "started_utc": "2026-01-01T00:00:00.000Z", "finished_utc": "2026-01-01T00:00:02.500Z",
    }  # fmt: skip


def epoch(run_id: int, number: int, at: int) -> dict[str, object]:
    return {
        "execution_id": number, "epoch": at, "attempt_id": number, "run_id": run_id, "stage": 1, "stage_epoch": at,
        "train_accuracy": 0.9, "train_loss": 1 / at, "val_accuracy": 0.9, "val_loss": 1.1 / at, "learning_rate": 1e-3,
        "seconds": 0.2, "input_seconds": 0.01, "step_seconds": 0.17, "validation_seconds": 0.02,
        "checkpoint_seconds": 0.001, "images_per_second": 7000.0, "traced": at == 1, "improved": True,
    }  # fmt: skip


def recording(folder: Path, count: int = 300) -> tuple[float, float]:
    """Milliseconds for one epoch: recorded, and as a synced line of CSV; taken in turn."""
    from benchmark.events import EpochFinished
    from benchmark.results.store.database import open_database
    from benchmark.results.write.recorder import Recorder

    ours = theirs = 0.0
    with open_database(folder / "results.sqlite", mode="write") as database, (folder / "epochs.csv").open("a") as file:
        recorder = Recorder(database)
        run_id = recorder.begin_run({"machine": MACHINE})
        with database.reading() as connection:
            cell_id = connection.exec_driver_sql("SELECT cell_id FROM cell LIMIT 1").scalar_one()
        start = recorder.start_attempt(run_id, cell_id, MACHINE, fresh=True)
        for at in range(1, count + 1):
            values = (1, at, at, 0.9, 0.1, 0.9, 0.1, 1e-3, 1.0, 0.1, 0.8, 0.1, 0.0, 1000.0, False, True)
            began = time.perf_counter()
            recorder.record(start.attempt_id, EpochFinished(*values))
            middle_time = time.perf_counter()
            line = io.StringIO()
            csv.writer(line).writerow(values)
            file.write(line.getvalue())
            file.flush()
            os.fsync(file.fileno())
            ours += middle_time - began
            theirs += time.perf_counter() - middle_time
        recorder.finish_attempt(start.attempt_id, state="interrupted")
        recorder.finish_run(run_id, "interrupted", 130)
    return 1000 * ours / count, 1000 * theirs / count


PANDAS = """
import sqlite3, pandas
with sqlite3.connect("file:results.sqlite?mode=ro", uri=True) as database:
    rows = pandas.read_sql("SELECT * FROM results", database)
keys = ["dataset", "model", "strategy"]
print(rows.groupby(keys)[["train_accuracy", "val_accuracy", "test_accuracy", "fit_seconds"]].agg(["mean", "sem", "count"]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--epochs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name), size, options)


def measure(folder: Path, size: int, options: argparse.Namespace) -> None:
    cells = write_matrix(folder, size)
    planned = repeated(options.rounds, lambda: bench(folder, "plan", "--format", "json"))
    epochs = max(min(options.epochs // cells, 100), 1)
    fill(folder, epochs)
    ours, theirs, status = [], [], []
    for _ in range(options.rounds):
        ours.append(bench(folder, "report", "--machine", MACHINE))
        theirs.append(run([sys.executable, "-c", PANDAS], folder))
        status.append(bench(folder, "status"))
    again = repeated(1, lambda: bench(folder, "plan", "--format", "json", "--machine", MACHINE))
    line, csv_line = recording(folder)
    report, pandas, state = middle(ours), middle(theirs), middle(status)
    text = (
        f"{cells:,} cells, {cells * epochs:,} epochs: plan {planned.wall:.2f} s wall, {planned.cpu:.2f} s CPU, "
        f"{planned.memory / 2**20:.0f} MiB (all finished: {again.wall:.2f} s); report {report.wall:.2f} s wall, "
        f"{report.cpu:.2f} s CPU, {report.memory / 2**20:.0f} MiB, pandas {pandas.wall:.2f} s, ratio "
        f"**{report.wall / pandas.wall:.2f}**; status {state.wall:.2f} s, {state.cpu:.2f} s CPU; recording an epoch "
        f"{line:.2f} ms, a synced line of CSV {csv_line:.2f} ms, ratio **{line / csv_line:.2f}**"
    )
    append_result("scale", text, "python perf/scale.py")


if __name__ == "__main__":
    main()
