"""Grad-CAM: where in an image the evidence for a class lay (Selvaraju et al. 2017, arXiv:1610.02391, section 3).

With A the activation [h, w, k] of the last convolution and y the score of a class before the softmax, channel k weighs
w_k = mean over all positions of ∂y/∂A_k, and the map is max(0, Σ_k w_k A_k).

As a program, `python -m benchmark.training.programs.explain REQUEST ANSWER`. REQUEST is a file of JSON:

    cell, weights, sha256    a finished cell and the weights that it kept
    images                   `test:N` (image N of the prepared test set) and paths of PNG or JPEG files; when empty,
                             a few test images are chosen
    class_name               the class to explain; null for the predicted one
    data_directory, data_fingerprint    the prepared dataset of the cell; null when only files are explained
    result                   where the arrays go, an .npz file
    allow_plugins            whether a plug-in may build the network that the trust file does not name

ANSWER is written as JSON: `[{"image", "label", "prediction", "confidence", "class", "class_confidence", "peak"}, …]`, or
`{"error": …}` with exit status 3. Networks run on the CPU in float32, whatever the cell was trained with; a network of
Keras in the backend that this process was started with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from benchmark.catalog.facts import prepared_size
from benchmark.files import write_whole
from benchmark.matrix.cell import Cell
from benchmark.training.data.dataset import Dataset, open_dataset
from benchmark.training.data.images import WHITE, decode_image
from benchmark.training.networks.network import LayerGraph, ModuleNetwork, Network, layer_graph
from benchmark.training.process.failures import DataError
from benchmark.training.process.offline import forbid_network
from benchmark.training.process.runtime import prepare_process
from benchmark.training.programs.answering import run_program
from benchmark.training.programs.predict import trained_network
from benchmark.training.steps.dispatch import scores_of

Map = NDArray[np.float32]
TEST = "test:"
SHOWN_BY_DEFAULT = 6

_OUTPUTS = (keras.activations.softmax, keras.activations.sigmoid)
_NO_ACTIVATION = (
    layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D,
    layers.ZeroPadding2D, layers.Cropping2D, layers.UpSampling2D, layers.Dropout, layers.SpatialDropout2D,
)  # fmt: skip
"""Layers whose output is no activation of its own: they only move, drop or average values."""


@dataclass(frozen=True, slots=True)
class ClassEvidence:
    """The Grad-CAM maps of one image.

    Attributes:
        probabilities: Of all classes, [classes].
        maps: By class, for those asked for: the map at the size of the activation, [h, w], not negative.
    """

    probabilities: NDArray[np.float32]
    maps: Mapping[int, Map]


class Explainer:
    """Computes Grad-CAM maps of one network.

    Args:
        network: A trained network; its last layer gives scores instead of probabilities from now on.

    Attributes:
        layer: Name of the layer whose activation is used.
        grid: Height and width of that activation, in positions; known after the first image.

    Raises:
        DataError: The network has no activation with positions.
    """

    def __init__(self, network: Network) -> None:
        graph = layer_graph(network.core)
        self.layer = _evidence_layer(network, graph)
        self._features = keras.Model(graph.whole.input, graph.outputs[self.layer])
        scores, self._probabilities = _scores(network, graph)
        self._rest = keras.Model(graph.outputs[self.layer], scores)
        self.grid: tuple[int, int] = (0, 0)

    def explain(
        self, image: NDArray[np.uint8], choose: Callable[[NDArray[np.float32]], Iterable[int]]
    ) -> ClassEvidence:
        """Maps of an image [h, w, c], 0..255, for the classes that `choose` returns when called with the probabilities."""
        activation = self._features(keras.ops.convert_to_tensor(image[np.newaxis].astype(np.float32)), training=False)
        scores, gradient_of = scores_of(self._rest, activation)
        probabilities = _as_array(self._probabilities(keras.ops.expand_dims(scores, 0)))[0]
        self.grid = tuple(activation.shape[1:3])
        values = keras.ops.convert_to_numpy(activation)[0]
        return ClassEvidence(
            probabilities, {each: grad_cam(values, gradient_of(each)) for each in choose(probabilities)}
        )


class ModuleExplainer:
    """The same of a module of PyTorch: of its last convolution that has several positions.

    A module may name another submodule, or be one: `module.bench_grad_cam = "layer4"`.

    Raises:
        DataError: The submodule that it names does not exist.
    """

    def __init__(self, network: ModuleNetwork) -> None:
        from benchmark.training.networks.torch_modules import evidence_modules

        self._network = network
        self._modules = evidence_modules(network.layer.module)
        if not self._modules:
            raise DataError(f"{network.core.name} has no convolution; name a submodule in `module.bench_grad_cam`")
        self.layer = ""
        self.grid: tuple[int, int] = (0, 0)

    def explain(
        self, image: NDArray[np.uint8], choose: Callable[[NDArray[np.float32]], Iterable[int]]
    ) -> ClassEvidence:
        """As `Explainer.explain`."""
        from benchmark.training.networks.torch_modules import watched_logits

        layer = self._network.layer
        logits, watched, gradient_of = watched_logits(layer, self._prepared(image), self._modules)
        if watched is None:
            raise DataError(
                f"{self._network.core.name} has no convolution with several positions, so there is nothing that Grad-CAM "
                "could show; name a submodule in `module.bench_grad_cam`, or take larger images"
            )
        self.layer, activation = watched
        self.grid = tuple(activation.shape[:2])
        probabilities = _as_array(layer.activate(logits))
        return ClassEvidence(
            probabilities, {each: grad_cam(activation, gradient_of(each)) for each in choose(probabilities)}
        )

    def _prepared(self, image: NDArray[np.uint8]) -> Any:
        """The image as the layer of the module takes it, at the size of the cell."""
        images = keras.ops.convert_to_tensor(image[np.newaxis].astype(np.float32))
        for layer in self._network.core.layers[1:-1]:
            images = layer(images)
        return images


def _as_array(tensor: Any) -> NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(tensor), dtype=np.float32)


def grad_cam(activation: NDArray[Any], gradient: NDArray[Any]) -> Map:
    """max(0, Σ_k w_k A_k) with w_k the mean of ∂y/∂A_k over all positions.

    Args:
        activation: A, [h, w, k].
        gradient: ∂y/∂A, likewise.
    """
    return np.asarray(np.maximum((gradient.mean(axis=(0, 1)) * activation).sum(axis=-1), 0), dtype=np.float32)


def _evidence_layer(network: Network, graph: LayerGraph) -> str:
    """The layer with the last activation [b, h, w, k] of the backbone that has more than one position.

    Pooling, padding and dropout are skipped. Everything that the head receives must pass through this activation, so a
    layer inside a branch of a block does not count.

    Raises:
        DataError: There is none.
    """
    weighted = [bool(network.core.get_layer(name).weights) for name in network.backbone]
    # layers before the first weights have learnt nothing
    for name in reversed(network.backbone[weighted.index(True) :] if any(weighted) else ()):
        activation = graph.outputs.get(name)
        # lengths that the input leaves open, because a network takes images of any size, count as several positions
        shape: tuple[int | None, ...] = getattr(activation, "shape", ())
        has_positions = len(shape) == 4 and shape[1:3] != (1, 1)
        skipped = isinstance(network.core.get_layer(name), _NO_ACTIVATION)
        if has_positions and not skipped and _is_bottleneck(activation, graph):
            return name
    raise DataError(
        f"{network.core.name} has no activation with several positions, so there is nothing that Grad-CAM could show; "
        "explain a convolutional network, at an image size that leaves more than one position"
    )


def _is_bottleneck(activation: Any, graph: LayerGraph) -> bool:
    try:
        keras.Model(activation, graph.whole.output)
    except ValueError:  # another path leads to the output too
        return False
    return True


def _scores(network: Network, graph: LayerGraph) -> tuple[Any, Callable[[Any], Any]]:
    """The output of the network before its softmax or sigmoid, and what makes probabilities of it.

    Where the network has neither, it is the logarithm of the probabilities.

    Side effects:
        Removes the softmax or sigmoid from the last layer where it is part of it.
    """
    last = network.core.get_layer(network.head[-1])
    activation = getattr(last, "activation", None)
    if activation in _OUTPUTS:
        last.activation = keras.activations.linear
        return graph.whole.output, activation
    if isinstance(last, layers.Softmax):
        return graph.inputs[last.name], keras.activations.softmax
    # its gradient also contains the evidence against the other classes
    return keras.ops.log(graph.whole.output + 1e-7), keras.ops.exp


def upsample_map(grid_map: Map, height: int, width: int) -> Map:
    """A map at the size of its image, bilinear, divided by its maximum to 0..1; all 0 where it is 0 everywhere."""
    resized = keras.ops.image.resize(
        grid_map[..., np.newaxis], (height, width), interpolation="bilinear", data_format="channels_last"
    )
    large = np.asarray(keras.ops.convert_to_numpy(resized)[..., 0], dtype=np.float32)
    maximum = large.max()
    scaled: Map = large / maximum if maximum > 0 else large
    return scaled


@dataclass(frozen=True, slots=True)
class _InputImage:
    """An image to explain, [h, w, c] 0..255; `label` is None where its class is not known."""

    name: str
    image: NDArray[np.uint8]
    label: int | None


def _label_of(label: Any) -> int | None:
    """The class of an image; None where it may have several."""
    return None if np.ndim(label) else int(label)


def _input_images(request: Mapping[str, Any], cell: Cell) -> list[_InputImage]:
    names = list(request["images"])
    dataset = _dataset(request, cell) if not names or any(name.startswith(TEST) for name in names) else None
    if dataset is not None and not names:
        # the first test image of each class, of a few classes
        split = dataset.test.split
        # of several labels an image its first
        labels = split.labels if split.labels.ndim == 1 else split.labels.argmax(axis=1)
        first = {int(label): int(index) for index, label in zip(split.indices[::-1], labels[::-1], strict=True)}
        names = [f"{TEST}{first[label]}" for label in sorted(first)][:SHOWN_BY_DEFAULT]
    images = []
    for name in names:
        if dataset is not None and name.startswith(TEST):
            images.append(_test_image(name, dataset))
        else:
            data = cell.data
            size = prepared_size(data.source, data.image_size)
            pixels = decode_image(Path(name), size, data.channels, data.background or WHITE, data.resize).pixels
            images.append(_InputImage(Path(name).name, pixels, None))
    return images


def _dataset(request: Mapping[str, Any], cell: Cell) -> Dataset:
    if request["data_directory"] is None:
        raise DataError("the prepared dataset of the cell is not in the cache; run `bench prepare`")
    dataset = open_dataset(Path(request["data_directory"]), cell.data, cell.stream_seed("split_seed"), one_hot=False)
    if request["data_fingerprint"] not in {None, dataset.fingerprint}:
        raise DataError(
            "the prepared dataset in the cache is another one than the cell was tested on: expected the fingerprint "
            f"{request['data_fingerprint']}, found {dataset.fingerprint}; explain image files instead"
        )
    return dataset


def _test_image(name: str, dataset: Dataset) -> _InputImage:
    split = dataset.test.split
    number = name.removeprefix(TEST)
    valid = number.isdecimal() and len(number) < 19
    positions = np.flatnonzero(split.indices == int(number)) if valid else np.zeros(0, dtype=np.int64)
    if not len(positions):
        raise DataError(
            f"{name}: the cell was not tested on such an image; expected a number out of {split.indices.min()} to "
            f"{split.indices.max()}, as in the pictures of its mistakes"
        )
    return _InputImage(name, np.array(dataset.test.images[int(number)]), _label_of(split.labels[positions[0]]))


def _answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    backend = keras.backend.backend()
    cell = replace(Cell.from_dict(request["cell"]), backend=backend, device_kind="cpu", precision="float32", threads=1)
    forbid_network()
    prepare_process(cell, None)
    network, names = trained_network(
        cell, Path(request["weights"]), request["sha256"], allow_plugins=request["allow_plugins"]
    )
    chosen = _class_number(request["class_name"], names)
    explainer = ModuleExplainer(network) if isinstance(network, ModuleNetwork) else Explainer(network)
    results = [_explain(explainer, image, chosen) for image in _input_images(request, cell)]
    header = {
        "layer": explainer.layer,
        "grid": explainer.grid,
        "class_names": names,
        "names": [result.input.name for result in results],
        "cell_id": cell.cell_id,
        "weights_sha256": request["sha256"],
    }
    _write(Path(request["result"]), header, results)
    return [_summary(result, names) for result in results]


@dataclass(frozen=True, slots=True)
class _Explained:
    """An image, the class that was explained, and the evidence for it and for the true one.

    The maps [h, w] have the size of the image, with values 0..1.
    """

    input: _InputImage
    shown: int
    evidence: ClassEvidence


def _explain(explainer: Explainer | ModuleExplainer, image: _InputImage, chosen: int | None) -> _Explained:
    def shown(probabilities: NDArray[np.float32]) -> int:
        return int(probabilities.argmax()) if chosen is None else chosen

    def classes(probabilities: NDArray[np.float32]) -> set[int]:
        return {shown(probabilities), *([] if image.label is None else [image.label])}

    evidence = explainer.explain(image.image, classes)
    maps = {label: upsample_map(grid_map, *image.image.shape[:2]) for label, grid_map in evidence.maps.items()}
    return _Explained(image, shown(evidence.probabilities), replace(evidence, maps=maps))


def _write(path: Path, header: Mapping[str, Any], results: Sequence[_Explained]) -> None:
    members: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        "labels": np.array([-1 if result.input.label is None else result.input.label for result in results]),
        "classes": np.array([result.shown for result in results]),
        "probabilities": np.stack([result.evidence.probabilities for result in results]),
    }
    for number, result in enumerate(results):
        members[f"image_{number}"] = result.input.image
        members[f"map_{number}"] = result.evidence.maps[result.shown]
        if result.input.label not in {None, result.shown}:
            members[f"truth_map_{number}"] = result.evidence.maps[result.input.label]
    write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **members))


def _summary(result: _Explained, names: Sequence[str]) -> dict[str, Any]:
    probabilities, shown_map = result.evidence.probabilities, result.evidence.maps[result.shown]
    predicted = int(probabilities.argmax())
    row, column = np.unravel_index(int(shown_map.argmax()), shown_map.shape)
    return {
        "image": result.input.name,
        "label": None if result.input.label is None else names[result.input.label],
        "prediction": names[predicted],
        "confidence": float(probabilities[predicted]),
        "class": names[result.shown],
        "class_confidence": float(probabilities[result.shown]),
        "peak": [int(row), int(column)] if shown_map.any() else None,
    }


def _class_number(name: str | None, names: Sequence[str]) -> int | None:
    if name is None:
        return None
    if name not in names:
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise DataError(f"--class {name!r}: expected one of the cell's classes: {shown}")
    return list(names).index(name)


main = partial(run_program, answer=_answer)
"""Runs the program with its arguments; returns its exit status."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
