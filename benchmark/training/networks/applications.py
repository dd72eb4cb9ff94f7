"""Networks of Keras Applications as backbones, each behind the preprocessing that its ImageNet weights expect.

Where Keras offers to build preprocessing into the network it is left out and done here, in float32 under every
precision. The EfficientNets of the first kind insist on theirs, and Keras corrects it by a layer that it adds only when
it loads the published weights itself; here the correction goes into the statistics of their normalisation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import keras
from keras import layers

from benchmark.catalog.keras_applications import APPLICATIONS

Tensor: TypeAlias = Any

_MEAN_RGB = (123.68, 116.779, 103.939)
"""Of ImageNet's training images, 0..255; what `keras.applications.imagenet_utils` subtracts in mode `caffe`."""

_UNIT_MEAN_RGB, _UNIT_DEVIATION_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""The same of values 0..1, as PyTorch has them: mode `torch`."""


def application(name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """(preprocessed images, features) of images with values 0..255; the weights are random.

    Args:
        name: Of the architecture, a key of `APPLICATIONS`.
        images: [b, h, w, 3], or [b, h, w, 1] for a network that is trained from scratch.
    """
    facts = APPLICATIONS[name]
    scaled = _PREPROCESSING[facts.preprocessing](images)
    build = getattr(keras.applications, facts.name)
    options = {"include_preprocessing": False} if "include_preprocessing" in inspect.signature(build).parameters else {}
    backbone = build(include_top=False, weights=None, input_tensor=scaled, **options)
    for layer in normalisations(backbone.layers):
        _set_statistics(layer, images.shape[-1])
    return scaled, backbone.output


def normalisations(found: Iterable[Any]) -> list[Any]:
    """Those layers among them that normalise by statistics which are weights."""
    return [layer for layer in found if isinstance(layer, layers.Normalization) and layer.weights]


def correct_published(backbone: Iterable[Any]) -> None:
    """What Keras does beside loading the published weights of an EfficientNet: divide by the root of the deviations."""
    for layer in normalisations(backbone):
        layer.adapt_variance.assign(layer.adapt_variance * keras.ops.array(_UNIT_DEVIATION_RGB))
        layer.finalize_state()


def _set_statistics(layer: Any, channels: int) -> None:
    layer.adapt_mean.assign(_of_channels(_UNIT_MEAN_RGB, channels))
    layer.adapt_variance.assign([deviation**2 for deviation in _of_channels(_UNIT_DEVIATION_RGB, channels)])
    layer.finalize_state()


def _of_channels(rgb: tuple[float, ...], channels: int) -> list[float]:
    """The three numbers, or their mean for grey images."""
    return list(rgb) if channels == 3 else [sum(rgb) / 3] * channels


def _caffe(images: Tensor) -> Tensor:
    """Mean subtracted, channels from RGB to BGR."""
    channels = images.shape[-1]
    centred = layers.Normalization(
        mean=_of_channels(_MEAN_RGB, channels),
        variance=[1.0] * channels,
        dtype="float32",
        name="subtract_imagenet_mean",
    )(images)
    return keras.ops.flip(centred, axis=-1) if channels == 3 else centred


def _torch(images: Tensor) -> Tensor:
    channels = images.shape[-1]
    return layers.Normalization(
        mean=[255 * mean for mean in _of_channels(_UNIT_MEAN_RGB, channels)],
        variance=[(255 * deviation) ** 2 for deviation in _of_channels(_UNIT_DEVIATION_RGB, channels)],
        dtype="float32",
        name="standardise_by_imagenet",
    )(images)


def _symmetric(images: Tensor) -> Tensor:
    return layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(images)


def _centred(images: Tensor) -> Tensor:
    return layers.Rescaling(1 / 128, offset=-1.0, dtype="float32", name="rescale")(images)


_PREPROCESSING: dict[str, Callable[[Tensor], Tensor]] = {
    "caffe": _caffe,
    "torch": _torch,
    "symmetric": _symmetric,
    "centred": _centred,
    "inside": lambda images: images,
}
