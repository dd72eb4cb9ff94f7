"""Feature reuse: the output of frozen layers for images that do not change is computed once, not in every epoch.

While a stage trains on images as they are, everything before its first trainable layer gives the same output in every
epoch: its weights do not change, and frozen batch normalisation normalises by its moving averages. That part of the
network runs once over the examples, in the cell's own precision, and the stage trains the rest on its output. Cells
with the same images, weights and frozen layers share it (see `feature_store.py`), whatever their seeds, heads,
batch sizes and learning rates.

The numbers are those of the whole network; on the CPU in float32 the same bits, as far as a convolution's result for
one image does not depend on the other images of its batch (measured: only a batch of a single image differs, by
rounding). Whether a stage uses features follows from the cell and the limit of the cache, never from what the cache
holds, so that a cell always gives the same numbers.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmark import layout, machine
from benchmark.catalog.cache import default_cache_root
from benchmark.catalog.facts import PLUGIN
from benchmark.files import sha256_of
from benchmark.images.compressed_images import ImageArray, batches_of
from benchmark.matrix.cell import Cell, Stage
from benchmark.training.augmenting.augmentation import SEED_STATE
from benchmark.training.data.dataset import Dataset, ExampleSet
from benchmark.training.data.fingerprint import sha256_of_arrays
from benchmark.training.data.splits import Split
from benchmark.training.data.stratification import Indices
from benchmark.training.features.feature_store import ArrayRequest, CachedArray, FeatureStore, FeatureUse
from benchmark.training.networks.network import Network, layer_graph
from benchmark.training.process.runtime import Runtime
from benchmark.training.steps.dispatch import compiled_forward

FEATURES_VERSION = 1
"""To be increased when the same key would mean other features."""

_MAX_BATCH_IMAGES = 64
_MAX_BATCH_PIXELS = _MAX_BATCH_IMAGES * 160 * 160
"""Limits of a batch that features are computed in; its size depends on the image size alone, as cells share features."""

_BACKEND_VARIABLES = ("TF_ENABLE_", "TF_XLA_", "XLA_")
"""Prefixes of environment variables that choose between implementations of operations, and so may change bits."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cut:
    """A network divided behind its frozen layers.

    Attributes:
        layer: Name of the last layer of the frozen part.
        frozen: Images [b, h, w, c] with values 0..255 to the output [b, …] of that layer.
        rest: This output to class probabilities; shares its layers with the network.
    """

    layer: str
    frozen: keras.Model
    rest: keras.Model


@dataclass(frozen=True, slots=True)
class Features:
    """What a stage trains on instead of images.

    Attributes:
        rest: The layers behind the frozen ones; see `Cut`.
        dataset: With features in place of images; the test set has them where the stage is the last one.
        use: Whether they were computed or reused, and what it took.
    """

    rest: keras.Model
    dataset: Dataset
    use: FeatureUse


def backend_environment() -> dict[str, str]:
    """The environment variables that choose between implementations of operations."""
    return {name: value for name, value in os.environ.items() if name.startswith(_BACKEND_VARIABLES)}


def find_cut(network: Network) -> Cut | None:
    """Divides a network behind its frozen layers, as they are frozen now; None where nothing would be gained.

    The cut is the last tensor before the first trainable layer through which everything later passes. There is none
    where no layer with weights precedes the first trainable one, and none where dropout stands among the frozen layers,
    since it draws anew for every batch.
    """
    operations = network.core.operations  # in the order of computation
    end = next(
        (number for number, step in enumerate(operations) if _is_trainable(step) or _is_random(step)), len(operations)
    )
    if any(_has_weights(step) and not _is_trainable(step) for step in operations[end:]) and _is_random(operations[end]):
        return None
    position = _last_bottleneck(operations, end)
    if position is None or not any(map(_has_weights, operations[: position + 1])):
        return None
    layer = operations[position].name
    graph = layer_graph(network.core)
    features = graph.outputs[layer]
    # with a fixed name: a name that Keras numbers would make equal models unequal
    frozen = keras.Model(graph.whole.inputs, features, name="frozen")
    try:
        rest = keras.Model(features, graph.whole.output, name="rest")
    except ValueError:  # a plug-in calls a layer twice, and the rest needs an earlier output of it
        return None
    return Cut(layer, frozen, rest)


def _has_weights(step: Any) -> bool:
    return bool(getattr(step, "weights", ()))


def _is_trainable(step: Any) -> bool:
    """Whether training changes a layer, moving averages included."""
    return _has_weights(step) and step.trainable


def _is_random(step: Any) -> bool:
    return any(variable.path.endswith(SEED_STATE) for variable in getattr(step, "variables", ()))


def _last_bottleneck(operations: list[Any], end: int) -> int | None:
    """The last of the first `end` operations whose single output is all that later ones use of it and those before."""
    last_use: dict[int, int] = {}
    for number, step in enumerate(operations):
        for tensor in keras.tree.flatten(step.input) if number else ():
            last_use[id(tensor)] = number
    until, bottleneck = 0, None
    for number, step in enumerate(operations[:end]):
        outputs = keras.tree.flatten(step.output)
        if until <= number and len(outputs) == 1 and number:
            bottleneck = number
        until = max([until, *(last_use.get(id(tensor), number) for tensor in outputs)])
    return bottleneck


