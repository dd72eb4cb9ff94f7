"""Images that have no room decoded: what training waits for them, and what preparing them takes.

    python perf/big.py [--pictures 200000] [--train 64] [--rounds 1]

ResNet50 trains at 224 pixels, with one thread, on JPEG files of 500 x 375 pixels that are decoded meanwhile, and on the
decoded arrays of the same files. Then many small pictures are prepared, to stay compressed, beside a plain loop that decodes
them on all cores and keeps nothing; and a tenth as many, by which the memory for 1.28 million is foretold.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from perf_clock import Spent, interleaved, of_attempts, ratio, run, told
from perf_notes import append_result
from PIL import Image

IMAGENET = 1_281_167

PLAIN = """
import sys
from multiprocessing import Pool
from pathlib import Path
import numpy as np
from PIL import Image

def decode(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)).sum()

if __name__ == "__main__":
    with Pool() as pool:
        print(sum(pool.imap_unordered(decode, sorted(Path(sys.argv[1]).rglob("*.*")), chunksize=200)))
"""

MANY = """
[matrix]
dataset = "own"
model = "simple_cnn"
strategy = "scratch"

[dataset.own]
source = "folder:pictures"
image_size = 32
color = "rgb"
"""

MATRIX = """
[matrix]
dataset = "photos"
model = "resnet50"
strategy = "scratch"

[defaults]
threads = 1
batch_size = 16
epochs = 2
keep = "last"

[dataset.photos]
source = "folder:photos"
image_size = 224
color = "rgb"
"""


def small_pictures(root: Path, count: int) -> None:
    """Links to a thousand different JPEG and PNG files of 64 pixels, in a hundred classes."""
    generator = np.random.default_rng(0)
    originals = []
    (root.parent / "originals").mkdir(exist_ok=True)
    for index in range(1000):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        originals.append(root.parent / "originals" / f"{index}.{'png' if index % 2 else 'jpg'}")
        Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(originals[-1])
    for index in range(count):
        original = originals[index % 1000]
        place = root / f"n{index % 100:08}" / f"n{index % 100:08}_{index}{original.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(original)


def photographs(root: Path, count: int) -> None:
    """JPEG files of 500 x 375 pixels and about 100 KB, as those of ImageNet are."""
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        noisy = (smooth + generator.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8)
        place = root / f"class_{index % 2}" / f"{index:05}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(place, quality=90)


def epoch_of(folder: Path, *, decoded: bool, number: int) -> dict[str, float]:
    """Seconds of the last epoch of the cell, and of processors for all of it."""
    name = f"{'decoded' if decoded else 'compressed'}{number}"
    variables = {"BENCH_CACHE": str(folder / name), "BENCH_PREPARED_GIB": "100" if decoded else "0"}
    run([sys.executable, "-m", "benchmark", "run", "--db", f"{name}.sqlite"], folder, variables)
    names = ("input_seconds", "step_seconds", "seconds")
    with sqlite3.connect(folder / f"{name}.sqlite") as connection:
        values = connection.execute(f"select {', '.join(names)} from epoch order by epoch desc limit 1").fetchone()
    epoch = {**dict(zip(names, values, strict=True)), "cpu_seconds": of_attempts(folder / f"{name}.sqlite")}
    print(f"  {name}: {epoch}", flush=True)
    return epoch


def measure_training(images: int, rounds: int) -> str:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photographs(folder / "photos", images)
        (folder / "matrix.toml").write_text(MATRIX)
        pairs = [
            [epoch_of(folder, decoded=decoded, number=number) for decoded in (False, True)] for number in range(rounds)
        ]
    waits = statistics.median(ours["input_seconds"] / ours["seconds"] for ours, _ in pairs)
    more = statistics.median(ours["cpu_seconds"] / theirs["cpu_seconds"] for ours, theirs in pairs)
    return (
        f"resnet50 at 224 pixels, 1 thread, {rounds} rounds, medians: waits **{waits:.2%}** of an epoch for images of 500 x 375 "
        f"pixels that are decoded meanwhile on the same core; the cell takes {more:.2f} times the CPU of one on decoded images"
    )


def measure_preparing(count: int, rounds: int) -> str:
    cores = len(os.sched_getaffinity(0))
    spent: dict[int, dict[str, list[Spent]]] = {}
    for pictures in (count, count // 10):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            small_pictures(folder / "pictures", pictures)
            (folder / "matrix.toml").write_text(MANY)
            (folder / "plain.py").write_text(PLAIN)
            prepare = [sys.executable, "-m", "benchmark", "prepare"]
            sides = {
                "bench prepare": lambda number, folder=folder, prepare=prepare: run(
                    prepare, folder, {"BENCH_CACHE": f"{folder}/cache{number}", "BENCH_PREPARED_GIB": "0"}
                ),
                "bare decoder": lambda _, folder=folder: run([sys.executable, "plain.py", "pictures"], folder),
            }
            spent[pictures] = interleaved(sides, rounds)
    ours, theirs = spent[count].values()
    most, least = (max(one.memory for one in each["bench prepare"]) for each in (spent[count], spent[count // 10]))
    each = (most - least) / (count - count // 10)
    return (
        f"{count:,} pictures of 64 pixels that stay compressed, {rounds} rounds, medians: {told('bench prepare', ours)}; "
        f"{told(f'bare decoder on {cores} cores', theirs)}; ratio **{ratio(ours, theirs):.2f}** wall; no process takes more than "
        f"{most / 2**20:.0f} MiB, {each:.0f} bytes more for each picture, so {(most + each * (IMAGENET - count)) / 2**20:.0f} MiB "
        "for ImageNet"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--train", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    command = " ".join(["python perf/big.py", *sys.argv[1:]])
    if options.pictures:
        append_result("big", measure_preparing(options.pictures, options.rounds), command)
    if options.train:
        append_result("big", measure_training(options.train, options.rounds), command)


if __name__ == "__main__":
    main()
