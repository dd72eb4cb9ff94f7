"""One cell as a user would script it: plain Keras `fit` in a process of its own, one line of CSV at the end.

    python perf/plain_cell.py CELL.json ARRAYS_DIRECTORY WEIGHTS_DIRECTORY RESULTS.csv

The network, optimizer, loss and augmentation are bench's own, so that both sides train the same thing; everything
else (process, input, loop, callbacks, evaluation) is Keras as its documentation shows it. The prepared arrays are given
to the script for nothing.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from pathlib import Path

began = time.perf_counter()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from benchmark.matrix.cell import Cell
from benchmark.training.data.dataset import open_dataset
from benchmark.training.networks.network import build_network
from benchmark.training.stages import build_loss, build_optimizer, is_one_hot, set_trainable, training_model


def callbacks_of(stage, monitor: str, kept: Path) -> list[keras.callbacks.Callback]:
    found = [keras.callbacks.ModelCheckpoint(kept, monitor=monitor, save_best_only=True, save_weights_only=True)]
    if stop := stage.early_stopping:
        found.append(keras.callbacks.EarlyStopping(stop.monitor, stop.min_delta, stop.patience))
    if reduce := stage.reduce_learning_rate:
        found.append(keras.callbacks.ReduceLROnPlateau(reduce.monitor, reduce.factor, reduce.patience))
    return found


def main(cell_file: str, arrays: str, weights: str, results: str) -> None:
    cell = Cell.from_dict(json.loads(Path(cell_file).read_text()))
    tf.config.threading.set_intra_op_parallelism_threads(cell.threads)
    tf.config.threading.set_inter_op_parallelism_threads(cell.threads)
    keras.utils.set_random_seed(cell.seed)
    one_hot = is_one_hot(cell)
    data = open_dataset(Path(arrays), cell.data, cell.seed, one_hot=one_hot)

    def whole(examples) -> tuple[np.ndarray, np.ndarray]:
        images, labels = next(examples.batches(len(examples)))
        return images.astype("float32"), labels if labels.ndim == 2 or not one_hot else np.eye(cell.data.num_classes)[
            labels
        ]

    train, validation, test = whole(data.training), whole(data.validation), whole(data.test)
    network = build_network(cell.architecture, cell.data)
    if cell.parent_cell_id:
        parent = Path(weights) / f"{cell.parent_cell_id}.weights.h5"
        network.core.load_weights(parent, skip_mismatch=True)
    kept = Path(weights) / f"{cell.cell_id}.weights.h5"
    for stage in cell.stages:
        set_trainable(network, stage.train)
        model = training_model(network, stage)
        model.compile(build_optimizer(stage, cell.precision), build_loss(stage, one_hot=one_hot), metrics=["accuracy"])
        model.fit(
            *train,
            batch_size=stage.batch_size,
            epochs=stage.epochs,
            validation_data=validation,
            callbacks=callbacks_of(stage, cell.monitor, kept),
            verbose=0,
        )
    model.load_weights(kept)
    network.core.save_weights(kept)
    loss, accuracy = model.evaluate(*test, batch_size=cell.stages[-1].batch_size, verbose=0)
    with Path(results).open("a", newline="") as file:
        csv.writer(file).writerow([cell.cell_id, accuracy, loss, time.perf_counter() - began])


if __name__ == "__main__":
    main(*sys.argv[1:])
