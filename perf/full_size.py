"""One epoch of the MNIST CNN and of the CIFAR-10 CNN at full size, from TFDS to the test accuracy, against a plain script.

    python perf/full_size.py [--rounds 2] [--threads 2] [--dataset mnist --dataset cifar10]

The pictures are random ones in the true formats and numbers (60,000 and 50,000 for training), made into TFDS datasets
by TFDS's own builders. The script is what the tutorials show: `tfds.load`, cache, shuffle, batch, prefetch, `fit`,
`evaluate`. Both are timed as whole processes, in turn; the first preparation of bench's arrays is told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import perf_clock
from perf_notes import append_result

ROOT = Path(__file__).resolve().parent.parent
MODELS = {"mnist": "simple_cnn", "cifar10": "advanced_cnn"}

MATRIX = """
[matrix]
dataset = "{dataset}"
model = "{model}"
strategy = "scratch"
threads = {threads}
seed = {seed}
device = "cpu"
epochs = 1
batch_size = 64
"""


def make_tfds(place: Path) -> None:
    """TFDS datasets of full size in `place`."""
    sys.path.insert(0, str(ROOT / "tests"))
    import tensorflow_datasets as tfds
    from training_archives import put_cifar10, put_mnist

    tfds.disable_progress_bar()
    put_mnist(place, 60_000, 10_000)
    put_cifar10(place, per_batch=10_000, test=10_000)
    for name in MODELS:
        tfds.builder(name, data_dir=place).download_and_prepare()


def script(cell_file: str) -> None:
    """What a user would write without bench, for the same cell."""
    import keras
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from benchmark.matrix.cell import Cell
    from benchmark.training.networks.network import build_network

    cell = Cell.from_dict(json.loads(Path(cell_file).read_text()))
    tf.config.threading.set_intra_op_parallelism_threads(cell.threads)
    tf.config.threading.set_inter_op_parallelism_threads(cell.threads)
    keras.utils.set_random_seed(cell.seed)
    parts = tfds.load(cell.dataset, split=["train[:90%]", "train[90%:]", "test"], as_supervised=True)
    train, validation, test = (part.cache() for part in parts)
    train = train.shuffle(10_000).batch(64).prefetch(tf.data.AUTOTUNE)
    model = build_network(cell.architecture, cell.data).core
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=1, validation_data=validation.batch(64), verbose=0)
    print(model.evaluate(test.batch(64), verbose=0))


def compare(dataset: str, options: argparse.Namespace, folder: Path) -> str:
    bench = [sys.executable, "-m", "benchmark"]
    around = {"TFDS_DATA_DIR": str(folder / "tfds"), "BENCH_CACHE": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": "-1"}

    def matrix(seed: int) -> Path:
        path = folder / f"{dataset}{seed}.toml"
        path.write_text(
            MATRIX.format(dataset=dataset, model=MODELS[dataset], threads=options.threads, seed=seed), encoding="utf-8"
        )
        return path

    def ours(number: int) -> perf_clock.Spent:
        database = folder / f"{dataset}{number}.sqlite"
        command = [*bench, "run", "--offline", "--matrix", matrix(number), "--db", database]
        spent = perf_clock.run(command, folder, around)
        return perf_clock.Spent(spent.wall, spent.cpu + perf_clock.of_attempts(database), spent.memory)

    def theirs(number: int) -> perf_clock.Spent:
        from benchmark.matrix.load import load_matrix
        from benchmark.matrix.plan import MachineKind

        (cell,) = load_matrix(matrix(number), machine_kind=MachineKind(gpus=0, cores=options.threads)).cells
        file = folder / "cell.json"
        file.write_text(json.dumps(cell.to_dict()))
        return perf_clock.run([sys.executable, __file__, "--script", file], folder, around)

    prepared = perf_clock.run([*bench, "prepare", "--offline", "--matrix", matrix(0)], folder, around)
    spent = perf_clock.interleaved({"bench": ours, "script": theirs}, options.rounds)
    return (
        f"{dataset}, {MODELS[dataset]}, one epoch with {options.threads} thread(s), {options.rounds} rounds, medians: "
        f"{perf_clock.told('bench run', spent['bench'])}; {perf_clock.told('plain script', spent['script'])}; ratio "
        f"**{perf_clock.ratio(spent['bench'], spent['script']):.2f}**; preparing once {prepared.wall:.0f} s wall"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--dataset", action="append", choices=MODELS)
    parser.add_argument("--script", help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.script:
        script(options.script)
    elif options.make:
        make_tfds(Path(options.make))
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            perf_clock.run([sys.executable, __file__, "--make", folder / "tfds"], folder)
            for dataset in options.dataset or MODELS:
                text = compare(dataset, options, folder)
                append_result("full size", text, f"python perf/full_size.py --rounds {options.rounds}")


if __name__ == "__main__":
    main()
