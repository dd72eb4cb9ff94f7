"""Prepared data in workers: how long opening takes, what eight of them hold in memory, how long training waits.

    python perf/data.py [--rounds 5] [--workers 8] [--tfds DATASET]

The dataset has CIFAR-10's size and random content. The opponent reads a compressed archive of the same arrays into
memory, as `keras.datasets` does. With `--tfds` (and the dataset at hand) the first preparation is compared with reading
it by plain TFDS into arrays.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from perf_clock import interleaved, ratio, run, told
from perf_notes import append_result
from synthetic import BASES, cell_of, job_of, write_dataset

from benchmark.training.data.dataset import open_dataset

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


CELL = cell_of("simple_cnn", 32, 3, examples=50_000, epochs=1)


def opened(data: Path):
    return open_dataset(data, CELL.data, CELL.seed, one_hot=False)


def memory_of_worker(kind: str, data: Path, barrier, answers) -> None:
    """Opens the data and looks at every image; answers with its share of the memory while all others hold theirs."""
    if kind == "mapped":
        held = opened(data).training.images
    else:
        with np.load(data / "all.npz") as archive:
            held = archive["train_images"]
    sum(int(held[start : start + 5000].sum()) for start in range(0, len(held), 5000))
    barrier.wait()
    proportional = next(
        int(line.split()[1]) << 10
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )
    barrier.wait()
    answers.put(proportional)


def memory(kind: str, data: Path, workers: int) -> int:
    """Bytes of main memory that so many processes hold together."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=memory_of_worker, args=(kind, data, barrier, answers)) for _ in range(workers)]
    for process in processes:
        process.start()
    total = sum(answers.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def opening(data: Path, rounds: int) -> tuple[float, float]:
    """Median milliseconds to the first batch: mapped, and from the archive."""
    ours, theirs = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        next(opened(data).training.batches(64))
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        with np.load(data / "all.npz") as archive:
            images = {name: archive[name] for name in ARRAYS}
        images["train_images"][np.random.default_rng(0).permutation(50_000)[:64]].astype("float32")
        theirs.append(time.perf_counter() - began)
    return 1000 * statistics.median(ours), 1000 * statistics.median(theirs)


def waiting(data: Path, folder: Path) -> str:
    """Share of the epochs without tracing that a small network waits for its images."""
    from benchmark.events import EpochFinished
    from benchmark.training.worker import main as work

    events: list = []
    cell = cell_of("simple_cnn", 32, 3, examples=6_400, epochs=3)
    work(job_of(cell, data, folder), events.append)
    epochs = [event for event in events if isinstance(event, EpochFinished) and not event.traced]
    share = sum(one.input_seconds for one in epochs) / sum(one.seconds for one in epochs)
    return f"{share:.1%}"


TFDS = """
import sys, numpy as np, tensorflow_datasets as tfds
for split in ("train", "test"):
    images, labels = tfds.as_numpy(tfds.load(sys.argv[1], split=split, batch_size=-1, as_supervised=True, download=False))
    print(images.shape, labels.shape)
"""


def first_preparation(dataset: str, rounds: int) -> str:
    wish = {"source": f"tfds:{dataset}", "image_size": 0, "color": "rgb", "offline": True}
    from benchmark.catalog.facts import SOURCES

    facts = SOURCES[wish["source"]]
    wish |= {"image_size": facts.image_size, "color": "grey" if facts.channels == 1 else "rgb"}

    def prepare(_round: int):
        with tempfile.TemporaryDirectory() as name:
            told_to = json.dumps({**wish, "cache_root": name})
            return run([sys.executable, "-m", "benchmark.training.programs.prepare", told_to], Path(name))

    def read(_round: int):
        with tempfile.TemporaryDirectory() as name:
            return run([sys.executable, "-c", TFDS, dataset], Path(name))

    found = interleaved({"prepared": prepare, "plain TFDS": read}, rounds)
    ours, theirs = found["prepared"], found["plain TFDS"]
    return f"; first preparation of {dataset}: {told('ours', ours)}, {told('plain TFDS', theirs)}, ratio **{ratio(ours, theirs):.2f}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--tfds", metavar="DATASET", help="mnist, cifar10 or imagenette, prepared by TFDS before")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as name:
        _, train, test = BASES[3]
        data = write_dataset(Path(name) / "data", 32, 3, train, test)
        np.savez_compressed(data / "all.npz", **{array: np.load(data / f"{array}.npy") for array in ARRAYS})
        mapped, archive = opening(data, options.rounds)
        held = {kind: memory(kind, data, options.workers) for kind in ("mapped", "archive")}
        share = waiting(data, Path(name) / "cell")
    text = (
        f"CIFAR-10's size: {mapped:.0f} ms to the first batch, from an archive {archive:.0f} ms, ratio "
        f"**{mapped / archive:.3f}**; {options.workers} processes hold {held['mapped'] / 2**20:.0f} MiB, reading the "
        f"archive {held['archive'] / 2**20:.0f} MiB, ratio **{held['mapped'] / held['archive']:.2f}**; a small network "
        f"waits {share} of its epochs for images"
    )
    if options.tfds:
        text += first_preparation(options.tfds, 2)
    append_result("data", text, "python perf/data.py")


if __name__ == "__main__":
    main()
