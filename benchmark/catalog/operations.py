"""What a network costs, counted without building it: multiply-adds, parameters and outputs of every layer.

Each list has one entry for each Keras layer, in the order of the graph, so that `last:N` can be counted in it. A test
compares parameters and numbers of layers with the built networks. Of most networks of Keras Applications only sums are
known; they are spread evenly over the layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from benchmark.catalog.keras_applications import APPLICATIONS, Application

Parameters = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, for one image.

    Attributes:
        multiply_adds: Of the forward pass.
        parameters: All of them, moving averages included.
        trainable: Those that learn when the layer does.
        outputs: Numbers that it hands on.
    """

    multiply_adds: int = 0
    parameters: int = 0
    trainable: int = 0
    outputs: int = 0


@dataclass(frozen=True, slots=True)
class Operations:
    """The layers of a network, as `training/networks/network.py` tells them apart."""

    backbone: tuple[Layer, ...]
    head: tuple[Layer, ...]


def operations_of(name: str, parameters: Parameters, image_size: int, channels: int, classes: int) -> Operations | None:
    """What the network of these parameters costs for images [size, size, channels]; None for one not known here."""
    if name not in _COUNTS and name not in APPLICATIONS:
        return None
    return _operations(name, parameters, image_size, channels, classes)


@cache
def _operations(name: str, parameters: Parameters, image_size: int, channels: int, classes: int) -> Operations | None:
    count = _COUNTS.get(name) or _known_in_sum(APPLICATIONS[name])
    given = dict(parameters)
    layers = _Layers(image_size, channels)
    try:
        pooled = count(layers, given)
    except KeyError:
        return None
    backbone = tuple(layers.found)
    head = _Layers(layers.size, layers.channels)
    _count_head(head, pooled=pooled, classes=classes, given=given)
    return Operations(backbone, tuple(head.found))


@dataclass(slots=True)
class _Layers:
    """Layers one after another, and the shape [size, size, channels] of what the last one hands on."""

    size: int
    channels: int
    found: list[Layer] = field(default_factory=list)

    @property
    def outputs(self) -> int:
        return self.size * self.size * self.channels

    def plain(self) -> None:
        """A layer that works on every number and has no parameters: ReLU, dropout, addition."""
        self.found.append(Layer(outputs=self.outputs))

    def convolution(self, width: int, kernel: int, size: int, *, bias: bool, inputs: int | None = None) -> None:
        """To images of `size`; `inputs` are its input channels where it does not follow the last layer."""
        weights = kernel * kernel * (inputs or self.channels) * width
        self.size, self.channels = size, width
        count = weights + width * bias
        self.found.append(Layer(weights * size * size, count, count, self.outputs))

    def normalisation(self) -> None:
        """Batch normalisation: scale and offset learn, the two moving averages do not."""
        self.found.append(Layer(0, 4 * self.channels, 2 * self.channels, self.outputs))

    def padding(self, each_side: int) -> None:
        self.size += 2 * each_side
        self.plain()

    def pooling(self, size: int) -> None:
        self.size = size
        self.plain()

    def dense(self, inputs: int, width: int) -> None:
        count = (inputs + 1) * width
        self.found.append(Layer(inputs * width, count, count, width))


def _count_head(layers: _Layers, *, pooled: bool, classes: int, given: Mapping[str, Any]) -> None:
    width = layers.channels if pooled else layers.outputs
    layers.found.append(Layer(outputs=width))
    if given.get("dense_units"):
        layers.dense(width, given["dense_units"])
        width = given["dense_units"]
    layers.found.append(Layer(outputs=width))
    layers.dense(width, classes)


