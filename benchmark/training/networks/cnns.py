"""Small convolutional networks that are trained from scratch: `simple_cnn`, `basic_cnn` and `advanced_cnn`."""

from __future__ import annotations

from functools import partial

from keras import layers

from benchmark.training.networks.graph import Graph, Tensor, classify, rescale


def simple_cnn(
    images: Tensor,
    classes: int,
    *,
    filters: tuple[int, ...],
    kernel_size: int,
    dense_units: int,
    dropout: float,
    padding: str = "valid",
) -> Graph:
    """Unpadded convolution and pooling for each entry of `filters`; 225,034 parameters at 28x28x1, 10 classes."""
    x = preprocessed = rescale(images)
    for number, width in enumerate(filters, 1):
        x = layers.Conv2D(width, kernel_size, padding=padding, activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(name=f"pool{number}")(x)
    flat = layers.Flatten(name="flatten")(x)
    return Graph(preprocessed, x, classify(flat, classes, dense_units, dropout))


basic_cnn = partial(simple_cnn, kernel_size=3, padding="same")
"""Padded 3x3 convolution, ReLU and max pooling for each entry of `filters`, then two dense layers."""


def advanced_cnn(
    images: Tensor,
    classes: int,
    *,
    filters: tuple[int, ...],
    stage_dropout: tuple[float, ...],
    dense_units: int,
    dropout: float,
) -> Graph:
    """Stages of two padded 3x3 convolutions with batch normalisation, then pooling and the stage's dropout."""
    x = preprocessed = rescale(images)
    for stage, (width, rate) in enumerate(zip(filters, stage_dropout, strict=True), 1):
        for number in (1, 2):
            name = f"stage{stage}_conv{number}"
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
            # Keras's default momentum of 0.99 leaves the moving averages far behind in runs of a few hundred steps
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(rate, name=f"stage{stage}_dropout")(x)
    flat = layers.Flatten(name="flatten")(x)
    return Graph(preprocessed, x, classify(flat, classes, dense_units, dropout))
