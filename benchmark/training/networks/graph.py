"""What the graphs of our own networks have in common: the tensors between their parts, and the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from keras import layers

Tensor: TypeAlias = Any

PREDICTIONS = "predictions"
"""Name of the last layer of every network of ours."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The symbolic tensors at the borders between preprocessing, backbone and head.

    Attributes:
        preprocessed: Images [b, h, w, c] as the first layer with weights takes them.
        features: Output of the backbone, [b, h', w', k].
        probabilities: Softmax over the classes, [b, classes] float32.
    """

    preprocessed: Tensor
    features: Tensor
    probabilities: Tensor


def rescale(images: Tensor) -> Tensor:
    """Values 0..255 to 0..1, in float32 under every dtype policy: this is where the numbers of the data enter."""
    return layers.Rescaling(1 / 255, dtype="float32", name="rescale")(images)


def classify(pooled: Tensor, classes: int, dense_units: int, dropout: float) -> Tensor:
    """Probabilities [b, classes] of features [b, k]: an optional dense layer with ReLU, dropout, softmax in float32."""
    x = layers.Dense(dense_units, activation="relu", name="dense")(pooled) if dense_units else pooled
    x = layers.Dropout(dropout, name="dropout")(x)
    return layers.Dense(classes, activation="softmax", dtype="float32", name=PREDICTIONS)(x)
