"""Classifiers of torchvision and timm, with as many classes and channels as the data have, and their own scaling.

Imported where a cell needs one of them: both import PyTorch.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import torch

from benchmark.catalog.torch_models import IMAGENET_DEVIATION, IMAGENET_MEAN, TIMM, TORCHVISION
from benchmark.matrix.cell import Architecture, Data
from benchmark.matrix.identity import with_lists
from benchmark.training.process.plugin_code import PluginError

Scaling = tuple[list[float], list[float]]
"""Mean and deviation of values 0..1, by channel."""


def hub_module(architecture: Architecture, data: Data) -> tuple[torch.nn.Module, Scaling]:
    """A classifier by name with random weights, and what its images are standardised by.

    Grey images: the first convolution takes one channel, and the scaling is the mean of the three.

    Raises:
        PluginError: The library is missing or broken, or knows no such network or argument.
    """
    name = architecture.name
    options = {key: with_lists(value) for key, value in architecture.parameters}
    dropout = options.pop("dropout", None)
    prefix, make = (TORCHVISION, _torchvision) if name.startswith(TORCHVISION) else (TIMM, _timm)
    try:
        module, mean, deviation = make(name.removeprefix(prefix), data, dropout, options)
    except (TypeError, ValueError) as error:
        given = ", ".join(options) or "none"
        raise PluginError(f"{name}: expected arguments that it takes, found {given}: {error}") from error
    return module, (_by_channel(mean, data.channels), _by_channel(deviation, data.channels))


def _torchvision(name: str, data: Data, dropout: float | None, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    models = library("torchvision.models")
    builder = models.get_model_builder(name)
    if name in {"googlenet", "inception_v3"}:
        # what the published weights of both were trained with; the usual initialisation takes half a minute
        options = {"aux_logits": False, "transform_input": data.channels == 3, "init_weights": False, **options}
    if name.startswith("vit_"):
        options = {"image_size": data.image_size, **options}
    if name.startswith("maxvit"):
        options = {"input_size": (data.image_size, data.image_size), **options}
    module = builder(weights=None, num_classes=data.num_classes, **options)
    if data.channels != 3:
        _take_channels(module, data.channels)
    if dropout is not None:
        _drop_before_last(module, dropout)
    return module, IMAGENET_MEAN, IMAGENET_DEVIATION


def _timm(name: str, data: Data, dropout: float | None, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    timm = library("timm")
    if unknown := unknown_network(name):
        raise PluginError(unknown)
    if dropout is not None:
        options = {"drop_rate": dropout, **options}
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    size = {"img_size": data.image_size} if known and known.fixed_input_size else {}
    module = timm.create_model(
        name, pretrained=False, num_classes=data.num_classes, in_chans=data.channels, **{**size, **options}
    )
    own = module.pretrained_cfg
    return module, own["mean"], own["std"]


def unknown_network(name: str) -> str:
    """Says that timm has no network of a name, which has no prefix, and which is the nearest; empty where it has one."""
    timm = library("timm")
    architecture = name.partition(".")[0]
    if timm.is_model(architecture):
        return ""
    near = difflib.get_close_matches(architecture, timm.list_models(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{TIMM}{name}: expected a network that timm {timm.__version__} has{hint}"


def library(name: str) -> Any:
    """Imports torchvision, timm or a part of them.

    Raises:
        PluginError: It is not installed, or was built for another PyTorch.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise PluginError(f"{package} is not installed here; pip install 'benchmark-matrix[{package}]'") from error
    except Exception as error:
        raise PluginError(
            f"{package} cannot be imported beside PyTorch {torch.__version__}: {error}; torchvision must be of the release "
            "and build that this PyTorch is of: install both in one command from one index, see `bench doctor`"
        ) from error


def _take_channels(module: torch.nn.Module, channels: int) -> None:
    """Replaces the first convolution by one that takes so many channels, as papers on grey images do."""
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Conv2d):
            parent, _, own = name.rpartition(".")
            # what PyTorch annotates its sizes with is narrower than what it takes
            old: Any = part
            new = torch.nn.Conv2d(
                channels,
                part.out_channels,
                old.kernel_size,
                old.stride,
                old.padding,
                bias=part.bias is not None,
            )
            setattr(module.get_submodule(parent), own, new)
            return


def _drop_before_last(module: torch.nn.Module, rate: float) -> None:
    """Dropout on what the last module with parameters is given, also where it has some; the names of the weights stay."""
    parts = list(module.modules())
    place = max(number for number, part in enumerate(parts) if list(part.parameters(recurse=False)))
    last, before = parts[place], parts[place - 1]
    if isinstance(before, torch.nn.Dropout):
        before.p = rate
        return

    def drop(part: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (torch.nn.functional.dropout(given[0], rate, part.training), *given[1:])

    last.register_forward_pre_hook(drop)


def _by_channel(values: Any, channels: int) -> list[float]:
    return [float(value) for value in values] if channels == len(values) else [sum(values) / len(values)] * channels
