"""Reads weights from Keras's HDF5 files: the legacy layout, that of `.weights.h5`, and the one in a `.keras` archive.

The layout is recognised by the content, never by the name of the file. Layers are matched by their order, as Keras
does, since their names differ between versions. Every shape is compared before an array is read, so that a damaged
file can take no more memory than the network has; links that lead out of the file are refused.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.source_files.npz_headers import DAMAGE
from benchmark.errors import DataError
from benchmark.training.networks.graph import PREDICTIONS
from benchmark.training.networks.network import Network

Arrays: TypeAlias = dict[str, NDArray[Any]]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ARCHIVE_SIGNATURE = b"PK\x03\x04"
_ARCHIVE_MEMBER = "model.weights.h5"
"""Where a `.keras` archive keeps its weights; nothing else of it is read."""


Pair: TypeAlias = tuple[Any, list[Any]]
"""A layer of the network, and what the file holds for its weights, in order."""


def extract_hdf5(content: bytes) -> bytes | None:
    """The HDF5 file in `content`: all of it, or the weights of a `.keras` archive; None for anything else.

    Raises:
        DataError: The archive is damaged, or packed more than weights ever are.
    """
    if content.startswith(_SIGNATURE):
        return content
    if not content.startswith(_ARCHIVE_SIGNATURE) or not zipfile.is_zipfile(io.BytesIO(content)):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if _ARCHIVE_MEMBER not in archive.namelist():
                return None
            if archive.getinfo(_ARCHIVE_MEMBER).file_size > 100 * len(content):
                raise DataError(
                    f"{_ARCHIVE_MEMBER} inside is packed more than a hundred times, which weights never are"
                )
            return archive.read(_ARCHIVE_MEMBER)
    except (OSError, ValueError, *DAMAGE) as error:
        raise DataError(f"a damaged archive: {error}") from error


def arrays_by_path(content: bytes, network: Network) -> Arrays:
    """Reads an HDF5 file into arrays by the paths of the network's variables: of its backbone alone, or of all of it.

    Args:
        content: Of the file.
        network: The network to read for, as it was built, with every layer trainable. A file with the layers of its
            backbone (what Keras Applications call `notop`) fits, and so does one with all of its layers.

    Raises:
        DataError: It is damaged, or holds other layers, or one of another shape.
    """
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            is_legacy_model = "model_weights" in file and not _has_layers(file)
            root = file["model_weights"] if is_legacy_model else file
            pairs = _legacy_pairs(root, network) if _has_layers(root) else _pairs(root, network)
            return _read(pairs)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"no weights file of Keras, or a damaged one: {' '.join(str(error).split()):.300}") from error


# ---- the legacy layout: a group for each layer, in the order of an attribute


def _has_layers(group: Any) -> bool:
    return "layer_names" in group.attrs or "layer_names0" in group.attrs


def _texts(group: Any, name: str) -> list[str]:
    """A list of texts in the attributes, which Keras spreads over `name0`, `name1`, … where it is longer than 64 KiB."""
    keys = [name] if name in group.attrs else [f"{name}{part}" for part in range(len(group.attrs))]
    texts = [text for key in keys if key in group.attrs for text in group.attrs[key]]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]


def _legacy_pairs(root: Any, network: Network) -> list[Pair]:
    saved = []
    for name in _texts(root, "layer_names"):
        group = _member(root, name, h5py.Group)
        if datasets := [_member(group, each, h5py.Dataset) for each in _texts(group, "weight_names")]:
            saved.append(datasets)
    return list(zip(_fitting(len(saved), network), saved, strict=True))


# ---- the layout of `.weights.h5`: groups called by class and number, nested as the layers are


def _pairs(root: Any, network: Network) -> list[Pair]:
    """Pairs by class and number, which count either the layers of the backbone or those of the whole network."""
    layers = _member(root, "layers", h5py.Group)
    count = sum(1 for _ in _saved_layers(layers))
    for candidates in (_backbone(network), network.core.layers):
        pairs = list(_pairs_by_class(layers, candidates))
        if len(pairs) == count and len(pairs) == len(list(_leaves(_weighted(candidates)))):
            return pairs
    _fitting(count, network, nested=True)
    raise DataError(f"the layers of this file are of other classes than those of {network.core.name}")


def _pairs_by_class(group: Any, layers: Iterable[Any]) -> Iterator[Pair]:
    used: Counter[str] = Counter()
    for layer in layers:
        words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
        name = f"{kind}_{used[kind]}" if used[kind] else kind
        used[kind] += 1
        if name not in group:
            continue
        inner = _member(group, name, h5py.Group)
        if hasattr(layer, "layers"):
            if "layers" in inner:
                yield from _pairs_by_class(_member(inner, "layers", h5py.Group), layer.layers)
        elif datasets := _variables(inner):
            yield layer, datasets


def _variables(group: Any) -> list[Any]:
    variables = _member(group, "vars", h5py.Group) if "vars" in group else {}
    return [_member(variables, str(number), h5py.Dataset) for number in range(len(variables))]


def _saved_layers(layers: Any) -> Iterator[str]:
    """Names of the groups with variables, at any depth; states of random generators are no weights."""
    for name in layers:
        group = _member(layers, name, h5py.Group)
        if _variables(group):
            yield name
        if "layers" in group:
            yield from _saved_layers(_member(group, "layers", h5py.Group))


# ---- what both share


def _member(parent: Any, name: str, kind: Any) -> Any:
    """A member of a group, refused where it is a link to elsewhere or stored outside of this file."""
    place: Any = parent
    for part in name.strip("/").split("/"):
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise KeyError(f"{name} is missing or leads out of the file")
        place = place[part]
    if not isinstance(place, kind) or (kind is h5py.Dataset and (place.external or place.is_virtual)):
        raise TypeError(f"{name} is not what it should be")
    return place


def _backbone(network: Network) -> list[Any]:
    return [network.core.get_layer(name) for name in network.backbone]


def _weighted(layers: Iterable[Any]) -> list[Any]:
    return [layer for layer in layers if layer.weights]


def _leaves(layers: Iterable[Any]) -> Iterator[Any]:
    for layer in layers:
        if hasattr(layer, "layers"):
            yield from _leaves(_weighted(layer.layers))
        else:
            yield layer


def _fitting(count: int, network: Network, *, nested: bool = False) -> list[Any]:
    """The layers with weights, those of the backbone or all, of which there are `count`.

    Raises:
        DataError: Neither has so many.
    """
    backbone, whole = _weighted(_backbone(network)), _weighted(network.core.layers)
    for layers in (backbone, whole):
        if count == len(list(_leaves(layers)) if nested else layers):
            return layers
    raise DataError(
        f"it holds {count} layers with weights; expected {len(backbone)} (the backbone of {network.core.name}, without "
        f"its top) or {len(whole)} (all of it). Use weights of the same model"
    )


def _read(pairs: Sequence[Pair]) -> Arrays:
    arrays: Arrays = {}
    problems = []
    for number, (layer, datasets) in enumerate(pairs, 1):
        # the order of both layouts: trainable weights first, then moving averages and the like
        weights = [*layer.trainable_weights, *layer.non_trainable_weights]
        expected = [tuple(weight.shape) for weight in weights]
        saved = [tuple(dataset.shape) for dataset in datasets]
        if expected == saved:
            arrays |= {weight.path: np.asarray(array) for weight, array in zip(weights, datasets, strict=True)}
        elif layer.name != PREDICTIONS:  # a last layer for other classes keeps its initial weights
            problems.append(
                f"layer {number}, {layer.name}: expected {_shapes_text(expected)}, found {_shapes_text(saved)}"
            )
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DataError(f"its weights have other shapes: {'; '.join(problems[:3])}{more}")
    return arrays


def _shapes_text(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) or "a number" for shape in shapes) or "nothing"
