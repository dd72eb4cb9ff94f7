"""Networks of Keras Applications, each behind the preprocessing that its ImageNet weights expect.

Where Keras offers to build preprocessing into the network it is left out and done here, in float32 under every
precision. The first EfficientNets (B0 to B7) insist on theirs, and Keras corrects it by a layer that it adds only when
it loads the published weights itself (https://github.com/tensorflow/tensorflow/issues/49930); here the correction goes
into the statistics of their normalisation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import keras
from keras import layers

from benchmark.catalog.keras_applications import APPLICATIONS
from benchmark.training.networks.graph import Graph, Tensor, classify

_MEAN_RGB = (123.68, 116.779, 103.939)
"""Mean of ImageNet's training images, 0..255; `keras.applications.imagenet_utils` subtracts it in mode `caffe`."""

_UNIT_MEAN_RGB, _UNIT_DEVIATION_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of values 0..1, as torchvision has them: mode `torch`."""


def application(name: str, images: Tensor, classes: int, *, dense_units: int, dropout: float) -> Graph:
    """A network of Keras Applications with random weights and our own head.

    Args:
        name: Of the architecture, a key of `APPLICATIONS`.
        images: [b, h, w, 3] with values 0..255, or [b, h, w, 1] for a network that is trained from scratch.
        classes: How many there are.
        dense_units: Width of a dense layer before the last one; 0 for none.
        dropout: Rate before the last layer.
    """
    facts = APPLICATIONS[name]
    preprocessed = _PREPROCESSING[facts.preprocessing](images)
    build = getattr(keras.applications, facts.name)
    options = {"include_preprocessing": False} if "include_preprocessing" in inspect.signature(build).parameters else {}
    backbone = build(include_top=False, weights=None, input_tensor=preprocessed, **options)
    for layer in normalization_layers(backbone.layers):
        layer.adapt_mean.assign(_per_channel(_UNIT_MEAN_RGB, images.shape[-1]))
        deviations = _per_channel(_UNIT_DEVIATION_RGB, images.shape[-1])
        layer.adapt_variance.assign([deviation**2 for deviation in deviations])
        layer.finalize_state()
    pooled = layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    return Graph(preprocessed, backbone.output, classify(pooled, classes, dense_units, dropout))


def normalization_layers(candidates: Iterable[Any]) -> list[Any]:
    """The `keras.layers.Normalization` among them whose mean and variance are weights, as those of EfficientNets are.

    They compute with copies of these weights: call `finalize_state` after assigning.
    """
    return [layer for layer in candidates if isinstance(layer, layers.Normalization) and layer.weights]


def correct_normalization(backbone: Iterable[Any]) -> None:
    """Multiplies the variances that were loaded into EfficientNets by the standard deviations of ImageNet.

    Keras divides by the root of these deviations, in a layer that it adds after loading its published weights.
    """
    for layer in normalization_layers(backbone):
        layer.adapt_variance.assign(layer.adapt_variance * keras.ops.array(_UNIT_DEVIATION_RGB))
        layer.finalize_state()


def _per_channel(rgb: tuple[float, ...], channels: int) -> list[float]:
    """The three numbers, or their mean for grey images."""
    return list(rgb) if channels == 3 else [sum(rgb) / 3] * channels


def _caffe(images: Tensor) -> Tensor:
    """Mean subtracted, channels from RGB to BGR."""
    channels = images.shape[-1]
    centred = layers.Normalization(
        mean=_per_channel(_MEAN_RGB, channels),
        variance=[1.0] * channels,
        dtype="float32",
        name="subtract_imagenet_mean",
    )(images)
    return keras.ops.flip(centred, axis=-1) if channels == 3 else centred


def _torch(images: Tensor) -> Tensor:
    channels = images.shape[-1]
    return layers.Normalization(
        mean=[255 * mean for mean in _per_channel(_UNIT_MEAN_RGB, channels)],
        variance=[(255 * deviation) ** 2 for deviation in _per_channel(_UNIT_DEVIATION_RGB, channels)],
        dtype="float32",
        name="standardise_by_imagenet",
    )(images)


def _rescale(images: Tensor, scale: float) -> Tensor:
    return layers.Rescaling(scale, offset=-1.0, dtype="float32", name="rescale")(images)


_PREPROCESSING: dict[str, Callable[[Tensor], Tensor]] = {
    "caffe": _caffe,
    "torch": _torch,
    "symmetric": partial(_rescale, scale=1 / 127.5),
    "centred": partial(_rescale, scale=1 / 128),
    "inside": lambda images: images,
}
