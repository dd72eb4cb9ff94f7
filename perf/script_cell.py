"""A script as a cell, against the same script started by hand: what the cell costs beyond it.

    python perf/script_cell.py [--rounds 5] [--cells 20]

The script finds the nearest mean of the digits: it imports NumPy and computes for some milliseconds. Both sides run `--cells`
of it one after another, in turn (A B A B …); of bench the time counts from the first cell to the last, the start of `bench run`
left aside. Also measures `import benchmark.cell` against a bare interpreter. Appends a line to perf/results.md.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from perf_clock import run
from perf_notes import append_result

from benchmark.catalog.cache import default_cache_root, prepared_directory

LEARN = """
import numpy as np

def learn(images, labels, others):
    rows = images.reshape(len(images), -1).astype(np.float32)
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(10)])
    distances = ((others.reshape(len(others), 1, -1) - means) ** 2).sum(axis=-1)
    scores = np.exp((distances.min(axis=1, keepdims=True) - distances) / 1e4)
    return scores / scores.sum(axis=1, keepdims=True)
"""
CELL = f"""{LEARN}
from benchmark import cell
cell.finish(probabilities=learn(*cell.train, cell.test[0]))
"""
BARE = f"""{LEARN}
import sys
folder, seed, answers = sys.argv[1:]
images, labels, test = (np.load(f"{{folder}}/{{name}}.npy", mmap_mode="c") for name in ("train_images", "train_labels", "test_images"))
kept = np.sort(np.random.default_rng(int(seed)).permutation(len(images))[: round(0.9 * len(images))])
np.save(answers, learn(images[kept], np.asarray(labels)[kept], test).astype(np.float32))
"""
MATRIX = """
[matrix]
dataset = "digits"
model = "means"
strategy = "scratch"
seed = [{seeds}]

[model.means]
command = ["python", "means.py"]
"""


def seconds_of(database: Path) -> tuple[float, float]:
    """Wall seconds from the first attempt's start to the last one's end, and CPU seconds of all attempts."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "select started_utc, finished_utc, user_seconds + system_seconds from attempt"
        ).fetchall()
    times = [[datetime.fromisoformat(text) for text in row[:2]] for row in rows]
    spent = max(end for _, end in times) - min(start for start, _ in times)
    return spent.total_seconds(), sum(row[2] for row in rows)


def measure(folder: Path, cells: int, arrays: Path) -> tuple[float, float, float, float]:
    """Milliseconds for each script: wall and CPU by hand, then wall and CPU as a cell."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    bare = [run([sys.executable, "bare.py", arrays, seed, "answers.npy"], folder, one_thread) for seed in range(cells)]
    database = folder / "results.sqlite"
    database.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmark", "run", "-q", "--allow-plugins", "--jobs", "1", "--db", database]
    run(command, folder)
    wall, cpu = seconds_of(database)
    by_hand = sum(spent.wall for spent in bare), sum(spent.cpu for spent in bare)
    return tuple(1000 * value / cells for value in (*by_hand, wall, cpu))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "means.py").write_text(CELL)
        (folder / "bare.py").write_text(BARE)
        (folder / "matrix.toml").write_text(MATRIX.format(seeds=", ".join(map(str, range(options.cells)))))
        run([sys.executable, "-m", "benchmark", "prepare"], folder)
        arrays = prepared_directory("digits", 16, "grey", default_cache_root())
        rounds = []
        for number in range(options.rounds):
            rounds.append(measure(folder, options.cells, arrays))
            print(f"round {number + 1}: by hand {rounds[-1][0]:.0f} ms, cell {rounds[-1][2]:.0f} ms", file=sys.stderr)
            for artifacts in folder.glob("results.artifacts"):
                artifacts.rename(folder / f"old {number}")
        empty = [run([sys.executable, "-c", ""], folder).wall for _ in range(20)]
        imports = [run([sys.executable, "-c", "import benchmark.cell"], folder).wall for _ in range(20)]
    wall = [cell - bare for bare, _, cell, _ in rounds]
    cpu = [cell - bare for _, bare, _, cell in rounds]
    text = (
        f"a script of {statistics.median(bare for bare, *_ in rounds):.0f} ms: as a cell {statistics.median(wall):+.0f} ms wall "
        f"({min(wall):+.0f} to {max(wall):+.0f}), {statistics.median(cpu):+.0f} ms CPU; `import benchmark.cell` "
        f"{1000 * (statistics.median(imports) - statistics.median(empty)):.0f} ms"
    )
    append_result("script cell", text, f"perf/script_cell.py --rounds {options.rounds} --cells {options.cells}")


if __name__ == "__main__":
    main()
