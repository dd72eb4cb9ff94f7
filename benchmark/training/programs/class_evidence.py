"""Grad-CAM: where in an image the evidence for a class lay (Selvaraju et al. 2017, arXiv:1610.02391, section 3).

With A the activation [h, w, k] of the last convolution and y the score of a class before the softmax, channel k weighs
w_k = mean over all positions of ∂y/∂A_k, and the map is max(0, Σ_k w_k A_k).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from benchmark.errors import DataError
from benchmark.training.networks.network import LayerGraph, Network, layer_graph
from benchmark.training.steps.dispatch import scores_of

Map = NDArray[np.float32]

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
        probabilities = as_array(self._probabilities(keras.ops.expand_dims(scores, 0)))[0]
        self.grid = tuple(activation.shape[1:3])
        values = keras.ops.convert_to_numpy(activation)[0]
        return ClassEvidence(
            probabilities, {each: grad_cam(values, gradient_of(each)) for each in choose(probabilities)}
        )


def as_array(tensor: Any) -> NDArray[np.float32]:
    """A tensor of any backend as an array of NumPy."""
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
