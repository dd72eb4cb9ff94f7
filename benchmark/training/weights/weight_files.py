"""Writes the kept weights of a cell, and loads initial weights from a parent, from ImageNet, or from a user's file.

A weights file is an `.npz` of arrays by variable path with a JSON header beside them, or one of Keras's (`hdf5.py`). It
holds no code and nothing in it is executed. Digests are verified before a file is used, and weights are checked to be
finite after loading.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark.errors import DataError
from benchmark.files import sha256_of, write_whole
from benchmark.training.callbacks import WeightArrays
from benchmark.training.networks.applications import correct_normalization, normalization_layers
from benchmark.training.networks.network import ModuleNetwork, Network
from benchmark.training.weights.hdf5 import arrays_by_path, extract_hdf5
from benchmark.training.weights.torch_files import torch_arrays

_HEADER = "header"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """The content of a weights file.

    Attributes:
        weights: Arrays by variable path; of a file of Keras, by the paths of the network that it was read for.
        class_names: What the outputs stand for, in order; None when the file does not say.
        sha256: Of the whole file.
        has_head: False where it holds the backbone alone, as files of Keras Applications do.
    """

    weights: WeightArrays
    class_names: tuple[str, ...] | None
    sha256: str
    has_head: bool = True


def weight_arrays(model: keras.Model) -> WeightArrays:
    """Copies of the model's weights by variable path, trainable and not, without random states."""
    return {weight.path: array_copy(weight) for weight in model.weights}


def array_copy(variable: Any) -> NDArray[Any]:
    """The value of a variable as an array that owns its memory; TensorFlow's arrays are copies already."""
    array = keras.ops.convert_to_numpy(variable)
    return array if array.flags.owndata else np.array(array)


def assign_weights(model: keras.Model, weights: WeightArrays) -> None:
    """Assigns what `weight_arrays` returned; raises `KeyError` for a path that is missing."""
    for weight in model.weights:
        weight.assign(weights[weight.path])
    for layer in normalization_layers(model.layers):
        layer.finalize_state()


def write_weights(path: Path, weights: WeightArrays, cell_id: str, class_names: tuple[str, ...]) -> None:
    """Writes a weights file, whole or not at all."""
    header = {"format": 1, "cell_id": cell_id, "class_names": list(class_names)}
    encoded = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    members: dict[str, Any] = {_HEADER: encoded, **weights}
    write_whole(path, lambda file: np.savez(file, **members))


def read_weights(path: Path, sha256: str | None = None, network: Network | None = None) -> WeightsFile:
    """Reads a weights file, once, so that what is verified is what is used.

    The format is recognised by the content, not by the name: our own `.npz`; with `network` also Keras's `.weights.h5`, legacy
    `.h5` and `.keras`, of all layers of that network or of its backbone alone; of a module of PyTorch its `.pth` or `.safetensors`.

    Raises:
        DataError: Missing, damaged, with another digest than `sha256`, or not of this network.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the weights file {path} cannot be read: {error.strerror or error}") from error
    digest = sha256_of(content)
    if sha256 is not None and digest != sha256:
        raise DataError(
            f"the weights file {path} has been changed or damaged: expected sha256 {sha256}, found {digest}; "
            "run the cell it comes from again (`bench run --rerun --select …`)"
        )
    return parse_weights(content, str(path), network)


def parse_weights(content: bytes, source: str, network: Network | None) -> WeightsFile:
    """As `read_weights`, for the content of a file; `source` names it in messages."""
    digest = sha256_of(content)
    try:
        if isinstance(network, ModuleNetwork) and (arrays := torch_arrays(content, network)) is not None:
            return WeightsFile(arrays, None, digest, has_head=any(_of_head(network, name) for name in arrays))
        inner = extract_hdf5(content)
        if inner is not None and network is not None and not isinstance(network, ModuleNetwork):
            arrays = arrays_by_path(inner, network)
            return WeightsFile(arrays, None, digest, has_head=any(_of_head(network, name) for name in arrays))
    except DataError as error:
        raise DataError(f"the weights of {source} cannot be used: {error}") from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop(_HEADER).tobytes()) if _HEADER in arrays else {}
    except Exception as error:
        # what NumPy advises is to run what the file holds
        why = "" if "allow_pickle" in str(error) else f" ({error!s:.200})"
        raise DataError(
            f"{source} is not a weights file: expected .npz of bench (arrays by variable path), or .weights.h5, .h5 or "
            f".keras of Keras, .pth or .safetensors for a module of PyTorch; found {len(content)} bytes that are none of these, or damaged{why}"
        ) from error
    names = header.get("class_names")
    return WeightsFile(arrays, None if names is None else tuple(names), digest)


def load_weights(network: Network, file: WeightsFile, class_names: tuple[str, ...], source: str) -> None:
    """Assigns weights of a file to a network as its initial ones.

    Every layer must match by name and shape, except the last one: it keeps its random weights where the file has other
    classes, or the same in another order, since its outputs mean something else. From a file without class names the
    last layer is loaded if the shapes agree. A file without a head leaves the head as it is.

    The core model of the network is changed; `class_names` are those of the cell to train, and messages call the file
    `source`.

    Raises:
        DataError: A layer is missing or of another shape, or a loaded value is not finite.
    """
    same = file.class_names is None or file.class_names == class_names
    problems = []
    for weight in network.core.weights:
        array = file.weights.get(weight.path)
        if network.is_of_classifier(weight.path) and not (same and _fits(weight, array)):
            continue
        if array is None and not file.has_head and _of_head(network, weight.path):
            continue
        if not _fits(weight, array):
            saved = "nothing" if array is None else f"shape {array.shape}"
            problems.append(f"{weight.path}: expected shape {tuple(weight.shape)}, found {saved}")
        else:
            weight.assign(array)
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise DataError(
            f"the weights of {source} do not fit {network.core.name}: {shown}. "
            "They must come from the same model at an image size and colour with the same layer shapes"
        )
    check_finite(network.core, source)


def restore_weights(network: Network, file: WeightsFile, source: str) -> None:
    """Assigns the kept weights of a cell to a network of the same cell: all of them, the last layer included.

    Raises:
        DataError: A weight is missing or of another shape, or there is one that the network does not have.
    """
    expected = {weight.path: weight for weight in network.core.weights}
    wrong = [path for path, weight in expected.items() if not _fits(weight, file.weights.get(path))]
    wrong += sorted(file.weights.keys() - expected.keys())
    if wrong:
        raise DataError(
            f"{source} does not hold the weights of {network.core.name} as this cell has it ({', '.join(wrong[:3])}); "
            "it was made by another version: run the cell again (`bench run --rerun --select …`)"
        )
    assign_weights(network.core, file.weights)
    check_finite(network.core, source)


def load_published(network: Network, content: bytes, source: str) -> str:
    """Loads the content of a file of Keras Applications, already verified, into the backbone; returns its sha256.

    Raises:
        DataError: The file does not fit.
    """
    file = parse_weights(content, source, network)
    load_weights(network, file, (), source)
    if not isinstance(network, ModuleNetwork):
        correct_normalization(network.core.get_layer(name) for name in network.backbone)
    return file.sha256


def _of_head(network: Network, path: str) -> bool:
    return network.part_of(path) in network.head


def _fits(weight: Any, array: Any) -> bool:
    return array is not None and tuple(array.shape) == tuple(weight.shape)


def check_finite(model: keras.Model, source: str) -> None:
    """Raises `DataError` naming the first weight of `model` that holds a NaN or an infinity."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise DataError(f"the weights of {source} hold NaN or infinite values in {weight.path}; use another file")
