"""Builds the models of plug-ins, users' own functions. Plug-ins run here only, and only inside workers.

    def my_net(input_shape, num_classes, *, width=32):
        ...
        return keras.Model(images, probabilities)     # images [b, h, w, c] with values 0..255; a softmax at the end

The parameters of the matrix are passed as keyword arguments. The layers of the model are called once more behind our own
input, so that it is trained, frozen and saved like any other network. Any error in a plug-in ends its cell with one
message that names the file and the line.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from benchmark.catalog.facts import KERAS, PLUGIN
from benchmark.matrix.cell import Architecture, Data
from benchmark.matrix.identity import with_lists
from benchmark.training.process.plugin_code import PluginError, PluginFunction, naming_plugin_line, plugin_function

HEAD_ATTRIBUTE = "bench_head"
"""Attribute in which a model may list the names of its head's layers; else the head begins at the last with weights."""


def call_plugin(architecture: Architecture, data: Data, *, allowed: bool) -> tuple[Any, str]:
    """Calls a plug-in for a cell; returns what it returns, and the file and line of its definition.

    Args:
        architecture: `plugin:NAME`, the parameters, and the digest of the code.
        data: Of the cell.
        allowed: Whether the user has allowed plug-ins to run; else the digest must stand in the trust file.

    Raises:
        PluginError: It may not run, or cannot be loaded or called.

    Side effects:
        Whatever the plug-in does, in this process.
    """
    name = architecture.name.removeprefix(PLUGIN)
    function, place = plugin_function(name, "models", str(architecture.code), architecture.file, allowed=allowed)
    size = (data.image_size, data.image_size)
    shape = (*size, data.channels) if architecture.framework == KERAS else (data.channels, *size)
    given = {key: with_lists(value) for key, value in architecture.parameters}
    arguments = {"input_shape": shape, "num_classes": data.num_classes, **given}
    _check_arguments(function, arguments, name, place)
    with naming_plugin_line(architecture.file, place):
        return function(**arguments), place


def keras_plugin(architecture: Architecture, data: Data, images: Any, *, allowed: bool) -> tuple[keras.Model, Any]:
    """The Keras model that a plug-in builds for a cell, and the symbolic probabilities [b, classes] for `images`.

    Args:
        architecture: As `call_plugin`, like the next and the last.
        data: Of the cell.
        images: Symbolic images of the cell's size, [b, h, w, c] float32.
        allowed: Whether the user has allowed plug-ins to run.

    Raises:
        PluginError: It may not run, cannot be loaded, or does not build a usable model.

    Side effects:
        Whatever the plug-in does, in this process.
    """
    model, place = call_plugin(architecture, data, allowed=allowed)
    if not isinstance(model, keras.Model):
        kinds = [kind.__module__ for kind in type(model).__mro__]
        hint = (
            "; to be trained as a module of PyTorch, its file must import torch, so that `bench plan` sees it"
            if "torch.nn.modules.module" in kinds
            else ""
        )
        raise PluginError(f"{place}: expected a keras.Model to be returned, found {type(model).__name__}{hint}")
    with naming_plugin_line(architecture.file, place):
        # `call` calls the layers one by one; calling the model would make it a single layer
        probabilities = model.call(images) if _is_graph(model) else model(images)
    _check_output(probabilities, data.num_classes, place)
    if keras.backend.standardize_dtype(probabilities.dtype) != "float32":
        probabilities = keras.layers.Activation("linear", dtype="float32", name="in_float32")(probabilities)
    return model, probabilities


