"""Builds networks by name: flat functional graphs from images 0..255 to class probabilities, preprocessing included.

The core model built here is what is counted, saved and evaluated; augmentation stands in front of it while a stage
trains (see `stages.py`). Three kinds of layers follow each other in every network: preprocessing (no weights), the
backbone, and the head, which starts where the features of the backbone are pooled or flattened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import layers

from benchmark.catalog.facts import KERAS, PLUGIN, prepared_size
from benchmark.catalog.keras_applications import APPLICATIONS
from benchmark.matrix.cell import Architecture, Data
from benchmark.training.networks.applications import application
from benchmark.training.networks.cnns import advanced_cnn, basic_cnn, simple_cnn
from benchmark.training.networks.graph import PREDICTIONS, Graph, Tensor
from benchmark.training.networks.plugin_models import call_plugin, check_outputs, keras_plugin, split_layers
from benchmark.training.networks.resnet import resnet18
from benchmark.training.process.plugin_code import naming_plugin_line, plugin_location

BUILDERS: dict[str, Callable[..., Graph]] = {
    "simple_cnn": simple_cnn,
    "basic_cnn": basic_cnn,
    "advanced_cnn": advanced_cnn,
    "resnet18": resnet18,
    **{name: partial(application, name) for name in APPLICATIONS},
}
"""By architecture: images and number of classes, and its parameters as keyword arguments, to a graph."""


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

    @property
    def parameters(self) -> int:
        """How many numbers its weights are, moving averages of batch normalisation included."""
        return int(self.core.count_params())

    @property
    def compute_dtype(self) -> str:
        """That of the first layer with weights: the last one computes in float32 whatever the precision."""
        layers = map(self.core.get_layer, (*self.backbone, *self.head))
        return str(next(layer.compute_dtype for layer in layers if layer.weights))

    def learn(self, names: Collection[str]) -> None:
        """Makes the layers of these names trainable and freezes the others."""
        for layer in self.core.layers:
            layer.trainable = layer.name in names

    def part_of(self, path: str) -> str:
        """The name of the layer of a weight, by the weight's path."""
        return path.partition("/")[0]

    def is_of_classifier(self, path: str) -> bool:
        """Whether a weight belongs to single classes."""
        return path.startswith(f"{self.classifier}/")


class ModuleNetwork(Network):
    """A module of PyTorch, whose parts are its submodules with parameters of their own, by their dotted names."""

    __slots__ = ()

    @property
    def layer(self) -> Any:
        """The `torch_modules.ModuleLayer` that holds the module."""
        return self.core.layers[-1]

    @property
    def parameters(self) -> int:
        """How many numbers the module's parameters are, as PyTorch counts them: without buffers."""
        return int(self.layer.parameter_count)

    @property
    def compute_dtype(self) -> str:
        return str(self.layer.compute_dtype)

    def learn(self, names: Collection[str]) -> None:
        self.layer.learn(names)

    def part_of(self, path: str) -> str:
        return path.rpartition(".")[0]

    def is_of_classifier(self, path: str) -> bool:
        return self.part_of(path) == self.classifier


def build_network(
    architecture: Architecture, data: Data, *, binary: bool = False, allow_plugins: bool = False
) -> Network:
    """The network of a cell, with fresh weights drawn from Keras's current seed, under the current dtype policy.

    Args:
        architecture: What to build.
        data: What it is built for.
        binary: Whether each class has a sigmoid of its own at the end, in place of the softmax over all.
        allow_plugins: Whether users' own functions may run that the trust file does not name.

    Raises:
        KeyError: No such architecture; matrices are validated before, so this is a defect.
        PluginError: A user's own function may not run, or does not build a network for these data.
    """
    images, resized = _inputs(data)
    name = architecture.name.replace(":", "_")
    if architecture.framework != KERAS:
        return _module_network(architecture, data, images, resized, binary=binary, allowed=allow_plugins)
    if architecture.name.startswith(PLUGIN):
        model, probabilities = keras_plugin(architecture, data, resized, allowed=allow_plugins)
        core = keras.Model(images, probabilities, name=name)
        network = Network(core, *split_layers(model, core))
        where = plugin_location(
            architecture.name.removeprefix(PLUGIN), "models", str(architecture.code), architecture.file
        )
        check_outputs(core, where, binary=binary)
        return network
    graph = BUILDERS[architecture.name](resized, data.num_classes, **dict(architecture.parameters))
    core = keras.Model(images, graph.probabilities, name=name)
    if binary:
        core.get_layer(PREDICTIONS).activation = keras.activations.sigmoid
    before = _layer_names(keras.Model(images, graph.preprocessed))
    features = _layer_names(keras.Model(images, graph.features))
    return Network(
        core=core,
        backbone=tuple(name for name in features if name not in before),
        head=tuple(name for name in _layer_names(core) if name not in features),
    )


def _module_network(
    architecture: Architecture, data: Data, images: Tensor, resized: Tensor, *, binary: bool, allowed: bool
) -> Network:
    from benchmark.training.networks.module_checks import check_module, named_head
    from benchmark.training.networks.torch_hubs import hub_module
    from benchmark.training.networks.torch_modules import ModuleLayer

    scaling: Any = ()
    if architecture.name.startswith(PLUGIN):
        module, place = call_plugin(architecture, data, allowed=allowed)
    else:
        (module, scaling), place = hub_module(architecture, data), architecture.name
    with naming_plugin_line(architecture.file, place):
        check_module(module, architecture, data, place, binary=binary)
        layer = ModuleLayer(module, data.num_classes, place, *scaling, binary=binary)
        head, classifier = named_head(module, layer.parts, place)
    core = keras.Model(images, layer(resized), name=architecture.name.replace(":", "_"))
    return ModuleNetwork(core, tuple(name for name in layer.parts if name not in head), head, classifier)


@dataclass(frozen=True, slots=True)
class LayerGraph:
    """The layers of a network in a graph of its own, where the tensors between them are known.

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


def layer_graph(core: keras.Model) -> LayerGraph:
    """Calls the layers of a model once more, in a new graph; the layers and their weights are shared."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def call(layer: Any, *tensors: Tensor, **options: Any) -> Tensor:
        inputs[layer.name] = keras.tree.flatten((tensors, options))[0]
        outputs[layer.name] = layer(*tensors, **options)
        return outputs[layer.name]

    whole = keras.models.clone_model(core, clone_function=lambda layer: layer, call_function=call)
    return LayerGraph(whole, inputs, outputs)


def _inputs(data: Data) -> tuple[Tensor, Tensor]:
    """The input [b, h, w, c], and the images at the size of the cell.

    Where the prepared images are smaller, the network begins with enlarging them (bilinear), and takes any size.
    """
    if prepared_size(data.source, data.image_size) == data.image_size:
        images = keras.Input((data.image_size, data.image_size, data.channels), name="images", dtype="float32")
        return images, images
    images = keras.Input((None, None, data.channels), name="images", dtype="float32")
    return images, layers.Resizing(data.image_size, data.image_size, dtype="float32", name="resize")(images)


def _layer_names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]
