"""Prepared datasets of random images, for measurements that need a size and no content, and the cells that use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmark.events import Job
from benchmark.matrix.cell import Cell
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind

MATRIX = """
[matrix]
dataset = "random"
model = "{model}"
strategy = "{strategy}"
threads = {threads}
device = "cpu"
[defaults]
epochs = {epochs}
batch_size = {batch_size}
[dataset.random]
extends = "{base}"
image_size = {size}
train_examples = {examples}
test_examples = 100
[strategy.head]
train = "head"
"""

BASES = {1: ("mnist", 60_000, 10_000), 3: ("cifar10", 50_000, 10_000)}
"""By channels: the dataset that is imitated, and the sizes of its two parts."""


def write_dataset(folder: Path, size: int, channels: int, train: int, test: int) -> Path:
    """Random images [n, size, size, channels] and labels 0..9, as `training/programs/prepare.py` would leave them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        images = random.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
        np.save(folder / f"{part}_images.npy", images)
        np.save(folder / f"{part}_labels.npy", (np.arange(count) % 10).astype(np.int32))
    meta = {"class_names": [str(label) for label in range(10)], "fingerprint": "random"}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def cell_of(
    model: str,
    size: int,
    channels: int,
    *,
    examples: int,
    epochs: int,
    batch_size: int = 64,
    threads: int = 1,
    strategy: str = "scratch",
) -> Cell:
    base = BASES[channels][0]
    text = MATRIX.format(
        model=model, strategy=strategy, threads=threads, epochs=epochs, batch_size=batch_size, base=base, size=size,
        examples=examples,
    )  # fmt: skip
    (cell,) = load_matrix("synthetic", text, machine_kind=MachineKind(gpus=0, cores=threads)).cells
    return cell


def job_of(cell: Cell, data: Path, folder: Path) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    return Job(
        attempt_id=1,
        cell=cell.to_dict(),
        directory=str(folder),
        earlier_directories=(),
        data_directory=str(data),
        parent_weights=None,
        parent_weights_sha256=None,
        cores=(),
        gpu=None,
        isolation="fork",
    )
