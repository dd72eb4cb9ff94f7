from __future__ import annotations

import math

import pytest

from benchmark.catalog.facts import ARCHITECTURES, SOURCES
from benchmark.catalog.keras_applications import PREFIX
from benchmark.matrix.listing import list_definitions
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.settings import PARAMETER_KINDS

KNOWN_SIZES = {
    "digits": (1437, 360),
    "tfds:mnist": (60_000, 10_000),
    "tfds:cifar10": (50_000, 10_000),
    "tfds:imagenette": (9_469, 3_925),
}


@pytest.mark.parametrize("source", SOURCES)
def test_sizes_of_sources_are_those_published(source):
    facts = SOURCES[source]
    assert (sum(facts.train_per_class), sum(facts.test_per_class)) == KNOWN_SIZES[source]
    assert len(facts.class_names) == len(facts.train_per_class) == len(facts.test_per_class) == 10


def test_the_digits_are_those_of_scikit_learn():
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, test = train_test_split(digits.target, test_size=360, stratify=digits.target, random_state=0)
    facts = SOURCES["digits"]
    assert facts.train_per_class == tuple(np.bincount(train).tolist())
    assert facts.test_per_class == tuple(np.bincount(test).tolist())
    assert facts.class_names == tuple(str(name) for name in digits.target_names)


OWN_NAMES = [name for name in ARCHITECTURES if not name.startswith(PREFIX)]
"""Those of Keras Applications that are no models of bench are in test_training_applications.py."""


@pytest.mark.parametrize("name", OWN_NAMES)
def test_every_architecture_is_a_model_with_complete_parameters(name):
    assert set(ARCHITECTURES[name].parameters) <= set(PARAMETER_KINDS)
    assert any(row["architecture"] == name for row in list_definitions("model"))


def cell_of(model: str, definition: str = "", **settings):
    values = {"dataset": "cifar10", "model": model, "strategy": "scratch", **settings}
    text = "[matrix]\n" + "\n".join(f"{key} = {value!r}" for key, value in values.items()) + "\n" + definition
    return load_matrix("m", text, machine_kind=MachineKind(gpus=0, cores=2)).cells[0]


WIDE = {
    "simple_cnn": "filters = [4, 4, 4]\nkernel_size = 2",
    "advanced_cnn": "filters = [4, 4]\nstage_dropout = [0.0, 0.5]",
    "basic_cnn": "filters = [4]",
    "resnet18": "filters = [4, 4, 8, 8]",
}


@pytest.mark.tf
@pytest.mark.parametrize(("name", "changed"), [*((name, "") for name in OWN_NAMES), *WIDE.items()])
def test_layers_and_smallest_images_are_those_of_the_built_network(name, changed):
    from benchmark.training.networks.network import build_network

    definition = f'[model.one]\nextends = "{name}"\n{changed}\n' if changed else ""
    model = "one" if changed else name
    size = ARCHITECTURES[name].minimum_image_size(dict(cell_of(model, definition).architecture.parameters))
    cell = cell_of(model, definition, image_size=max(8, size))
    network = build_network(cell.architecture, cell.data)
    assert len(network.backbone) == ARCHITECTURES[name].backbone_layers(dict(cell.architecture.parameters))
    assert network.core.output_shape == (None, 10)


@pytest.mark.tf
@pytest.mark.parametrize("name", [*OWN_NAMES, "keras:MobileNetV2"])
def test_a_backbone_computes_what_the_catalogue_says(name):
    from benchmark.training.networks.network import build_network

    usual = ARCHITECTURES[name].backbone
    definition = f'[model.one]\narchitecture = "{name}"\n'
    model, definition = ("one", definition) if ":" in name else (name, "")
    cell = cell_of(model, definition, image_size=usual.image_size)
    network = build_network(cell.architecture, cell.data)
    layers = [network.core.get_layer(layer) for layer in network.backbone]
    convolutions = [layer for layer in layers if hasattr(layer, "kernel")]
    adds = sum(math.prod(one.kernel.shape) * math.prod(one.output.shape[1:-1]) for one in convolutions)
    assert sum(math.prod(layer.output.shape[1:]) for layer in layers) == pytest.approx(usual.activations, rel=0.05)
    # of images with three channels
    assert adds == pytest.approx(usual.multiply_adds, rel=0.02)
    assert sum(layer.count_params() for layer in layers) == pytest.approx(usual.parameters, rel=0.001)
