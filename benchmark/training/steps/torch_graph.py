"""Runs the graph of a Keras model on PyTorch without what Keras does around every layer.

On TensorFlow and JAX a step is compiled, and Keras is gone from it. On PyTorch `Layer.__call__` runs in every step: it looks for
masks, checks shapes, opens scopes and follows arguments, which for small images takes as long as the layers themselves. A model
of one graph knows all of that beforehand. So plain layers of Keras are computed by their `call` alone, the very same operations
in the same order; all others, such as those of plug-ins, are called as ever.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import torch

_PLAIN = frozenset(
    {
        keras.layers.Activation, keras.layers.Add, keras.layers.AveragePooling2D, keras.layers.BatchNormalization,
        keras.layers.Concatenate, keras.layers.Conv2D, keras.layers.Dense, keras.layers.DepthwiseConv2D, keras.layers.Dropout,
        keras.layers.Flatten, keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D, keras.layers.MaxPooling2D,
        keras.layers.Multiply, keras.layers.ReLU, keras.layers.Reshape, keras.layers.SeparableConv2D, keras.layers.ZeroPadding2D,
    }
)  # fmt: skip
"""Layers whose `call` does all that they do where there are no masks; none of them makes one."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A layer in its place in a graph.

    Attributes:
        record: Keras's own record of it, with all arguments.
        inputs, outputs: Ids of its symbolic tensors.
        takes_list: Whether it takes its inputs as a list.
        call: What computes a plain layer; None for others.
        dtype: Of inputs that `call` takes as they are.
        takes_training: Whether it takes `training`.
    """

    record: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    takes_list: bool
    call: Callable[..., Any] | None
    dtype: Any
    takes_training: bool


def without_ceremony(model: keras.Model) -> keras.Model:
    """The model itself, which from now on computes plain layers by their `call` alone, in models within it, too.

    What is no graph stays as it is, and what Keras asks of a graph beside running it.
    """
    layers = model._flatten_layers()  # noqa: SLF001  Keras has no public names for graphs and for layers within layers
    if any(
        type(each).compute_mask is not keras.layers.Layer.compute_mask for each in layers if type(each) not in _PLAIN
    ):
        return model
    for each in layers:
        if hasattr(each, "_nodes_by_depth") and "_run_through_graph" not in vars(each):
            each._run_through_graph = _runner(each)  # noqa: SLF001  likewise
    return model


def _runner(model: Any) -> Callable[..., Any]:
    usual, by_depth = model._run_through_graph, model._nodes_by_depth  # noqa: SLF001  likewise
    nodes = [
        _node(each, model) for depth in sorted(by_depth, reverse=True) for each in by_depth[depth] if not each.is_input
    ]
    given = [id(tensor) for tensor in model.inputs]
    is_single = isinstance(model._outputs_struct, keras.KerasTensor)  # noqa: SLF001  likewise

    def run(inputs: Any, operation_fn: Callable[[Any], Any] = lambda layer: layer, **more: Any) -> Any:
        values = keras.tree.flatten(inputs)
        is_computed = is_single and not more and all(map(torch.is_tensor, values))
        if not is_computed or not (context := operation_fn(_told)()):
            return usual(inputs, operation_fn=operation_fn, **more)
        known = dict(zip(given, values, strict=True))
        for node in nodes:
            taken = [known[number] for number in node.inputs]
            if node.call is not None and all(value.dtype is node.dtype for value in taken):
                known[node.outputs[0]] = node.call(
                    taken if node.takes_list else taken[0], **(context if node.takes_training else {})
                )
            else:
                arguments, named = node.record.arguments.fill_in(known)
                made = operation_fn(node.record.operation)(*arguments, **named)
                known.update(zip(node.outputs, keras.tree.flatten(made), strict=True))
        return known[id(model.outputs[0])]

    return run


def _told(**context: Any) -> dict[str, Any]:
    """Stands for a layer, and returns what Keras tells each that takes it."""
    return context


# by which Keras knows what a layer takes, and older versions of it
vars(_told).update(_call_context_args=("training",), _call_has_training_arg=True)


def _node(record: Any, model: Any) -> _Node:
    layer, arguments = record.operation, record.arguments
    # Keras also records masks that there are not, and a `training` that does not count beside what it is told
    is_usual = all(value is None or name == "training" for name, value in arguments.kwargs.items())
    is_plain = is_usual and len(arguments.args) == len(record.outputs) == 1 and _is_plain(layer, model)
    return _Node(
        record,
        tuple(id(tensor) for tensor in arguments.keras_tensors),
        tuple(id(tensor) for tensor in record.outputs),
        bool(arguments.args) and isinstance(arguments.args[0], list | tuple),
        layer.call if is_plain else None,
        getattr(torch, layer.input_dtype) if is_plain else None,
        is_plain and "training" in inspect.signature(layer.call).parameters,
    )


def _is_plain(layer: Any, model: Any) -> bool:
    """Whether `call` is all that Keras does for a layer of a model, where its inputs have its type."""
    return (
        type(layer) in _PLAIN
        and layer.built
        and layer.autocast
        and (layer.compute_dtype, layer.variable_dtype) == (model.compute_dtype, model.variable_dtype)
        and not any(getattr(layer, name, None) for name in ("activity_regularizer", "quantization_mode", "_remat_mode"))
        # of PyTorch, in plug-ins
        and not any(getattr(layer, f"_{kind}_hooks") for kind in ("forward", "forward_pre", "backward", "backward_pre"))
    )
