"""Grad-CAM: where in an image the evidence for a class lay (Selvaraju et al. 2017, arXiv:1610.02391, section 3).

With A the activation [h, w, k] of the last convolution and y the score of a class before the softmax, channel k weighs
w_k = mean over all positions of ∂y/∂A_k, and the map is max(0, Σ_k w_k A_k).

As a program, `python -m benchmark.training.programs.explain REQUEST ANSWER`. REQUEST is a file of JSON:

    cell, weights, sha256    a finished cell and the weights that it kept
    images                   `test:N` (image N of the prepared test set) and paths of PNG or JPEG files; when empty,
                             a few test images are taken
    class_name               the class to explain; null for the one that the network says
    data_directory, data_fingerprint    the prepared dataset of the cell; null when only files are explained
    result                   where the arrays go, an .npz file
    allow_plugins            whether a plug-in may make the network that the trust file does not name

ANSWER becomes `[{"image", "label", "prediction", "confidence", "class", "class_confidence", "peak"}, …]`, or
`{"error": …}` with exit status 3. Networks run in TensorFlow on the CPU in float32, whatever the cell was trained with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from benchmark.files import write_whole
from benchmark.matrix.cell import Cell
from benchmark.training.data.dataset import Dataset, open_dataset
from benchmark.training.data.images import decode_image
from benchmark.training.networks.network import LayerGraph, Network, layer_graph
from benchmark.training.process.failures import DataError
from benchmark.training.process.offline import forbid_network
from benchmark.training.process.runtime import prepare_backend
from benchmark.training.programs.predict import run_program, trained_network

Map = NDArray[np.float32]
TEST = "test:"
SHOWN_BY_DEFAULT = 6

_NO_ACTIVATION = (
    layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D,
    layers.ZeroPadding2D, layers.Cropping2D, layers.UpSampling2D, layers.Dropout, layers.SpatialDropout2D,
)  # fmt: skip
"""Layers that only move, thin out or blur what a convolution found."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What spoke for some classes in one image.

    Attributes:
        probabilities: Of all classes, [classes].
        maps: By class, for those asked about: the map at the size of the activation, [h, w], not negative.
    """

    probabilities: NDArray[np.float32]
    maps: Mapping[int, Map]


class Explainer:
    """Explains what one network says.

    Args:
        network: Trained; its last layer gives scores instead of probabilities from now on.

    Attributes:
        layer: The name of the layer whose activation is looked at.
        grid: Height and width of that activation, in positions.

    Raises:
        DataError: The network has no activation with positions.
    """

    def __init__(self, network: Network) -> None:
        graph = layer_graph(network.core)
        self.layer = _evidence_layer(network, graph)
        self._features = keras.Model(graph.whole.input, graph.outputs[self.layer])
        self._rest = keras.Model(graph.outputs[self.layer], _scores(network, graph))
        self.grid: tuple[int, int] = (0, 0)

    def explain(self, image: NDArray[np.uint8], choose: Callable[[NDArray[np.float32]], Iterable[int]]) -> Explanation:
        """The maps of an image [h, w, c] for the classes that `choose` names when it is given the probabilities."""
        activation = self._features(tf.constant(image[np.newaxis].astype(np.float32)), training=False)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(activation)
            scores = self._rest(activation, training=False)
            probabilities = np.asarray(tf.nn.softmax(scores)[0], dtype=np.float32)
            chosen = {label: scores[0, label] for label in choose(probabilities)}
        self.grid = tuple(activation.shape[1:3])
        maps = {label: _weighted(activation[0], tape.gradient(score, activation)[0]) for label, score in chosen.items()}
        return Explanation(probabilities, maps)


def _evidence_layer(network: Network, graph: LayerGraph) -> str:
    """The layer that made the last activation [b, h, w, k] of the backbone with more than one position.

    Poolings, paddings and dropout behind it are passed over. Everything that the head learns of the image must come
    through this activation, so a layer inside a branch of a block does not count.

    Raises:
        DataError: There is none.
    """
    weighted = [bool(network.core.get_layer(name).weights) for name in network.backbone]
    # what stands before the first weights has found nothing yet
    for name in reversed(network.backbone[weighted.index(True) :] if any(weighted) else ()):
        activation = graph.outputs.get(name)
        passed_over = isinstance(network.core.get_layer(name), _NO_ACTIVATION)
        if _has_positions(activation) and not passed_over and _everything_passes(activation, graph):
            return name
    raise DataError(
        f"{network.core.name} has no activation with several positions, so there is nothing that Grad-CAM could show; "
        "explain a convolutional network, at an image size that leaves more than one position"
    )


def _has_positions(activation: Any) -> bool:
    """Whether a tensor has height, width and more than one position.

    Shapes that the input leaves open, because a network takes images of any size, count as several positions.
    """
    shape: tuple[int | None, ...] = getattr(activation, "shape", ())
    return len(shape) == 4 and shape[1:3] != (1, 1)


def _everything_passes(activation: Any, graph: LayerGraph) -> bool:
    try:
        keras.Model(activation, graph.whole.output)
    except ValueError:  # the graph reaches the output on another way too
        return False
    return True


def _scores(network: Network, graph: LayerGraph) -> Any:
    """The output of the network before its softmax; the logarithm of the probabilities where it has none.

    Side effects: takes the softmax out of the last layer where it is part of it.
    """
    last = network.core.get_layer(network.head[-1])
    if getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
        return graph.whole.output
    if isinstance(last, layers.Softmax):
        return graph.inputs[last.name]
    # here the gradient also counts what speaks against the other classes
    return keras.ops.log(graph.whole.output + 1e-7)


def _weighted(activation: Any, gradient: Any) -> Map:
    """max(0, Σ_k w_k A_k) of an activation and the score's gradient by it, both [h, w, k]."""
    weights = tf.reduce_mean(gradient, axis=(0, 1))
    return np.asarray(tf.nn.relu(tf.reduce_sum(weights * activation, axis=-1)), dtype=np.float32)


