"""Preparing a folder of images in class folders, beside a plain loop over its files with Pillow.

    python perf/folders.py [--images 60000] [--look 200000] [--rounds 3]

Half of the images are PNG, half JPEG, of 64 pixels; both sides come to arrays of 32 pixels. Then so many empty files
are looked at as every command looks at a source of the user: names, sizes and times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from perf_clock import interleaved, ratio, run, told
from perf_notes import append_result
from PIL import Image

from benchmark.catalog.source_files.image_folders import folder_state

PLAIN = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image

files = sorted(Path(sys.argv[1]).rglob("*.*"))
array = np.lib.format.open_memmap(sys.argv[2], "w+", np.uint8, (len(files), 32, 32, 3))
for index, path in enumerate(files):
    with Image.open(path) as image:
        array[index] = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
array.flush()
"""

MATRIX = """
[matrix]
dataset = "own"
model = "simple_cnn"
strategy = "scratch"

[dataset.own]
source = "folder:images"
image_size = 32
color = "rgb"
"""


def draw(root: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        place = root / f"class_{index % 10}" / f"{index:06}.{'png' if index % 2 else 'jpg'}"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(place)


def look_seconds(folder: Path, count: int) -> float:
    """CPU seconds of one look at so many files."""
    for index in range(count):
        place = folder / f"class_{index % 10}"
        place.mkdir(parents=True, exist_ok=True)
        os.close(os.open(place / f"IMG_{index:06}.png", os.O_CREAT))
    taken = []
    for _ in range(3):
        began = time.process_time()
        folder_state(folder)
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--look", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "images", wanted.images)
        (folder / "matrix.toml").write_text(MATRIX)
        (folder / "plain.py").write_text(PLAIN)
        plain = [sys.executable, "plain.py", "images", "plain.npy"]
        prepare = [sys.executable, "-m", "benchmark", "prepare"]
        spent = interleaved(
            {
                "bench prepare": lambda number: run(prepare, folder, {"BENCH_CACHE": f"{folder}/cache{number}"}),
                "plain loop": lambda _: run(plain, folder),
            },
            wanted.rounds,
        )
        ours, theirs = spent["bench prepare"], spent["plain loop"]
        cpu = statistics.median(one.cpu / other.cpu for one, other in zip(ours, theirs, strict=True))
        look = look_seconds(folder / "many", wanted.look)
    append_result(
        "folders",
        f"{wanted.images:,} images of 64 pixels, {wanted.rounds} rounds, medians: {told('bench prepare', ours)}; "
        f"{told('plain loop', theirs)}; ratio **{ratio(ours, theirs):.2f}** wall, {cpu:.2f} CPU; a look at "
        f"{wanted.look:,} files {look:.2f} s CPU",
        f"python {' '.join(['perf/folders.py', *sys.argv[1:]])}",
    )


if __name__ == "__main__":
    main()
