"""Networks by name: flat functional graphs from images 0..255 to class probabilities, each with its own preprocessing.

The core model built here is what is counted, saved and evaluated; augmentation stands in front of it while a stage
trains (see `stages.py`). Three kinds of layers follow each other in every network: preprocessing (no weights), the
backbone, and the head, which starts where the features of the backbone are pooled or flattened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
from keras import layers

from benchmark.catalog.facts import PLUGIN, prepared_size
from benchmark.catalog.keras_applications import APPLICATIONS
from benchmark.matrix.cell import Architecture, Data
from benchmark.training.networks.applications import application
from benchmark.training.networks.plugin_models import check_core, layers_of, place_of, plugin_model
from benchmark.training.networks.resnet import resnet18_features

Tensor: TypeAlias = Any

PREDICTIONS = "predictions"
"""Name of the last layer of every network of ours."""


@dataclass(frozen=True, slots=True)
class Network:
    """A core model and which of its layers do what.

    Attributes:
        core: Images [b, h, w, c] with values 0..255 to probabilities [b, classes], float32 in any precision.
        backbone: Names of the layers that compute features, in the order of the graph.
        head: Names of the layers from the features to the probabilities.
        classifier: Path of the layer whose weights belong to single classes: the last one.
    """

    core: keras.Model
    backbone: tuple[str, ...]
    head: tuple[str, ...]
    classifier: str = PREDICTIONS


@dataclass(frozen=True, slots=True)
class _Graph:
    """The tensors at the borders between preprocessing, backbone and head."""

    scaled: Tensor
    features: Tensor
    probabilities: Tensor


def build_network(architecture: Architecture, data: Data, *, allow_plugins: bool = False) -> Network:
    """The network of a cell, with fresh weights drawn from Keras's current seed, under the current dtype policy.

    Args:
        architecture: What to build.
        data: What it is built for.
        allow_plugins: Whether users' own functions may run that the trust file does not name.

    Raises:
        KeyError: No such architecture; matrices are validated before, so this is a defect.
        PluginError: A user's own function may not run, or does not build a network for these data.
    """
    images, sized = _sized_images(data)
    if architecture.name.startswith(PLUGIN):
        return _of_plugin(architecture, data, images, sized, allowed=allow_plugins)
    graph = BUILDERS[architecture.name](sized, data.num_classes, **dict(architecture.parameters))
    core = keras.Model(images, graph.probabilities, name=architecture.name.replace(":", "_"))
    before = _names(keras.Model(images, graph.scaled))
    features = _names(keras.Model(images, graph.features))
    return Network(
        core=core,
        backbone=tuple(name for name in features if name not in before),
        head=tuple(name for name in _names(core) if name not in features),
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """The layers of a network as a graph of its own.

    A layer's own `input` and `output` belong to the graph in which it was called first: of a plug-in, the one that the
    plug-in made, and not the one that is trained.

    Attributes:
        whole: The network; its layers are those of the core, not copies.
        inputs: The first tensor that each layer is given, by its name.
        outputs: What each layer makes of it, by its name.
    """

    whole: keras.Model
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def laid_out(core: keras.Model) -> Layout:
    """The same layers once more, where every tensor between them is known."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def call(layer: Any, *tensors: Tensor, **options: Any) -> Tensor:
        inputs[layer.name] = keras.tree.flatten((tensors, options))[0]
        outputs[layer.name] = layer(*tensors, **options)
        return outputs[layer.name]

    whole = keras.models.clone_model(core, clone_function=lambda layer: layer, call_function=call)
    return Layout(whole, inputs, outputs)


def _of_plugin(architecture: Architecture, data: Data, images: Tensor, sized: Tensor, *, allowed: bool) -> Network:
    model, probabilities = plugin_model(architecture, data, sized, allowed=allowed)
    core = keras.Model(images, probabilities, name=architecture.name.replace(":", "_"))
    backbone, head, classifier = layers_of(model, core)
    check_core(core, place_of(architecture))
    return Network(core, backbone, head, classifier)