def upsample_map(found: Map, height: int, width: int) -> Map:
    """A map at the size of its image, bilinear, with values 0..1 of its own maximum; all 0 where nothing spoke."""
    large = np.asarray(
        tf.image.resize(found[..., np.newaxis], (height, width), method="bilinear")[..., 0], dtype=np.float32
    )
    highest = large.max()
    scaled: Map = large / highest if highest > 0 else large
    return scaled


@dataclass(frozen=True, slots=True)
class _Subject:
    """An image to explain; `label` is None when its class is not known."""

    name: str
    image: NDArray[np.uint8]
    label: int | None


def _subjects(request: Mapping[str, Any], cell: Cell) -> list[_Subject]:
    wanted = list(request["images"])
    dataset = _dataset(request, cell) if not wanted or any(name.startswith(TEST) for name in wanted) else None
    if dataset is not None and not wanted:
        wanted = _some_of(dataset)
    return [
        _of_test_set(name, dataset)
        if dataset is not None and name.startswith(TEST)
        else _Subject(Path(name).name, decode_image(Path(name), cell.data.image_size, cell.data.channels), None)
        for name in wanted
    ]


def _dataset(request: Mapping[str, Any], cell: Cell) -> Dataset:
    if request["data_directory"] is None:
        raise DataError("the prepared dataset of the cell is not in the cache; run `bench prepare`")
    dataset = open_dataset(Path(request["data_directory"]), cell.data, cell.seed, one_hot=False)
    if request["data_fingerprint"] not in {None, dataset.fingerprint}:
        raise DataError(
            "the prepared dataset in the cache is another one than the cell was tested on: expected the fingerprint "
            f"{request['data_fingerprint']}, found {dataset.fingerprint}; explain image files instead"
        )
    return dataset


def _some_of(dataset: Dataset) -> list[str]:
    """The first image of each class, or of as many classes as are shown."""
    split = dataset.test.split
    first = {int(label): int(index) for index, label in zip(split.indices[::-1], split.labels[::-1], strict=True)}
    return [f"{TEST}{first[label]}" for label in sorted(first)][:SHOWN_BY_DEFAULT]


