"""Known facts about data sources and architectures, so that nothing needs TensorFlow to be planned or listed.

A test checks each fact: sizes and class names against the prepared data, layers and limits against the built network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.catalog.keras_applications import APPLICATIONS, Application
from benchmark.catalog.torch_models import TIMM, TORCHVISION, TORCHVISION_MODELS, TorchvisionModel


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Classes, sizes and numbers of examples of a data source.

    Attributes:
        class_names: Names of the labels 0, 1, ….
        image_size: Height and width in the source, in pixels; of Imagenette's varying sizes the shorter side.
        channels: 1 or 3.
        train_per_class, test_per_class: Examples of each label in the two splits.
        enlarged_in_network: Whether all images have that size and stay so in the cache where cells ask for larger
            ones: the network then begins with a resizing layer, which keeps the cache small.
    """

    class_names: tuple[str, ...]
    image_size: int
    channels: int
    train_per_class: tuple[int, ...]
    test_per_class: tuple[int, ...]
    enlarged_in_network: bool = False

    def examples(self, classes: Iterable[int] | None = None) -> dict[str, tuple[int, int]]:
        """Numbers of training and test examples of these classes (None for all), by name."""
        labels = range(len(self.class_names)) if classes is None else classes
        return {self.class_names[label]: (self.train_per_class[label], self.test_per_class[label]) for label in labels}


_DIGITS = tuple(str(digit) for digit in range(10))
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_IMAGENETTE = (
    "tench", "English springer", "cassette player", "chain saw", "church", "French horn", "garbage truck", "gas pump",
    "golf ball", "parachute",
)  # fmt: skip

SOURCES: Mapping[str, SourceFacts] = {
    "digits": SourceFacts(
        _DIGITS,
        image_size=8,
        channels=1,
        train_per_class=(142, 146, 142, 146, 145, 145, 145, 143, 139, 144),
        test_per_class=(36, 36, 35, 37, 36, 37, 36, 36, 35, 36),
    ),
    "tfds:mnist": SourceFacts(
        _DIGITS,
        image_size=28,
        channels=1,
        train_per_class=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        test_per_class=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        enlarged_in_network=True,
    ),
    "tfds:cifar10": SourceFacts(
        _CIFAR10,
        image_size=32,
        channels=3,
        train_per_class=(5000,) * 10,
        test_per_class=(1000,) * 10,
        enlarged_in_network=True,
    ),
    "tfds:imagenette": SourceFacts(
        _IMAGENETTE,
        image_size=160,
        channels=3,
        train_per_class=(963, 955, 993, 858, 941, 956, 961, 931, 951, 960),
        test_per_class=(387, 395, 357, 386, 409, 394, 389, 419, 399, 390),
    ),
}


def prepared_size(source: str, image_size: int) -> int:
    """The size in pixels at which images of a source are cached for cells that ask for `image_size`."""
    facts = SOURCES.get(source)
    return min(image_size, facts.image_size) if facts and facts.enlarged_in_network else image_size


@dataclass(frozen=True, slots=True)
class Backbone:
    """What a forward pass of the layers before the head costs, for one image of the usual size with the usual filters.

    Attributes:
        image_size: Height and width in pixels.
        multiply_adds: Of a forward pass.
        activations: Output values of all layers together.
        parameters: Their number, moving averages included.
        filters: The usual filters; empty where an architecture takes none.
        layers: An estimate of their number, where `ArchitectureFacts.backbone_layers` is no exact count.
    """

    image_size: int
    multiply_adds: float
    activations: float
    parameters: int
    filters: tuple[int, ...] = ()
    layers: int = 0


UNKNOWN_BACKBONE = Backbone(224, 1e9, 10e6, 5_000_000, layers=50)
"""The assumed cost of a user's own network: about half a ResNet18."""


@dataclass(frozen=True, slots=True)
class ArchitectureFacts:
    """Parameters and limits of a network builder.

    Attributes:
        parameters: Names of its required parameters, beside `dropout`, which every architecture takes.
        preprocessing: Family of input scaling: `unit` (0..1), or one of `keras_applications.Application`.
        imagenet: Whether ImageNet weights exist; they take three channels.
        size_dependent: Whether the shape of some weights depends on the image size (a Flatten before Dense), so that
            weights fit images of the same size only.
        minimum_image_size: The smallest images it takes, in pixels, for given parameters.
        backbone_layers: Layers before the head, for given parameters: what `last:N` counts.
        backbone: The cost of its layers before the head.
        blocks: The required length of `filters`; None allows any.
        defaults: Default values of optional parameters, `dropout` among them.
    """

    parameters: tuple[str, ...]
    minimum_image_size: Callable[[Mapping[str, Any]], int]
    backbone_layers: Callable[[Mapping[str, Any]], int]
    backbone: Backbone
    preprocessing: str = "unit"
    imagenet: bool = False
    size_dependent: bool = False
    blocks: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


