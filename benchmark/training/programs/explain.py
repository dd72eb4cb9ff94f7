"""The program that explains what a trained network saw, by Grad-CAM.

`python -m benchmark.training.programs.explain REQUEST ANSWER`. REQUEST is a file of JSON:

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark.catalog.image_names import SHOWN_BY_DEFAULT, TEST, problem_of_class, problem_of_number
from benchmark.errors import DataError
from benchmark.files import write_whole
from benchmark.matrix.cell import Cell
from benchmark.training.data.dataset import Dataset, open_dataset
from benchmark.training.networks.network import ModuleNetwork, Network
from benchmark.training.process.offline import forbid_network
from benchmark.training.process.runtime import prepare_process
from benchmark.training.programs.answering import run_program
from benchmark.training.programs.class_evidence import ClassEvidence, Explainer, upsample_map
from benchmark.training.programs.predict import file_pixels, trained_network

if TYPE_CHECKING:
    from benchmark.training.programs.module_evidence import ModuleExplainer


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
            images.append(_InputImage(Path(name).name, file_pixels(Path(name), cell.data), None))
    return images


def _dataset(request: Mapping[str, Any], cell: Cell) -> Dataset:
    if request["data_directory"] is None:
        raise DataError("the prepared dataset of the cell is not in the cache; run `bench prepare`")
    dataset = open_dataset(Path(request["data_directory"]), cell.data, cell.stream_seed("split_seed"), one_hot=False)
    if request["data_fingerprint"] not in {None, dataset.fingerprint}:
        raise DataError(
            "the prepared dataset in the cache is not the one that the cell was tested on: expected the fingerprint "
            f"{request['data_fingerprint']}, found {dataset.fingerprint}; explain image files instead"
        )
    return dataset


def _test_image(name: str, dataset: Dataset) -> _InputImage:
    split = dataset.test.split
    if (problem := problem_of_number(name, split.indices)) is not None:
        raise DataError(problem)
    number = int(name.removeprefix(TEST))
    (position,) = np.flatnonzero(split.indices == number)
    return _InputImage(name, np.array(dataset.test.images[number]), _label_of(split.labels[position]))


def _answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    backend = keras.backend.backend()
    cell = replace(Cell.from_dict(request["cell"]), backend=backend, device_kind="cpu", precision="float32", threads=1)
    forbid_network()
    prepare_process(cell, None)
    network, names = trained_network(
        cell, Path(request["weights"]), request["sha256"], allow_plugins=request["allow_plugins"]
    )
    chosen = _class_number(request["class_name"], names)
    explainer = _explainer_of(network)
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


def _explainer_of(network: Network) -> Explainer | ModuleExplainer:
    if isinstance(network, ModuleNetwork):
        from benchmark.training.programs.module_evidence import ModuleExplainer  # PyTorch alone

        return ModuleExplainer(network)
    return Explainer(network)


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
    if (problem := problem_of_class(name, names)) is not None:
        raise DataError(problem)
    return list(names).index(name)


main = partial(run_program, answer=_answer)
"""Runs the program with its arguments; returns its exit status."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
