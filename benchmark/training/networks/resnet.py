"""ResNet18 without its head (He et al. 2015, arXiv:1512.03385, table 1), in the geometry of the common PyTorch one.

7x7 stem with stride 2, 3x3 max pooling with stride 2, four stages of two basic blocks. Convolutions have no bias;
strided ones are padded by zeros on both sides, as in the published weights, where Keras's `same` would pad one side.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from keras import layers

Tensor: TypeAlias = Any


def resnet18_features(x: Tensor, filters: tuple[int, ...]) -> Tensor:
    """Features [b, ⌈h/32⌉, ⌈w/32⌉, filters[-1]] of images [b, h, w, c] with values 0..1.

    Args:
        x: The images.
        filters: Channels of each stage, (64, 128, 256, 512) in the original; the stem has as many as the first.
    """
    x = _convolved(x, filters[0], 7, 2, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for stage, width in enumerate(filters, 1):
        for block in (1, 2):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _basic_block(x, width, stride, f"stage{stage}_block{block}")
    return x


def _basic_block(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _convolved(x, filters, 1, stride, f"{name}_shortcut")
    x = _convolved(x, filters, 3, stride, f"{name}_conv1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolved(x, filters, 3, 1, f"{name}_conv2")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _convolved(x: Tensor, filters: int, size: int, stride: int, name: str) -> Tensor:
    padding = "same"
    if stride > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    convolution = layers.Conv2D(
        filters, size, stride, padding=padding, use_bias=False, kernel_initializer="he_normal", name=name
    )
    # the default momentum of 0.99 leaves the moving averages far behind in runs of a few hundred steps
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(convolution(x))