def _of_test_set(name: str, dataset: Dataset) -> _Subject:
    split = dataset.test.split
    number = name.removeprefix(TEST)
    known = number.isdecimal() and len(number) < 19
    places = np.flatnonzero(split.indices == int(number)) if known else np.zeros(0, dtype=np.int64)
    if not len(places):
        raise DataError(
            f"{name}: the cell was not tested on such an image; expected a number out of {split.indices.min()} to "
            f"{split.indices.max()}, as in the pictures of its mistakes"
        )
    return _Subject(name, np.array(dataset.test.images[int(number)]), int(split.labels[places[0]]))


def _explained(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    cell = replace(
        Cell.from_dict(request["cell"]), backend="tensorflow", device_kind="cpu", precision="float32", threads=1
    )
    forbid_network()
    prepare_backend(cell, None)
    network, names = trained_network(
        cell, Path(request["weights"]), request["sha256"], allow_plugins=request["allow_plugins"]
    )
    asked = _class_number(request["class_name"], names)
    explainer = Explainer(network)
    found = [_one(explainer, subject, asked) for subject in _subjects(request, cell)]
    told = [_told(one, names) for one in found]
    header = {
        "layer": explainer.layer,
        "grid": explainer.grid,
        "class_names": names,
        "names": [one.subject.name for one in found],
        "cell_id": cell.cell_id,
        "weights_sha256": request["sha256"],
    }
    _write(Path(request["result"]), header, found)
    return told


@dataclass(frozen=True, slots=True)
class _Found:
    """An explained image: the class that was looked for, and maps at the size of the image by class."""

    subject: _Subject
    shown: int
    probabilities: NDArray[np.float32]
    maps: Mapping[int, Map]


def _one(explainer: Explainer, subject: _Subject, asked: int | None) -> _Found:
    def choose(probabilities: NDArray[np.float32]) -> set[int]:
        shown = int(probabilities.argmax()) if asked is None else asked
        return {shown} if subject.label is None else {shown, subject.label}

    found = explainer.explain(subject.image, choose)
    height, width = subject.image.shape[:2]
    shown = int(found.probabilities.argmax()) if asked is None else asked
    maps = {label: upsample_map(one, height, width) for label, one in found.maps.items()}
    return _Found(subject, shown, found.probabilities, maps)


def _write(path: Path, header: Mapping[str, Any], found: Sequence[_Found]) -> None:
    members: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        "labels": np.array([-1 if one.subject.label is None else one.subject.label for one in found]),
        "classes": np.array([one.shown for one in found]),
        "probabilities": np.stack([one.probabilities for one in found]),
    }
    for number, one in enumerate(found):
        members[f"image_{number}"] = one.subject.image
        members[f"map_{number}"] = one.maps[one.shown]
        if one.subject.label not in {None, one.shown}:
            members[f"truth_map_{number}"] = one.maps[one.subject.label]
    write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **members))


def _told(one: _Found, names: Sequence[str]) -> dict[str, Any]:
    said = int(one.probabilities.argmax())
    evidence = one.maps[one.shown]
    row, column = np.unravel_index(int(evidence.argmax()), evidence.shape)
    return {
        "image": one.subject.name,
        "label": None if one.subject.label is None else names[one.subject.label],
        "prediction": names[said],
        "confidence": float(one.probabilities[said]),
        "class": names[one.shown],
        "class_confidence": float(one.probabilities[one.shown]),
        "peak": [int(row), int(column)] if evidence.any() else None,
    }


def _class_number(name: str | None, names: Sequence[str]) -> int | None:
    if name is None:
        return None
    if name not in names:
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise DataError(f"--class {name!r}: expected one of the cell's classes: {shown}")
    return list(names).index(name)


def main(arguments: Sequence[str]) -> int:
    """The program."""
    return run_program(arguments, _explained)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
