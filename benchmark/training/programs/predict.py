"""Predicts for image files with trained cells: `python -m benchmark.training.programs.predict REQUEST ANSWER`.

REQUEST is a file of JSON: `{"cells": [{"cell": …, "weights": PATH, "sha256": …}], "images": [PATH, …], "views": N,
"allow_plugins": …}`.
ANSWER is written as JSON: `[{"class_names": […], "probabilities": [[…], …]}, …]`, for each cell its classes and for each
image a row; or `{"error": …}` with exit status 3.

Networks are built from the settings of the cells and filled with their kept weights, arrays whose digest is verified
first. No model file, which could hold code, is ever opened.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.facts import prepared_size
from benchmark.errors import DataError
from benchmark.images.pictures import WHITE, decode_image, has_transparency
from benchmark.matrix.cell import Cell, Data
from benchmark.matrix.recipes.loss import is_binary
from benchmark.training.augmenting.test_time_augmentation import ViewGenerator, average_views
from benchmark.training.data.dataset import Images
from benchmark.training.networks.network import Network, build_network
from benchmark.training.process.offline import forbid_network
from benchmark.training.process.runtime import prepare_process, seed_process
from benchmark.training.programs.answering import run_program
from benchmark.training.weights.weight_files import read_weights, restore_weights

_BATCH_SIZE = 64


def trained_network(cell: Cell, weights: Path, sha256: str, *, allow_plugins: bool) -> tuple[Network, tuple[str, ...]]:
    """The network of a finished cell with the weights that it kept, and the names of its classes.

    Args:
        cell: The cell, with the backend and device to compute with here.
        weights: Its weights file.
        sha256: What the digest of that file must be.
        allow_plugins: See `networks.network.build_network`.

    Raises:
        DataError: The weights are missing, changed, damaged, or of another network.

    Side effects:
        Clears Keras's global state and sets its dtype policy: networks built before must not be used any more.
    """
    file = read_weights(weights, sha256)
    # in this order: clear_session resets the dtype policy
    keras.backend.clear_session()
    seed_process(cell.stream_seed("weights_seed"))
    keras.config.set_dtype_policy(cell.precision)
    network = build_network(cell.architecture, cell.data, binary=is_binary(cell.stages), allow_plugins=allow_plugins)
    restore_weights(network, file, str(weights))
    names = file.class_names or tuple(str(number) for number in range(cell.data.num_classes))
    return network, names


def file_pixels(path: Path, data: Data) -> NDArray[np.uint8]:
    """A picture as the images are that a cell was trained on, [h, w, c].

    Raises:
        DataError: It cannot be read, or pictures do not hold such channels.
    """
    if data.channels not in {1, 3}:
        _check_channels(path, data)
    size = prepared_size(data.source, data.image_size)
    return decode_image(path, size, data.channels, data.background or WHITE, data.resize).pixels


def _check_channels(path: Path, data: Data) -> None:
    """Refuses a picture for a network of images of so many channels; a fourth one may be what is opaque in it."""
    holds_arrays = data.source.partition(":")[0] in {"npz", "plugin"}
    if data.channels != 4 or (holds_arrays and not has_transparency(path)):
        raise DataError(
            f"{path}: expected a picture with the {data.channels} channels of the images that the cell was trained on, found fewer; "
            "JPEG and PNG hold one or three, and PNG a fourth. Images of its test set are known by `test:N` (`bench explain`)"
        )


def predict_images(network: Network, images: Images, views: int, seed: int) -> NDArray[np.float32]:
    """Probabilities [n, classes] of images [n, h, w, c] with values 0..255, averaged over `views` augmented views and the plain one."""
    predict_all = partial(_in_batches, network.core, images)
    plain = predict_all(None)
    return plain if not views else average_views(plain, predict_all, ViewGenerator(images.shape[1:], seed), views)


def _in_batches(core: keras.Model, images: Images, change: Callable[[Images], Images] | None) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(images), _BATCH_SIZE):
        batch = images[start : start + _BATCH_SIZE]
        probabilities = core((batch if change is None else change(batch)).astype(np.float32), training=False)
        parts.append(np.asarray(keras.ops.convert_to_numpy(probabilities), dtype=np.float32))
    return np.concatenate(parts)


def _answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    cells = [replace(Cell.from_dict(item["cell"]), device_kind="cpu") for item in request["cells"]]
    forbid_network()
    prepare_process(replace(cells[0], threads=max(cell.threads for cell in cells)), None)
    images: dict[tuple[Any, ...], Images] = {}
    answers = []
    for cell, item in zip(cells, request["cells"], strict=True):
        data = cell.data
        form = prepared_size(data.source, data.image_size), data.channels, data.background, data.resize, data.source
        if form not in images:
            images[form] = np.stack([file_pixels(Path(path), data) for path in request["images"]])
        network, names = trained_network(
            cell, Path(item["weights"]), item["sha256"], allow_plugins=request["allow_plugins"]
        )
        probabilities = predict_images(network, images[form], request["views"], cell.stream_seed("augment_seed"))
        answers.append({"class_names": names, "probabilities": probabilities.astype(float).tolist()})
    return answers


main = partial(run_program, answer=_answer)
"""Runs the program with its arguments; returns its exit status."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
