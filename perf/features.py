"""Frozen backbones with and without feature reuse: the same cell both ways, in turn, each in a fresh worker.

    python perf/features.py [--rounds 3] [--epochs 3 10] [--model vgg16 resnet50] [--image-size 32] [--examples 512]

Both sides are real workers, forked from one template that has Keras imported; weights are random, as no weights have
to be downloaded for their time to be measured. What is compared is the time of a cell from its first line to its last
and the part of it that trains (computing features included); the first use of features is `computed`, a sibling with
another learning rate finds them and is `reused`. Appends lines to perf/results.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from perf_notes import append_result

from benchmark import events
from benchmark.matrix.cell import Architecture, Cell, Data, Stage, Weights
from benchmark.training import worker
from benchmark.training.programs.prepare import prepare

HEAD = Stage("head", 1, 32, "adam", 1e-3, None, 0.0, 0.0, (), None, None)


@dataclass(frozen=True)
class Run:
    """What one worker told, and what it used."""

    told: list[events.Event]
    cpu_seconds: float

    def one(self, kind):
        return next(event for event in reversed(self.told) if isinstance(event, kind))

    @property
    def losses(self) -> list[float]:
        found = [event for event in self.told if isinstance(event, events.EpochFinished)]
        return [loss for epoch in found for loss in (epoch.train_loss, epoch.val_loss)]


def work(cell: Cell, data: Path, folder: Path, cache: Path) -> Run:
    """Forks a worker for a cell and waits for it."""
    folder.mkdir(parents=True)
    job = events.Job(1, cell.to_dict(), str(folder), (), str(data), None, None, (), None, "fork")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if not child:
        os.environ["BENCH_CACHE"] = str(cache)
        with (folder / "events").open("wb", buffering=0) as file:
            code = worker.main(job, lambda event: file.write(events.to_line(event)))
        os._exit(code)
    _, status = os.waitpid(child, 0)
    lines = (folder / "events").read_bytes().splitlines(keepends=True)
    if status:
        raise RuntimeError(lines[-1].decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run([events.from_line(line) for line in lines], cpu)


def cell_of(model: str, data: Data, epochs: int, threads: int) -> Cell:
    architecture = Architecture(model, (("dense_units", 0), ("dropout", 0.0)))
    return Cell(
        "0" * 20, "digits", model, "frozen", "frozen", 0, data, architecture, Weights("none"),
        (replace(HEAD, epochs=epochs),), "best", "val_accuracy", "integer", threads, "float32", "tensorflow", "cpu", "cpu",
        True,
    )  # fmt: skip


def largest_difference(ours: Run, theirs: Run) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(ours.losses, theirs.losses, strict=True))


def compare(cell: Cell, data: Path, rounds: int) -> str:
    sibling = replace(cell, stages=(replace(cell.stages[0], learning_rate=2e-3),))
    sides = {"normal": replace(cell, reuse_features=False), "computed": cell, "reused": sibling}
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            # every second round the other way round, against drift; reused needs computed before it
            order = ["normal", "computed", "reused"] if number % 2 == 0 else ["computed", "reused", "normal"]
            for side in order:
                run = work(sides[side], data, place / side, place / "cache")
                assert run.one(events.StageStarted).features == side.replace("normal", "none")
                runs[side].append(run)
    fit = {side: median(run.one(events.Completed).fit_seconds for run in found) for side, found in runs.items()}
    total = {side: median(run.one(events.Completed).total_seconds for run in found) for side, found in runs.items()}
    cpu = {side: median(run.cpu_seconds for run in found) for side, found in runs.items()}
    worst = max(map(largest_difference, runs["computed"], runs["normal"]))
    alone = median(run.one(events.StageStarted).features_alone_seconds for run in runs["reused"])
    epochs = cell.stages[0].epochs
    return (
        f"{cell.architecture.name} {cell.data.image_size} px, head, {epochs} epochs, "
        f"{cell.threads} thread(s), {rounds} rounds, medians: fit {fit['normal']:.1f} s as a whole, "
        f"{fit['computed']:.1f} s computed, {fit['reused']:.2f} s reused (+ {alone:.1f} s it would have cost alone): "
        f"**{fit['normal'] / fit['computed']:.1f} x** = {fit['normal'] / fit['computed'] / epochs:.2f} x the epochs, "
        f"and {fit['normal'] / fit['reused']:.0f} x; whole cell {total['normal']:.1f}, {total['computed']:.1f}, "
        f"{total['reused']:.1f} s; CPU {cpu['normal']:.1f}, {cpu['computed']:.1f}, {cpu['reused']:.1f} s; "
        f"losses differ by {worst:.0e}"
    )


def median(values) -> float:
    return statistics.median(list(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--model", nargs="+", default=["vgg16", "resnet50"])
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    data = Data("digits", None, 10, options.image_size, "rgb", options.examples, 64, 0.1)
    arguments = f"--rounds {options.rounds} --image-size {options.image_size} --examples {options.examples} --threads {options.threads}"
    with tempfile.TemporaryDirectory() as name:
        prepared = prepare("digits", options.image_size, "rgb", name)
        for model in options.model:
            for epochs in options.epochs:
                text = compare(cell_of(model, data, epochs, options.threads), prepared, options.rounds)
                append_result("features", text, f"python perf/features.py {arguments}")


if __name__ == "__main__":
    main()
