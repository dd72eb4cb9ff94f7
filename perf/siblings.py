"""Could cells that differ in their seed alone share a process and its traced functions? What it gains, and whether it
comes to the same bits as a process for each.

    python perf/siblings.py [--seeds 3] [--epochs 2]

Both sides train the same seeds on the same random data. Alone, every seed has a process of its own, forked from one
that has Keras imported, as in a run. Together, one such process builds and traces the network once; for each seed it
puts in the weights of a freshly built one and sets the optimizer back to its beginning.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from perf_notes import append_result
from synthetic import BASES, cell_of, write_dataset

MODELS = {"simple_cnn": (28, 1, 2048), "resnet18": (16, 1, 512)}
"""Image size, channels, examples: an epoch of about a second, as in the default tour."""


def train(cell, data: Path, seeds: Sequence[int]) -> dict[int, str]:
    """Trains the seeds one after the other in this process; the digests of their weights."""
    import keras

    from benchmark.training.augmenting.augmentation import reseed
    from benchmark.training.data.dataset import epoch_order, open_dataset
    from benchmark.training.networks.network import build_network
    from benchmark.training.process.runtime import prepare_process
    from benchmark.training.stages import build_loss, build_optimizer, set_trainable, training_model
    from benchmark.training.steps.dispatch import compiled_steps

    prepare_process(cell, None)
    (stage,) = cell.stages
    steps = network = None
    digests = {}
    for seed in seeds:
        dataset = open_dataset(data, cell.data, seed, one_hot=False)
        keras.utils.set_random_seed(seed)
        fresh = build_network(cell.architecture, cell.data)
        if network is None:
            network = fresh
            set_trainable(network, stage.train)
            model, optimizer = training_model(network, stage), build_optimizer(stage, cell.precision)
            steps = compiled_steps(model, network.core, optimizer, build_loss(stage, one_hot=False), one_hot=False)
            beginning = [variable.numpy() for variable in optimizer.variables]
        else:
            network.core.set_weights(fresh.core.get_weights())
            for variable, value in zip(optimizer.variables, beginning, strict=True):
                variable.assign(value)
        for epoch in range(1, stage.epochs + 1):
            reseed(model, seed, epoch)
            order = epoch_order(len(dataset.training), seed, epoch)
            for images, labels in dataset.training.batches(stage.batch_size, order):
                float(steps.train(images, labels).loss)
            for images, _ in dataset.validation.batches(stage.batch_size):
                steps.predict(images)
        content = b"".join(weight.tobytes() for weight in network.core.get_weights())
        digests[seed] = hashlib.sha256(content).hexdigest()
    return digests


def forked(cell, data: Path, seeds: Sequence[int]) -> tuple[dict[str, str], float, float]:
    """The digests, wall and CPU seconds of `train` in a process of its own."""
    began = time.perf_counter()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps(train(cell, data, seeds)).encode())
        os._exit(0)
    os.close(write)
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - began
    with os.fdopen(read) as pipe:
        found = json.loads(pipe.read())
    assert status == 0
    return found, wall, used.ru_utime + used.ru_stime


def compare(model: str, options: argparse.Namespace, folder: Path) -> str:
    size, channels, examples = MODELS[model]
    data = write_dataset(folder / model, size, channels, *BASES[channels][1:])
    cell = cell_of(model, size, channels, examples=examples, epochs=options.epochs, threads=1)
    seeds = range(options.seeds)
    alone = [forked(cell, data, [seed]) for seed in seeds]
    together, wall, cpu = forked(cell, data, seeds)
    apart = {seed: digest for found, _, _ in alone for seed, digest in found.items()}
    same = sum(apart[seed] == together[seed] for seed in apart)
    alone_wall, alone_cpu = sum(one[1] for one in alone), sum(one[2] for one in alone)
    return (
        f"{model} {size} px, {options.seeds} seeds of {options.epochs} epochs: alone {alone_wall:.1f} s wall, "
        f"{alone_cpu:.1f} s CPU; in one process {wall:.1f} s wall, {cpu:.1f} s CPU; ratio **{wall / alone_wall:.2f}**; "
        f"{same} of {options.seeds} come to the same bits"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    import keras  # noqa: F401  as the template has

    with tempfile.TemporaryDirectory() as name:
        for model in MODELS:
            append_result("siblings", compare(model, options, Path(name)), "python perf/siblings.py")


if __name__ == "__main__":
    main()
