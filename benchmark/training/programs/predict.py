"""Pictures through trained cells, as a program: `python -m benchmark.training.programs.predict REQUEST ANSWER`.

REQUEST is a file of JSON: `{"cells": [{"cell": …, "weights": PATH, "sha256": …}], "images": [PATH, …], "views": N,
"allow_plugins": …}`.
ANSWER becomes one: `[{"class_names": […], "probabilities": [[…], …]}, …]`, for each cell its classes and for each
image a row; or `{"error": …}` with exit status 3.

Networks are built from the cells' own settings and filled with their kept weights, arrays without code whose digest is
verified first. No model file is ever opened.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.facts import prepared_size
from benchmark.files import write_whole
from benchmark.matrix.cell import Cell
from benchmark.training.data.dataset import Images
from benchmark.training.data.images import decode_image
from benchmark.training.networks.network import Network, build_network
from benchmark.training.process.failures import DataError
from benchmark.training.process.offline import forbid_network
from benchmark.training.process.runtime import prepare_backend, seed_process
from benchmark.training.test_time_augmentation import ViewGenerator, average_views
from benchmark.training.weights.weight_files import read_weights, restore_weights

EXIT_DATA_ERROR = 3
_BATCH = 64


def trained_network(cell: Cell, weights: Path, sha256: str, *, allow_plugins: bool) -> tuple[Network, tuple[str, ...]]:
    """The network of a finished cell with the weights that it kept, and the names of its classes.

    A user's own model is made by the user's function: `allow_plugins` is as in `models.build_network`.

    Raises:
        DataError: The weights are missing, changed, damaged, or of another network.

    Side effects:
        Forgets Keras's state and sets its dtype policy: networks built before are not to be used any more.
    """
    file = read_weights(weights, sha256)
    # in this order: clear_session resets the policy
    keras.backend.clear_session()
    seed_process(cell.seed)
    keras.config.set_dtype_policy(cell.precision)
    network = build_network(cell.architecture, cell.data, allow_plugins=allow_plugins)
    restore_weights(network, file, str(weights))
    names = file.class_names or tuple(str(number) for number in range(cell.data.num_classes))
    return network, names


def predict_pictures(network: Network, pictures: Images, views: int, seed: int) -> NDArray[np.float32]:
    """Probabilities [n, classes] of pictures [n, h, w, c], averaged over `views` augmented views and the plain one."""
    predict_all = partial(_in_batches, network.core, pictures)
    plain = predict_all(None)
    return plain if not views else average_views(plain, predict_all, ViewGenerator(pictures.shape[1:], seed), views)


def _in_batches(core: keras.Model, pictures: Images, change: Callable[[Images], Images] | None) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(pictures), _BATCH):
        batch = pictures[start : start + _BATCH]
        told = core((batch if change is None else change(batch)).astype(np.float32), training=False)
        parts.append(np.asarray(keras.ops.convert_to_numpy(told), dtype=np.float32))
    return np.concatenate(parts)


def _answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    cells = [replace(Cell.from_dict(item["cell"]), device_kind="cpu") for item in request["cells"]]
    forbid_network()
    prepare_backend(replace(cells[0], threads=max(cell.threads for cell in cells)), None)
    pictures: dict[tuple[int, int], Images] = {}
    answers = []
    for cell, item in zip(cells, request["cells"], strict=True):
        shape = prepared_size(cell.data.source, cell.data.image_size), cell.data.channels
        if shape not in pictures:
            pictures[shape] = _pictures(request["images"], *shape)
        network, names = trained_network(
            cell, Path(item["weights"]), item["sha256"], allow_plugins=request["allow_plugins"]
        )
        probabilities = predict_pictures(network, pictures[shape], request["views"], cell.seed)
        answers.append({"class_names": names, "probabilities": probabilities.astype(float).tolist()})
    return answers


def _pictures(paths: Sequence[str], image_size: int, channels: int) -> Images:
    return np.stack([decode_image(Path(path), image_size, channels) for path in paths])


def run_program(arguments: Sequence[str], answer: Callable[[Mapping[str, Any]], list[dict[str, Any]]]) -> int:
    """A request in, an answer out: both are files, the two arguments; what `scheduling.prediction.ask` starts.

    Args:
        arguments: Paths of the request, and of the answer that is written.
        answer: Makes the one of the other; a `DataError` becomes `{"error": …}`.

    Returns:
        The exit status.
    """
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    told: Any
    try:
        told, code = answer(request), 0
    except DataError as error:
        told, code = {"error": str(error)}, EXIT_DATA_ERROR
    content = json.dumps(told).encode()
    write_whole(Path(arguments[1]), content)
    return code


def main(arguments: Sequence[str]) -> int:
    """The program."""
    return run_program(arguments, _answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
