"""Says why a combination is impossible and how to cure it, before anything is downloaded or built."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache

from benchmark import units
from benchmark.catalog.backends import BACKENDS, backend_for, missing_backend, trains_networks
from benchmark.catalog.facts import KERAS, LIGHTNING, SOURCES, architecture_facts, package_of, prepared_size
from benchmark.matrix.cell import Architecture, Cell, Data
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.planning.cell_template import CellTemplate
from benchmark.matrix.planning.example_counts import training_counts, untrained_problem
from benchmark.matrix.planning.source_limits import missing_in_source
from benchmark.matrix.problems import quoted
from benchmark.matrix.reading.user_files import ImageFacts
from benchmark.matrix.recipes.loss import unknown_class
from benchmark.matrix.recipes.schedule import schedule_parameters
from benchmark.matrix.settings import json_value

_OF_COLOURS = ("color_jitter", "grayscale", "randaugment")
"""Augmentations of images of one or three channels."""

_WEIGHTLESS = {"dropout", "stage_dropout"}
"""Parameters that do not change the shape of any weight."""


def impossible(template: CellTemplate, origin: str, machine: MachineKind, seen: ImageFacts | None) -> str | None:
    """Returns the first reason why cells of this template cannot run on this machine; None when they can.

    Args:
        template: The cells.
        origin: Of their weights.
        machine: This machine.
        seen: What is known of the source of their images.
    """
    return next(_reasons(template, origin, machine, seen), None)


def _reasons(template: CellTemplate, origin: str, machine: MachineKind, seen: ImageFacts | None) -> Iterator[str]:
    backend = template.cell["backend"]
    if trains_networks(backend) and machine.backends is not None and backend not in machine.backends:
        yield missing_backend(backend)
    yield from _of_framework(template, machine)
    yield from _of_device(template, machine)
    yield from _of_network(template, origin) if template.architecture.command is None else _of_command(template, origin)
    yield from _of_augmentation(template)
    yield from _of_validation(template)
    yield from _of_learning_rates(template)
    yield from _of_optimizers(template)
    yield from missing_in_source(template.data, seen)
    yield from _of_class_weights(template)
    yield from _of_counts(template.data)


def _of_framework(template: CellTemplate, machine: MachineKind) -> Iterator[str]:
    architecture, backend = template.architecture, template.cell["backend"]
    if architecture.framework == KERAS or not trains_networks(backend):
        return
    package = package_of(architecture.name, architecture.framework)
    if machine.backends is not None and package and importlib.util.find_spec(package) is None:
        yield f"{architecture.name} needs {package}, which is not installed here; pip install 'benchmark-matrix[{package}]'"
    if architecture.framework not in BACKENDS[backend].frameworks:
        yield (
            f'{architecture.name} is written in PyTorch, which backend = "{backend}" cannot train; '
            f'write backend = "{backend_for(architecture.framework)}" for it, or no backend'
        )
    if architecture.framework == LIGHTNING and template.data.multi_label:
        yield (
            f"{architecture.name} is a LightningModule, whose steps are given one label for each image, and these images may "
            "have several; return a torch.nn.Module, which bench trains with its own loss"
        )
    for kind in template.cell["save"]:
        yield (
            f'save = "{kind}" is for models of Keras, and {architecture.name} is written in PyTorch; leave it out: the '
            "`weights.npz` of every cell has the entries of the module's `state_dict`"
        )


def _of_device(template: CellTemplate, machine: MachineKind) -> Iterator[str]:
    device = template.cell["device"]
    if template.cell["device_kind"] == "gpu":
        number = int(device.partition(":")[2] or 0) if device != "auto" else 0
        if number >= machine.gpus:
            has = units.plural(machine.gpus, "GPU") if machine.gpus else "no GPU"
            yield f'device = "{device}", but this machine has {has}; use device = "auto" or "cpu"'
    elif template.cell["precision"] == "mixed_float16":
        yield 'mixed_float16 needs a GPU; use precision = "mixed_bfloat16" or "float32" on a CPU'


def _of_network(template: CellTemplate, origin: str) -> Iterator[str]:
    name, size = template.architecture.name, template.data.image_size
    facts, parameters = architecture_facts(name), dict(template.architecture.parameters)
    smallest = facts.minimum_image_size(parameters)
    if size < smallest:
        yield f"{name} needs images of at least {smallest} pixels, these have {size}; set image_size = {smallest} or more"
    if origin == "imagenet" and not facts.imagenet:
        have = "a network of Keras Applications (vgg16, resnet50, keras:NAME)"
        yield f'there are no ImageNet weights for {name}; use {have}, or weights = "none"'
    elif origin == "imagenet" and template.data.color == "grey":
        yield 'ImageNet weights need three channels, these images are grey; set color = "rgb"'
    elif origin == "imagenet" and template.data.color != "rgb":
        yield f'ImageNet weights need three channels, these images have {template.data.channels}; use weights = "none"'
    layers = facts.backbone_layers(parameters)
    for stage in template.stages:
        last = int(stage.train.removeprefix("last:")) if stage.train.startswith("last:") else 0
        if last > layers:
            yield f'train = "last:{last}", but {name} has {layers} layers before its head; use "all", or at most last:{layers}'


def _of_command(template: CellTemplate, origin: str) -> Iterator[str]:
    """What bench itself does with a network, it cannot do with a program."""
    if origin != "none":
        yield 'a command cannot be given weights to start from; use a strategy with weights = "none"'
    for key in ("tta", "save"):
        if template.cell[key]:
            value = quoted(json_value(template.cell[key]))
            cure = f"[[matrix.override]] with set = {{ {key} = {'0' if key == 'tta' else 'false'} }} leaves it out for this model"
            yield f"{key} = {value} needs a network of bench's own, and this model is a command; {cure}"
    if template.speed_key is not None:
        yield 'threads = "auto" cannot be measured for a command; write a number'


def _of_augmentation(template: CellTemplate) -> Iterator[str]:
    size = prepared_size(template.data.source, template.data.image_size)
    channels = template.data.channels
    for stage in template.stages:
        if channels not in {1, 3} and (
            name := next((each for each in _OF_COLOURS if dict(stage.augment).get(each)), None)
        ):
            yield (
                f"augment.{name} changes colours, which images of {channels} channels do not have; leave it out for them: "
                f"augment = {{ {name} = 0 }}"
            )
        padding = dict(stage.augment).get("random_crop", 0)
        if padding >= size:
            yield (
                f"augment.random_crop = {padding} moves images of {size} pixels out of sight; "
                f"set it to less than {size}, usual is an eighth of the size"
            )


def _of_validation(template: CellTemplate) -> Iterator[str]:
    if template.data.has_validation:
        return
    cure = "set validation_fraction above 0"
    if template.explicit_keep and template.cell["keep"] == "best":
        yield f'keep = "best" needs validation data; {cure}, or keep = "last"'
    for stage in template.stages:
        if stage.early_stopping is not None:
            yield f"early_stopping needs validation data; {cure}, or early_stopping = false"
        if stage.reduce_learning_rate is not None:
            yield f"reduce_learning_rate needs validation data; {cure}, or reduce_learning_rate = false"


def _of_learning_rates(template: CellTemplate) -> Iterator[str]:
    for number, stage in enumerate(template.stages):
        where = f" of stage[{number}]" if len(template.stages) > 1 else ""
        warmup = schedule_parameters(stage.schedule)[1].get("warmup_epochs", 0)
        if warmup >= stage.epochs:
            yield (
                f"schedule.warmup_epochs = {warmup:g} leaves nothing of the epochs = {stage.epochs}{where}; "
                f"set warmup_epochs below {stage.epochs}, or more epochs"
            )
        floor = stage.reduce_learning_rate.min_learning_rate if stage.reduce_learning_rate else 0
        if floor > stage.learning_rate:
            yield (
                f"reduce_learning_rate.min_learning_rate = {floor:g} is above learning_rate = {stage.learning_rate:g}{where}, "
                f"which can only fall; set min_learning_rate to at most {stage.learning_rate:g}, or reduce_learning_rate = false"
            )


def _of_optimizers(template: CellTemplate) -> Iterator[str]:
    # XLA multiplies two numbers as small as 1e-30 before it divides, which makes 0 / 0 of them
    if template.cell["backend"] == "jax" and any(stage.optimizer == "adafactor" for stage in template.stages):
        yield (
            'Keras\'s adafactor gives NaN on JAX where a weight has no gradient; use another optimizer, or backend = "tensorflow"'
        )


def _of_class_weights(template: CellTemplate) -> Iterator[str]:
    names = _class_names(template.data)
    for stage in template.stages if names else ():
        written = stage.class_weights if isinstance(stage.class_weights, tuple) else ()
        if unknown := [name for name, _ in written if name not in names]:
            yield unknown_class(unknown, names, template.data.source)


def _class_names(data: Data) -> tuple[str, ...]:
    """Names of the classes of a cell; empty where only the source knows them."""
    facts = SOURCES.get(data.source)
    names = data.class_names or (facts.class_names if facts else ())
    return names if data.classes is None or not names else tuple(names[label] for label in data.classes)


def _of_counts(data: Data) -> Iterator[str]:
    examples = _examples(data.source, data.classes).values()
    train, test = map(sum, zip(*examples, strict=True)) if examples else (None, None)
    for key, asked, there in (
        ("train_examples", data.train_examples, train),
        ("test_examples", data.test_examples, test),
    ):
        if asked is not None and there is not None and asked > there:
            yield f"{key} = {asked}, but there are only {there}; use at most {there}"
        if asked is not None and asked < data.num_classes:
            yield f"{key} = {asked} is fewer than the {data.num_classes} classes; use at least {data.num_classes}"
    yield from _of_split(data, train if data.train_examples is None else data.train_examples)


@cache
def _examples(source: str, classes: tuple[int, ...] | None) -> dict[str, tuple[int, int]]:
    """Numbers of training and test examples of these classes, by name; empty where the source is unknown."""
    facts = SOURCES.get(source)
    return facts.examples(classes) if facts else {}


def _of_split(data: Data, examples: int | None) -> Iterator[str]:
    held = round(examples * data.validation_fraction) if examples is not None else 1
    if data.folds is not None:
        if examples is not None and data.folds > examples:
            yield f"folds = {data.folds} of {examples} examples leaves some empty; use fewer folds"
        if untrained := _untrained(data.source, data.classes, data.train_examples, 0.0):
            yield untrained_problem(data, untrained)
    elif examples is not None and data.validation_fraction > 0 and not 0 < held < examples:
        yield (
            f"validation_fraction = {data.validation_fraction:g} of {examples} examples leaves {held} to validate on and "
            f"{examples - held} to train on; take more train_examples or another fraction"
        )
    elif untrained := _untrained(data.source, data.classes, data.train_examples, data.validation_fraction):
        yield untrained_problem(data, untrained)


@cache
def _untrained(
    source: str, classes: tuple[int, ...] | None, examples: int | None, validation_fraction: float
) -> tuple[str, ...]:
    """Names of the classes of which nothing would be left to train on, as far as the source is known."""
    there = _examples(source, classes)
    left = training_counts([train for train, _ in there.values()], examples, validation_fraction)
    return tuple(name for name, count in zip(there, left, strict=True) if not count)


def unfit_parent(child: Cell, parent: Cell) -> str | None:
    """Returns the reason why a parent's weights do not fit its child; None when they do."""
    if _layers(child.architecture) != _layers(parent.architecture):
        return f"the weights of {parent.model} do not fit {child.model}, which has other layers; use the same model for both"
    if child.data.color != parent.data.color:
        return f"its parent sees {parent.data.color} images, it sees {child.data.color}; set the same color for both"
    sizes = child.data.image_size, parent.data.image_size
    if architecture_facts(child.architecture.name).size_dependent and sizes[0] != sizes[1]:
        return (
            f"{child.model} has weights that depend on the image size: {sizes[1]} in its parent, {sizes[0]} here; "
            "set the same image_size for both"
        )
    return None


def _layers(architecture: Architecture) -> tuple[object, ...]:
    """What determines the weights' shapes: the name and the parameters."""
    return architecture.name, tuple(pair for pair in architecture.parameters if pair[0] not in _WEIGHTLESS)