def _sized_images(data: Data) -> tuple[Tensor, Tensor]:
    """The input [b, h, w, c], and the images at the size of the cell.

    Where the prepared images are smaller, the network begins with enlarging them (bilinear), and takes any size.
    """
    if prepared_size(data.source, data.image_size) == data.image_size:
        images = keras.Input((data.image_size, data.image_size, data.channels), name="images", dtype="float32")
        return images, images
    images = keras.Input((None, None, data.channels), name="images", dtype="float32")
    return images, layers.Resizing(data.image_size, data.image_size, dtype="float32", name="resize")(images)


def _names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


def _rescaled(images: Tensor) -> Tensor:
    # in float32 under every policy: this is where the numbers of the data enter
    return layers.Rescaling(1 / 255, dtype="float32", name="rescale")(images)


def _classified(pooled: Tensor, classes: int, dense_units: int, dropout: float) -> Tensor:
    """The end of every head: an optional dense layer, dropout, softmax in float32."""
    x = layers.Dense(dense_units, activation="relu", name="dense")(pooled) if dense_units else pooled
    x = layers.Dropout(dropout, name="dropout")(x)
    return layers.Dense(classes, activation="softmax", dtype="float32", name=PREDICTIONS)(x)


def _simple_cnn(
    images: Tensor, classes: int, *, filters: tuple[int, ...], kernel_size: int, dense_units: int, dropout: float
) -> _Graph:
    """Unpadded convolution and pooling for each entry of `filters`; 225,034 parameters at 28x28x1, 10 classes."""
    x = scaled = _rescaled(images)
    for number, width in enumerate(filters, 1):
        x = layers.Conv2D(width, kernel_size, activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(name=f"pool{number}")(x)
    flat = layers.Flatten(name="flatten")(x)
    return _Graph(scaled, x, _classified(flat, classes, dense_units, dropout))


def _basic_cnn(images: Tensor, classes: int, *, filters: tuple[int, ...], dense_units: int, dropout: float) -> _Graph:
    """Padded convolution, ReLU and max pooling for each entry of `filters`, then two dense layers."""
    x = scaled = _rescaled(images)
    for number, width in enumerate(filters, 1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(name=f"pool{number}")(x)
    flat = layers.Flatten(name="flatten")(x)
    return _Graph(scaled, x, _classified(flat, classes, dense_units, dropout))


def _advanced_cnn(
    images: Tensor,
    classes: int,
    *,
    filters: tuple[int, ...],
    stage_dropout: tuple[float, ...],
    dense_units: int,
    dropout: float,
) -> _Graph:
    """Stages of two padded 3x3 convolutions with batch normalisation, then pooling and the stage's dropout."""
    x = scaled = _rescaled(images)
    for stage, (width, rate) in enumerate(zip(filters, stage_dropout, strict=True), 1):
        for number in (1, 2):
            name = f"stage{stage}_conv{number}"
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
            # the default momentum of 0.99 leaves the moving averages far behind in runs of a few hundred steps
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Dropout(rate, name=f"stage{stage}_dropout")(x)
    flat = layers.Flatten(name="flatten")(x)
    return _Graph(scaled, x, _classified(flat, classes, dense_units, dropout))


def _resnet18(images: Tensor, classes: int, *, filters: tuple[int, ...], dropout: float) -> _Graph:
    """The residual network of `resnet.py`; 11,181,642 trainable parameters with 3 channels and 10 classes."""
    scaled = _rescaled(images)
    features = resnet18_features(scaled, filters)
    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    return _Graph(scaled, features, _classified(pooled, classes, 0, dropout))


def _application(name: str) -> Callable[..., _Graph]:
    def build(images: Tensor, classes: int, *, dense_units: int, dropout: float) -> _Graph:
        scaled, features = application(name, images)
        pooled = layers.GlobalAveragePooling2D(name="pool")(features)
        return _Graph(scaled, features, _classified(pooled, classes, dense_units, dropout))

    return build


BUILDERS: dict[str, Callable[..., _Graph]] = {
    "simple_cnn": _simple_cnn,
    "basic_cnn": _basic_cnn,
    "advanced_cnn": _advanced_cnn,
    "resnet18": _resnet18,
    **{name: _application(name) for name in APPLICATIONS},
}
