"""Strategies that begin with the same stage, with and without sharing it: the same matrix both ways, in turn.

    python perf/stages.py [--rounds 3] [--epochs 5] [--model resnet18] [--examples 500] [--seeds 2] [--jobs 1]

A frozen backbone, two phases and three phases: real runs of `bench run`, each with a fresh database, on data prepared
before. The images of the head's stage are augmented, so that feature reuse does not make it cheap already. Says the
ratio of wall and CPU seconds, that the numbers of every epoch are equal, and how many epochs were trained. Appends lines
to perf/results.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from perf_clock import of_attempts
from perf_notes import append_result

MATRIX = """\
[matrix]
dataset = "digits"
model = "{model}"
strategy = ["frozen", "two", "three"]
seed = {seeds}
image_size = 32
color = "rgb"
train_examples = {examples}
test_examples = 100

[strategy.frozen]
[[strategy.frozen.stage]]
train = "head"
epochs = {epochs}
augment = {{ flip = "horizontal" }}

[strategy.two]
[[strategy.two.stage]]
train = "head"
epochs = {epochs}
augment = {{ flip = "horizontal" }}
[[strategy.two.stage]]
train = "all"
epochs = {later}

[strategy.three]
[[strategy.three.stage]]
train = "head"
epochs = {epochs}
augment = {{ flip = "horizontal" }}
[[strategy.three.stage]]
train = "last:4"
epochs = {later}
[[strategy.three.stage]]
train = "all"
epochs = {later}
"""
METRICS = "strategy, seed, epoch, train_loss, train_accuracy, val_loss, val_accuracy"


@dataclass(frozen=True)
class Side:
    """One run of the matrix."""

    wall: float
    cpu: float
    numbers: list[tuple]
    shared: int
    epochs: int


def bench(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "benchmark", *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL)


def run(folder: Path, jobs: int, *, sharing: bool) -> Side:
    database = folder / "results.sqlite"
    setting = f"share_stages={str(sharing).lower()}"
    began = time.perf_counter()
    bench(folder, "run", "-q", "--jobs", str(jobs), "--set", setting, "--db", str(database))
    wall = time.perf_counter() - began
    with contextlib.closing(sqlite3.connect(database)) as connection:
        numbers = connection.execute(f"select {METRICS} from history order by 1, 2, 3").fetchall()
        (shared,) = connection.execute("select sum(shared_epochs) from execution").fetchone()
    return Side(wall, of_attempts(database), numbers, shared, len(numbers))


def compare(options: argparse.Namespace) -> str:
    seeds = list(range(options.seeds))
    later = max(options.epochs // 2, 1)
    text = MATRIX.format(
        model=options.model, seeds=seeds, examples=options.examples, epochs=options.epochs, later=later
    )
    sides: dict[bool, list[Side]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "matrix.toml").write_text(text)
        bench(place, "prepare")
        for number in range(options.rounds):
            # every second round the other way round, against drift
            for sharing in (True, False) if number % 2 else (False, True):
                folder = place / f"{number}-{sharing}"
                folder.mkdir()
                (folder / "matrix.toml").write_text(text)
                sides[sharing].append(run(folder, options.jobs, sharing=sharing))
    together, alone = sides[True], sides[False]
    assert all(ours.numbers == theirs.numbers for ours, theirs in zip(together, alone, strict=True))
    assert all(side.shared == 0 for side in alone)
    wall = [statistics.median(side.wall for side in found) for found in (together, alone)]
    cpu = [statistics.median(side.cpu for side in found) for found in (together, alone)]
    epochs, trained = together[0].epochs, together[0].epochs - together[0].shared
    return (
        f"{options.model}, 32 px, {options.examples} examples, frozen ({options.epochs} epochs), two phases (+ {later}), "
        f"three phases (+ {2 * later}), {options.seeds} seed(s), {options.jobs} job(s), {options.rounds} round(s), medians: "
        f"shared {wall[0]:.1f} s, each for itself {wall[1]:.1f} s: ratio **{wall[0] / wall[1]:.2f}** wall, "
        f"{cpu[0] / cpu[1]:.2f} CPU ({cpu[0]:.1f} against {cpu[1]:.1f} s); {trained} of {epochs} epochs trained; every "
        f"epoch has the same numbers"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    names = ("rounds", "epochs", "model", "examples", "seeds", "jobs")
    arguments = " ".join(f"--{name} {getattr(options, name)}" for name in names)
    append_result("stages", compare(options), f"python perf/stages.py {arguments}")


if __name__ == "__main__":
    main()
