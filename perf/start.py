"""From the start of a worker to its first batch: where the time goes, against a fresh interpreter with plain Keras.

    python perf/start.py [--rounds 3] [--models simple_cnn resnet18 resnet50]

Ours is a process forked from one that has Keras imported, as the template of a run is; `cold` is its first fork. Theirs
is a new interpreter that imports Keras, builds the same network, compiles it and trains one batch.
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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from perf_notes import append_result
from synthetic import BASES, cell_of, write_dataset

MODELS = {"simple_cnn": (28, 1), "resnet18": (32, 3), "resnet50": (32, 3)}
BATCH = 32
PHASES = ("fork", "process", "data", "build", "compile", "first step", "steady step", "first prediction")


def worker(cell, data: Path, forked: float) -> dict[str, float]:
    """What `training/worker.py` does up to its second batch, with a clock between."""
    marks = [forked, time.perf_counter()]
    import keras

    from benchmark.training.data.dataset import open_dataset
    from benchmark.training.networks.network import build_network
    from benchmark.training.process.runtime import prepare_process
    from benchmark.training.stages import build_loss, build_optimizer, set_trainable, training_model
    from benchmark.training.steps.dispatch import compiled_steps

    def mark() -> None:
        marks.append(time.perf_counter())

    prepare_process(cell, None)
    mark()
    dataset = open_dataset(data, cell.data, cell.seed, one_hot=False)
    mark()
    keras.utils.set_random_seed(cell.seed)
    network = build_network(cell.architecture, cell.data)
    mark()
    (stage,) = cell.stages
    set_trainable(network, stage.train)
    model = training_model(network, stage)
    optimizer = build_optimizer(stage, cell.precision)
    steps = compiled_steps(model, network.core, optimizer, build_loss(stage, one_hot=False), one_hot=False)
    mark()
    images, labels = next(dataset.training.batches(stage.batch_size))
    for _ in range(2):
        float(steps.train(images, labels).loss)
        mark()
    steps.predict(images)
    mark()
    return {name: after - before for name, before, after in zip(PHASES, marks, marks[1:], strict=False)}


def forked(cell, data: Path) -> dict[str, float]:
    read, write = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(write, json.dumps(worker(cell, data, began)).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said)


PLAIN = """
import time; began = time.perf_counter()
import json, sys, keras, numpy as np, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1); tf.config.threading.set_inter_op_parallelism_threads(1)
imported = time.perf_counter()
from benchmark.matrix.cell import Cell
from benchmark.training.networks.network import build_network
cell = Cell.from_dict(json.loads(sys.stdin.read()))
model = build_network(cell.architecture, cell.data).core
built = time.perf_counter()
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
size, channels = cell.data.image_size, cell.data.channels
x, y = np.zeros((32, size, size, channels), "float32"), np.zeros(32, "int32")
model.train_on_batch(x, y)
print(json.dumps({"import": imported - began, "build": built - imported, "first step": time.perf_counter() - built}))
"""


def plain(cell) -> float:
    """Seconds from starting the interpreter to the end of the first batch; leaving it is not counted."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", PLAIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    process.stdin.write(json.dumps(cell.to_dict()).encode())
    process.stdin.close()
    json.loads(process.stdout.readline())
    seconds = time.perf_counter() - began
    process.wait()
    return seconds


def until_first_batch(phases: dict[str, float]) -> float:
    return sum(phases[name] for name in PHASES[: PHASES.index("first step") + 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    import benchmark.training.worker  # noqa: F401  what the template imports

    with tempfile.TemporaryDirectory() as name:
        for model in options.models:
            size, channels = MODELS[model]
            _, train, test = BASES[channels]
            data = write_dataset(Path(name) / model, size, channels, train, test)
            cell = cell_of(model, size, channels, examples=320, epochs=1, batch_size=BATCH)
            measure(model, cell, data, options.rounds)


def measure(model: str, cell, data: Path, rounds: int) -> None:
    cold = until_first_batch(forked(cell, data))
    ours, theirs = [], []
    for number in range(rounds):
        ours.append(forked(cell, data))
        theirs.append(plain(cell))
        print(
            f"  round {number + 1} {model}: {until_first_batch(ours[-1]):.2f} s, plain {theirs[-1]:.2f} s", flush=True
        )
    phases = {name: statistics.median(one[name] for one in ours) for name in PHASES}
    ratio = statistics.median(until_first_batch(one) / other for one, other in zip(ours, theirs, strict=True))
    listed = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in phases.items())
    text = (
        f"{model}: {statistics.median(map(until_first_batch, ours)):.2f} s to the first batch (cold {cold:.2f}), plain "
        f"Keras {statistics.median(theirs):.2f} s; ratio **{ratio:.2f}**; ms: {listed}"
    )
    append_result("start", text, "python perf/start.py")


if __name__ == "__main__":
    main()