PLUGIN = "plugin:"
"""Prefix of the name of an architecture that a user's own function builds."""

OWN_ARGUMENTS = (PLUGIN, TORCHVISION, TIMM)
"""Prefixes of architectures whose keys are the arguments of a function that is not known here."""

KERAS, TORCH, LIGHTNING = "keras", "torch", "lightning"
"""What a model is written in: a Keras model, a `torch.nn.Module`, or a `LightningModule`, which trains itself."""

_PLUGIN_FACTS = ArchitectureFacts(
    parameters=(),
    preprocessing="its own",
    minimum_image_size=lambda _: 1,
    backbone_layers=lambda _: 1_000_000,
    backbone=UNKNOWN_BACKBONE,
)


_TIMM_FACTS = replace(_PLUGIN_FACTS, imagenet=True)
"""Of a classifier that is not built in: its own arguments, and published weights."""

SCRIPT = "script"
"""The architecture of a model with a command, whatever the program computes."""


def architecture_facts(name: str) -> ArchitectureFacts:
    """The facts of an architecture; for a user's own, facts that forbid nothing.

    Raises:
        KeyError: There is no such architecture.
    """
    if name.startswith(TIMM):
        return _TIMM_FACTS
    if name in TORCHVISION_MODELS:
        return _torchvision_facts(TORCHVISION_MODELS[name])
    return _PLUGIN_FACTS if name == SCRIPT or name.startswith(PLUGIN) else ARCHITECTURES[name]


def package_of(name: str, framework: str) -> str | None:
    """The package beside PyTorch that an architecture needs, also the name of our extra; None for none."""
    if framework == LIGHTNING:
        return "lightning"
    return name.partition(":")[0] if name.startswith((TORCHVISION, TIMM)) else None


def _torchvision_facts(model: TorchvisionModel) -> ArchitectureFacts:
    work = model.giga_multiply_adds
    # activations grow more slowly than work: about as in ResNets
    backbone = Backbone(224, work * 1e9, 7e6 * math.sqrt(work), model.parameters, layers=60)
    return replace(_TIMM_FACTS, minimum_image_size=lambda _: model.minimum_image_size, backbone=backbone)


def _smallest_unpadded(parameters: Mapping[str, Any]) -> int:
    """The smallest size of which a pixel is left after all unpadded convolutions, each halved; counted backwards."""
    size = 1
    for _ in parameters["filters"]:
        size = 2 * size + parameters["kernel_size"] - 1
    return size


def _smallest_padded(parameters: Mapping[str, Any]) -> int:
    """Likewise for padded convolutions, which only the halvings shrink."""
    return int(2 ** len(parameters["filters"]))


def _application_facts(network: Application) -> ArchitectureFacts:
    return ArchitectureFacts(
        parameters=("dense_units",),
        preprocessing=network.preprocessing,
        imagenet=True,
        minimum_image_size=lambda _: network.minimum_image_size,
        backbone_layers=lambda _: network.layers,
        backbone=Backbone(224, network.giga_multiply_adds * 1e9, network.mega_activations * 1e6, network.parameters),
        defaults={"dense_units": 0, "dropout": 0.0},
    )


ARCHITECTURES: Mapping[str, ArchitectureFacts] = {
    "simple_cnn": ArchitectureFacts(
        parameters=("filters", "kernel_size", "dense_units"),
        size_dependent=True,
        minimum_image_size=_smallest_unpadded,
        backbone_layers=lambda parameters: 2 * len(parameters["filters"]),
        backbone=Backbone(28, 2.81e6, 36_000, 19_392, (32, 64)),
    ),
    "advanced_cnn": ArchitectureFacts(
        parameters=("filters", "stage_dropout", "dense_units"),
        size_dependent=True,
        minimum_image_size=_smallest_padded,
        backbone_layers=lambda parameters: 8 * len(parameters["filters"]),
        backbone=Backbone(32, 38.6e6, 373_000, 288_352, (32, 64, 128)),
    ),
    "basic_cnn": ArchitectureFacts(
        parameters=("filters", "dense_units"),
        size_dependent=True,
        minimum_image_size=_smallest_padded,
        backbone_layers=lambda parameters: 2 * len(parameters["filters"]),
        backbone=Backbone(32, 10.3e6, 72_000, 93_248, (32, 64, 128)),
    ),
    "resnet18": ArchitectureFacts(
        parameters=("filters",),
        minimum_image_size=lambda _: 8,
        backbone_layers=lambda _: 71,
        backbone=Backbone(224, 1.81e9, 9.6e6, 11_186_112, (64, 128, 256, 512)),
        blocks=4,
    ),
    **{name: _application_facts(network) for name, network in APPLICATIONS.items()},
}
