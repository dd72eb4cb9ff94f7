"""Images per second of training: bench's own loop against plain Keras `fit`, and both against the machine's peak.

    python perf/step.py [--threads 1] [--rounds 3] [--epochs 3] [--examples 6400]

Each side in a process of its own; the first epoch, which holds the tracing, is left out of both. The peak is that of a
float32 product of matrices [2048, 2048] with the same number of threads. Training is counted as three times the
multiply-adds of the forward pass (as a forecast counts them), each as two operations.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from perf_notes import append_result

MODELS = {"MNIST CNN": ("simple_cnn", 28, 1), "CIFAR-10 CNN": ("advanced_cnn", 32, 3), "ResNet18": ("resnet18", 28, 1)}
SHARES = {"simple_cnn": 1.0, "advanced_cnn": 0.2, "resnet18": 0.15}
"""Of the examples: a fast network needs more of them for an epoch of a second."""


def in_process(side: str, model: str, options: argparse.Namespace, data: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--model", model, "--data", str(data)]
    numbers = ["--threads", options.threads, "--epochs", options.epochs, "--examples", options.examples]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [*command, *map(str, numbers)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def cell_for(options: argparse.Namespace):
    from synthetic import cell_of

    name, size, channels = MODELS[options.model]
    examples = round(options.examples * SHARES[name])
    return cell_of(name, size, channels, examples=examples, epochs=options.epochs, threads=options.threads)


def ours(options: argparse.Namespace) -> dict[str, float]:
    """The worker itself, as it runs in a cell."""
    from synthetic import job_of

    from benchmark.events import EpochFinished, Failed
    from benchmark.training.worker import main as work

    told: list = []
    with tempfile.TemporaryDirectory() as name:
        work(job_of(cell_for(options), Path(options.data), Path(name)), told.append)
    failed = [event for event in told if isinstance(event, Failed)]
    if failed:
        raise SystemExit(failed[0].traceback)
    epochs = [event for event in told if isinstance(event, EpochFinished) and not event.traced]
    waiting = sum(one.input_seconds for one in epochs) / sum(one.seconds for one in epochs)
    return {"rate": statistics.median(one.images_per_second for one in epochs), "input": waiting}


def plain(options: argparse.Namespace) -> dict[str, float]:
    """`fit` on float arrays in memory, as the documentation of Keras shows it."""
    import keras
    import numpy as np
    import tensorflow as tf

    from benchmark.training.networks.network import build_network

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    cell = cell_for(options)
    model = build_network(cell.architecture, cell.data).core
    count = round(cell.data.train_examples * (1 - cell.data.validation_fraction))
    images = np.load(Path(options.data) / "train_images.npy")[:count].astype("float32")
    labels = np.load(Path(options.data) / "train_labels.npy")[:count]
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, _epoch, _logs=None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, _epoch, _logs=None) -> None:
            seconds.append(time.perf_counter() - self.began)

    batch = cell.stages[0].batch_size
    model.fit(images, labels, batch_size=batch, epochs=options.epochs, verbose=0, callbacks=[Clock()])
    return {"rate": count / statistics.median(seconds[1:])}


def peak(options: argparse.Namespace) -> dict[str, float]:
    """Operations per second of a large matrix product."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    one = tf.random.normal((2048, 2048))
    best = 0.0
    for _ in range(8):
        began = time.perf_counter()
        float(tf.linalg.matmul(one, one)[0, 0])
        best = max(best, 2 * 2048**3 / (time.perf_counter() - began))
    return {"rate": best}


SIDES = {"ours": ours, "plain": plain, "peak": peak}


def operations_per_image(options: argparse.Namespace) -> float:
    from benchmark.forecast.cost import network_of

    return 6.0 * network_of(cell_for(options)).multiply_adds


def measure(model: str, options: argparse.Namespace, data: Path) -> None:
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES:
            found[side].append(in_process(side, model, options, data))
        rates = {side: round(runs[-1]["rate"]) for side, runs in found.items() if side != "peak"}
        print(f"  round {number + 1} {model}: {rates} images/s", flush=True)
    ratio = statistics.median(
        one["rate"] / other["rate"] for one, other in zip(found["ours"], found["plain"], strict=True)
    )
    options.model = model
    rate = {side: statistics.median(one["rate"] for one in runs) for side, runs in found.items()}
    work = operations_per_image(options)
    waiting = statistics.median(one["input"] for one in found["ours"])
    text = (
        f"{model}, {options.threads} thread{'s' if options.threads > 1 else ''}: {rate['ours']:.0f} images/s "
        f"({rate['ours'] * work / rate['peak']:.0%} of the peak of {rate['peak'] / 1e9:.0f} GFLOP/s, "
        f"{waiting:.1%} waiting for images), plain fit {rate['plain']:.0f} images/s "
        f"({rate['plain'] * work / rate['peak']:.0%}); ratio **{ratio:.2f}**"
    )
    append_result("step", text, "python perf/step.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--examples", type=int, default=6400)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    from synthetic import BASES, write_dataset

    with tempfile.TemporaryDirectory() as name:
        for model in options.models:
            _, size, channels = MODELS[model]
            _, train, test = BASES[channels]
            data = write_dataset(Path(name) / model.replace(" ", "-"), size, channels, train, test)
            measure(model, options, data)


if __name__ == "__main__":
    main()