class FeatureSource:
    """Computes or reuses the features that the stages of a cell train on.

    `beat` is called between batches and may raise to stop.
    """

    def __init__(self, cell: Cell, runtime: Runtime, beat: Callable[[], object]) -> None:
        self._cell = cell
        self._runtime = runtime
        self._store = FeatureStore(layout.features_folder(default_cache_root()), beat)

    def of_stage(self, network: Network, stage: Stage, dataset: Dataset, *, is_last: bool) -> Features | None:
        """Features for a stage whose trainable layers are set; None where it trains on images.

        It does so where its images are augmented or mixed, callbacks may change any layer, it has only one epoch, no layer is frozen, dropout stands among the
        frozen layers, the features are larger than may be kept, or writing them fails.

        The network has the weights that the stage begins with; behind the last stage the test set is evaluated.
        """
        if not self._cell.reuse_features or stage.augment or stage.is_mixed or stage.epochs == 1 or stage.callbacks:
            return None
        began = perf_counter()
        cut = find_cut(network)
        if cut is None:
            return None
        parts = _parts(dataset)
        requests = self._requests(cut, dataset.fingerprint, parts)
        try:
            # the test set counts in every stage: cells share stages, so none may depend on those after it
            if not self._store.has_room_for(sum(request.size_bytes for request in requests)):
                return None
            parts = parts if is_last else [part for part in parts if part.name != "test"]
            arrays = self._arrays(cut, parts, requests[: len(parts)])
        except OSError as error:
            log.warning("features cannot be kept, the stage computes them in every epoch: %s", error)
            return None
        seconds = perf_counter() - began
        saved = sum(array.seconds for array in arrays if not array.computed)
        how = "computed" if any(array.computed for array in arrays) else "reused"
        use = FeatureUse(how, seconds, seconds + saved)
        return Features(cut.rest, _with_features(dataset, parts, arrays), use)

    def _arrays(self, cut: Cut, parts: Sequence[_ExamplePart], requests: Sequence[ArrayRequest]) -> list[CachedArray]:
        forward = compiled_forward(cut.frozen)
        pinned = [request.key for request in requests]
        return [
            self._store.get(request, partial(self._compute, forward, part), pinned)
            for part, request in zip(parts, requests, strict=True)
        ]

    def _compute(self, forward: Callable[[NDArray[Any]], NDArray[Any]], part: _ExamplePart) -> Iterator[NDArray[Any]]:
        size = self._batch_size
        order = (part.indices[start : start + size] for start in range(0, len(part.indices), size))
        with closing(batches_of(part.images, order)) as batches:
            yield from map(forward, batches)

    @property
    def _batch_size(self) -> int:
        return min(max(_MAX_BATCH_PIXELS // self._cell.data.image_size**2, 1), _MAX_BATCH_IMAGES)

    def _description(self, cut: Cut) -> str:
        """Identifies the frozen layers, without their weights."""
        architecture = self._cell.architecture
        if architecture.name.startswith(PLUGIN):
            # a user's own layers need not have a `get_config`
            return json.dumps({"plugin": asdict(architecture), "cut": cut.layer})
        return sha256_of(cut.frozen.to_json().encode())

    def _requests(self, cut: Cut, fingerprint: str, parts: Sequence[_ExamplePart]) -> list[ArrayRequest]:
        cell, runtime = self._cell, self._runtime
        shape, dtype = tuple(cut.rest.input_shape[1:]), cut.rest.inputs[0].dtype
        made_of = {
            "version": FEATURES_VERSION,
            "data": fingerprint,
            "frozen": self._description(cut),
            "weights": sha256_of_arrays(
                # single numbers too have an axis in the keys of caches that are there
                (weight.path, np.atleast_1d(keras.ops.convert_to_numpy(weight)))
                for weight in cut.frozen.weights
            ),
            "precision": cell.precision,
            "backend": [cell.backend, runtime.backend_version, runtime.keras_version],
            "device": [cell.device_kind, runtime.device_name, machine.cpu_model()],
            "threads": runtime.threads,
            "deterministic": cell.deterministic,
            "batch": self._batch_size,
            "environment": backend_environment(),
        }
        names = {"architecture": cell.architecture.name, "layer": cut.layer, "source": cell.data.source}
        requests = []
        for part in parts:
            examples = {"part": part.name, "examples": sha256_of(part.indices.tobytes())}
            key = sha256_of(json.dumps({**made_of, **examples}, sort_keys=True).encode())
            notes = {**names, **made_of, **examples}
            requests.append(ArrayRequest(key[:32], (len(part.indices), *shape), dtype, notes))
        return requests


@dataclass(frozen=True, slots=True)
class _ExamplePart:
    """Examples that lie in one prepared array.

    Attributes:
        name: `train`, `test`, or `validation` of a source that has such images.
        images: The whole prepared array [n, h, w, c].
        indices: Those of it that the cell uses, ascending. Training and validation are one part, whose division depends
            on the seed, so that cells of all seeds share it.
    """

    name: str
    images: ImageArray
    indices: Indices


def _parts(dataset: Dataset) -> list[_ExamplePart]:
    """What features are computed of, the test set last."""
    training, validation, test = dataset.training, dataset.validation, dataset.test
    if validation.images is training.images:
        used = np.sort(np.concatenate([training.split.indices, validation.split.indices]))
        parts = [_ExamplePart("train", training.images, used)]
    else:
        parts = [_part("train", training), _part("validation", validation)]
    return [*parts, _part("test", test)]


def _part(name: str, examples: ExampleSet) -> _ExamplePart:
    return _ExamplePart(name, examples.images, np.sort(examples.split.indices))


def _with_features(dataset: Dataset, parts: Sequence[_ExamplePart], arrays: Sequence[CachedArray]) -> Dataset:
    def of(examples: ExampleSet) -> ExampleSet:
        for part, array in zip(parts, arrays, strict=True):
            if part.images is examples.images:
                positions = np.searchsorted(part.indices, examples.split.indices)
                return replace(examples, images=array.array, split=Split(positions, examples.split.labels))
        return examples

    return replace(dataset, training=of(dataset.training), validation=of(dataset.validation), test=of(dataset.test))
