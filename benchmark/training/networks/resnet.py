"""ResNet18 (He et al. 2015, arXiv:1512.03385, table 1), in the geometry of torchvision's, whose padding it shares.

7x7 stem with stride 2, 3x3 max pooling with stride 2, four stages of two basic blocks, global average pooling, and a
dense layer with softmax. Convolutions have no bias; strided ones are padded by zeros on both sides, as in the published
weights, where Keras's `same` would pad one side more than the other.
"""

from __future__ import annotations

from keras import layers

from benchmark.training.networks.graph import Graph, Tensor, classify, rescale


def resnet18(images: Tensor, classes: int, *, filters: tuple[int, ...], dropout: float) -> Graph:
    """The whole network; 11,181,642 trainable parameters with 3 channels and 10 classes.

    Args:
        images: [b, h, w, c] with values 0..255; the features are [b, ⌈h/32⌉, ⌈w/32⌉, filters[-1]].
        classes: How many there are.
        filters: Channels of each stage, (64, 128, 256, 512) in the paper; the stem has as many as the first.
        dropout: Rate between pooling and the dense layer; the paper has none.
    """
    preprocessed = rescale(images)
    x = _convolution(preprocessed, filters[0], 7, 2, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for stage, width in enumerate(filters, 1):
        for block in (1, 2):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _basic_block(x, width, stride, f"stage{stage}_block{block}")
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    return Graph(preprocessed, x, classify(pooled, classes, 0, dropout))


def _basic_block(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _convolution(x, filters, 1, stride, f"{name}_shortcut")
    x = _convolution(x, filters, 3, stride, f"{name}_conv1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolution(x, filters, 3, 1, f"{name}_conv2")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _convolution(x: Tensor, filters: int, size: int, stride: int, name: str) -> Tensor:
    """Convolution and batch normalisation."""
    padding = "same"
    if stride > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    convolution = layers.Conv2D(
        filters, size, stride, padding=padding, use_bias=False, kernel_initializer="he_normal", name=name
    )
    # Keras's default momentum of 0.99 leaves the moving averages far behind in runs of a few hundred steps
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(convolution(x))