def _simple_cnn(layers: _Layers, given: Mapping[str, Any]) -> bool:
    for width in given["filters"]:
        layers.convolution(width, given["kernel_size"], layers.size - given["kernel_size"] + 1, bias=True)
        layers.pooling(layers.size // 2)
    return False


def _basic_cnn(layers: _Layers, given: Mapping[str, Any]) -> bool:
    for width in given["filters"]:
        layers.convolution(width, 3, layers.size, bias=True)
        layers.pooling(layers.size // 2)
    return False


def _advanced_cnn(layers: _Layers, given: Mapping[str, Any]) -> bool:
    for width in given["filters"]:
        for _ in range(2):
            layers.convolution(width, 3, layers.size, bias=False)
            layers.normalisation()
            layers.plain()
        layers.pooling(layers.size // 2)
        layers.plain()
    return False


def _stem(layers: _Layers, width: int, *, bias: bool) -> None:
    """7x7 convolution and 3x3 pooling, each with stride 2 and padded by zeros."""
    layers.padding(3)
    layers.convolution(width, 7, (layers.size - 7) // 2 + 1, bias=bias)
    layers.normalisation()
    layers.plain()
    layers.padding(1)
    layers.pooling((layers.size - 3) // 2 + 1)


def _resnet18(layers: _Layers, given: Mapping[str, Any]) -> bool:
    filters = given["filters"]
    _stem(layers, filters[0], bias=False)
    for stage, width in enumerate(filters, 1):
        for block in (1, 2):
            stride = 2 if stage > 1 and block == 1 else 1
            _basic_block(layers, width, stride)
    return True


def _basic_block(layers: _Layers, width: int, stride: int) -> None:
    inputs, size = layers.channels, math.ceil(layers.size / stride)
    if stride > 1:
        layers.padding(1)
    layers.convolution(width, 3, size, bias=False)
    layers.normalisation()
    layers.plain()
    _joined(layers, width, 3, inputs if stride != 1 or inputs != width else None, bias=False)


def _joined(layers: _Layers, width: int, kernel: int, shortcut: int | None, *, bias: bool) -> None:
    """The last convolution of a block and, level with it in the graph, the one on its way round; then their sum."""
    inputs = layers.channels
    if shortcut is not None:
        layers.convolution(width, 1, layers.size, bias=bias, inputs=shortcut)
    layers.convolution(width, kernel, layers.size, bias=bias, inputs=inputs)
    for _ in range(1 if shortcut is None else 2):
        layers.normalisation()
    layers.plain()
    layers.plain()


_VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def _vgg16(layers: _Layers, _given: Mapping[str, Any]) -> bool:
    for width, convolutions in _VGG16:
        for _ in range(convolutions):
            layers.convolution(width, 3, layers.size, bias=True)
        layers.pooling(layers.size // 2)
    return True


_RESNET50 = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def _resnet50(layers: _Layers, _given: Mapping[str, Any]) -> bool:
    _stem(layers, 64, bias=True)
    for width, blocks, stride in _RESNET50:
        for block in range(blocks):
            _bottleneck(layers, width, stride if block == 0 else 1, shortcut=block == 0)
    return True


def _bottleneck(layers: _Layers, width: int, stride: int, *, shortcut: bool) -> None:
    inputs, size = layers.channels, math.ceil(layers.size / stride)
    layers.convolution(width, 1, size, bias=True)
    layers.normalisation()
    layers.plain()
    layers.convolution(width, 3, size, bias=True)
    layers.normalisation()
    layers.plain()
    _joined(layers, 4 * width, 1, inputs if shortcut else None, bias=True)


_GIGA_MULTIPLY_ADDS = {
    "ConvNeXtTiny": 4.5, "ConvNeXtSmall": 8.7, "ConvNeXtBase": 15.4, "ConvNeXtLarge": 34.4, "ConvNeXtXLarge": 60.9,
    "DenseNet121": 2.8, "DenseNet169": 3.4, "DenseNet201": 4.3, "EfficientNetB0": 0.39, "EfficientNetB1": 0.61,
    "EfficientNetB2": 0.74, "EfficientNetB3": 1.0, "EfficientNetB4": 1.5, "EfficientNetB5": 2.4, "EfficientNetB6": 3.4,
    "EfficientNetB7": 5.2, "EfficientNetV2B0": 0.72, "EfficientNetV2B1": 1.05, "EfficientNetV2B2": 1.3,
    "EfficientNetV2B3": 1.7, "EfficientNetV2S": 3.0, "EfficientNetV2M": 5.2, "EfficientNetV2L": 11.5,
    "InceptionResNetV2": 7.4, "InceptionV3": 3.2, "MobileNet": 0.57, "MobileNetV2": 0.30, "MobileNetV3Large": 0.22,
    "MobileNetV3Small": 0.06, "NASNetLarge": 10.9, "NASNetMobile": 0.56, "ResNet101": 7.6, "ResNet101V2": 7.2,
    "ResNet152": 11.3, "ResNet152V2": 10.9, "ResNet50V2": 3.5, "VGG19": 19.5, "Xception": 4.7,
}  # fmt: skip
"""For an image of 224x224, as their authors give them; those given for larger images in proportion to the area."""

_MEAN_OUTPUTS = 200_000
"""Of one layer for such an image: what a residual network of fifty layers has."""


def _known_in_sum(one: Application) -> Callable[[_Layers, Mapping[str, Any]], bool]:
    area = 224 * 224

    def count(layers: _Layers, _given: Mapping[str, Any]) -> bool:
        pixels = layers.size * layers.size
        adds = round(_GIGA_MULTIPLY_ADDS.get(one.name, 5.0) * 1e9 * pixels / area / one.layers)
        parameters, rest = divmod(one.parameters, one.layers)
        outputs = round(_MEAN_OUTPUTS * pixels / area)
        layers.found += [Layer(adds, parameters, parameters, outputs)] * (one.layers - 1)
        layers.found.append(Layer(adds, parameters + rest, parameters + rest, outputs))
        # the width of the features is about that of all residual networks; it decides about the head alone
        layers.size, layers.channels = max(1, layers.size // 32), 1536
        return True

    return count


_COUNTS: Mapping[str, Callable[[_Layers, Mapping[str, Any]], bool]] = {
    "simple_cnn": _simple_cnn,
    "basic_cnn": _basic_cnn,
    "advanced_cnn": _advanced_cnn,
    "resnet18": _resnet18,
    "vgg16": _vgg16,
    "resnet50": _resnet50,
}
"""Each counts the backbone; whether the head then pools the features (else it flattens them)."""
