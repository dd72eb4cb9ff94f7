"""Networks of Keras Applications as backbones, each behind the preprocessing that its ImageNet weights expect."""

from __future__ import annotations

from typing import Any, TypeAlias

import keras
from keras import layers

Tensor: TypeAlias = Any

_IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)
"""Of ImageNet's training images, 0..255; what `keras.applications.imagenet_utils` subtracts in mode `caffe`."""

_MODELS = {"vgg16": keras.applications.VGG16, "resnet50": keras.applications.ResNet50}


def application(name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """(preprocessed images, features) of RGB images with values 0..255; the weights are random."""
    scaled = _caffe_preprocessed(images)
    backbone = _MODELS[name](include_top=False, weights=None, input_tensor=scaled)
    return scaled, backbone.output


def _caffe_preprocessed(images: Tensor) -> Tensor:
    """Mean subtracted, channels from RGB to BGR. Grey images are subtracted the mean of the three means."""
    channels = images.shape[-1]
    mean = _IMAGENET_MEAN_RGB if channels == 3 else (sum(_IMAGENET_MEAN_RGB) / 3,) * channels
    centred = layers.Normalization(
        mean=list(mean), variance=[1.0] * channels, dtype="float32", name="subtract_imagenet_mean"
    )(images)
    return keras.ops.flip(centred, axis=-1) if channels == 3 else centred