def check_outputs(core: keras.Model, place: str, *, binary: bool) -> None:
    """Checks that a network gives probabilities, for a black and a patterned image, and that weight names are unique.

    They sum to 1, or with `binary` each is of one class for itself.

    Raises:
        PluginError: It does not, or they are not.
    """
    paths = [weight.path for weight in core.weights]
    duplicates = sorted({path for path in paths if paths.count(path) > 1})
    if duplicates:
        raise PluginError(
            f"{place}: expected a name of its own for every layer, found several weights called {duplicates[0]}"
        )
    shape = tuple(size or 32 for size in core.input_shape[1:])
    images = np.stack([np.zeros(shape), np.arange(math.prod(shape)).reshape(shape) % 256]).astype(np.float32)
    outputs = keras.ops.convert_to_numpy(core(images, training=False)).astype(np.float64)
    sums = outputs.sum(axis=-1)
    are_shares = bool(np.isfinite(outputs).all() and (outputs >= 0).all() and np.allclose(sums, 1, atol=0.02))
    if binary and (are_shares or not (np.isfinite(outputs).all() and (outputs >= 0).all() and (outputs <= 1).all())):
        raise PluginError(
            f"{place}: expected a probability for each class for itself, as `binary_cross_entropy` asks, found "
            f"{outputs[0][:4].tolist()} …{' that sum to 1' if are_shares else ''}; end the model with "
            '`Dense(num_classes, activation="sigmoid")`'
        )
    if not (binary or are_shares):
        raise PluginError(
            f"{place}: expected probabilities that sum to 1 for each image, found {outputs[0][:4].tolist()} … with the sum "
            f'{sums[0]:.4g}; end the model with `Dense(num_classes, activation="softmax")`, and scale its input, which '
            "has values 0..255"
        )


def split_layers(model: keras.Model, core: keras.Model) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Names of the layers of backbone and head of a plug-in's network, and the path of its last layer with weights.

    Args:
        model: As the plug-in returned it; may name its head.
        core: The network made from it.

    Raises:
        PluginError: The layers that it names do not exist, or no layer has weights.
    """
    layers = [layer for layer in core.layers if not isinstance(layer, keras.layers.InputLayer)]
    names = [layer.name for layer in layers]
    weighted = [position for position, layer in enumerate(layers) if layer.weights]
    if not weighted:
        raise PluginError(f"{model.name}: expected a model with weights, found none to train")
    named = getattr(model, HEAD_ATTRIBUTE, None)
    head = names[weighted[-1] :] if named is None else [str(name) for name in named]
    unknown = [name for name in head if name not in names]
    if unknown or not head:
        raise PluginError(
            f"{model.name}.{HEAD_ATTRIBUTE}: expected names of its layers ({', '.join(names)[:300]}), found {unknown or 'none'}"
        )
    backbone = tuple(name for name in names if name not in set(head))
    last = layers[weighted[-1]].weights[-1].path.rpartition("/")[0]
    return backbone, tuple(name for name in names if name in set(head)), last


def _check_arguments(function: PluginFunction, arguments: Mapping[str, Any], name: str, place: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # not written in Python: calling it shows whether the arguments fit
    try:
        signature.bind(**arguments)
    except TypeError as error:
        hint = "; `dropout` comes from a strategy or the matrix" if "dropout" in str(error) else ""
        lacks = "missing a required argument" in str(error)
        cure = "write it in the definition of the model" if lacks else "add the parameter, or take it out of the matrix"
        raise PluginError(
            f"{place}: expected a function that can be called as {name}({', '.join(f'{key}=…' for key in arguments)}), "
            f"found {name}{signature}: {error}{hint}; {cure}"
        ) from error


def _is_graph(model: keras.Model) -> bool:
    """Whether the model is functional or sequential, and not a class with a `call` of its own."""
    return isinstance(model, keras.Sequential) or any(kind.__name__ == "Functional" for kind in type(model).__mro__)


def _check_output(probabilities: Any, classes: int, place: str) -> None:
    if not isinstance(probabilities, keras.KerasTensor):
        raise PluginError(f"{place}: expected a model with one output, found {type(probabilities).__name__}")
    if tuple(probabilities.shape[1:]) != (classes,):
        raise PluginError(
            f"{place}: expected an output of shape (None, {classes}), a probability for each class, found "
            f"{tuple(probabilities.shape)}"
        )
