from __future__ import annotations

import math

import pytest

from benchmark.catalog import operations
from benchmark.catalog.facts import ARCHITECTURES
from benchmark.catalog.keras_applications import APPLICATIONS
from benchmark.catalog.operations import operations_of

GIVEN = {
    "simple_cnn": (("dense_units", 128), ("dropout", 0.25), ("filters", (32, 64)), ("kernel_size", 3)),
    "basic_cnn": (("dense_units", 128), ("dropout", 0.3), ("filters", (32, 64, 128))),
    "advanced_cnn": (
        ("dense_units", 128), ("dropout", 0.3), ("filters", (32, 64, 128)), ("stage_dropout", (0.2, 0.3, 0.4)),
    ),
    "resnet18": (("dropout", 0.0), ("filters", (64, 128, 256, 512))),
    "vgg16": (("dense_units", 128), ("dropout", 0.3)),
    "resnet50": (("dense_units", 0), ("dropout", 0.0)),
}  # fmt: skip


def counted(name, size, channels):
    found = operations_of(name, GIVEN[name], size, channels, 10)
    assert found is not None
    return found


def total(layers, what):
    return sum(getattr(layer, what) for layer in layers)


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - set(GIVEN)))
def test_of_other_architectures_the_sums_are_known(name):
    found = operations_of(name, (), 224, 3, 10)
    assert found is not None
    assert len(found.backbone) == ARCHITECTURES[name].backbone_layers({})
    assert total(found.backbone, "parameters") == APPLICATIONS[name].parameters
    assert 0.05e9 < total(found.backbone, "multiply_adds") < 62e9


def test_every_application_has_its_own_number_of_operations():
    names = {one.name for key, one in APPLICATIONS.items() if key not in GIVEN}
    assert names == set(operations._GIGA_MULTIPLY_ADDS)


@pytest.mark.parametrize("name", GIVEN)
def test_the_backbone_has_as_many_layers_as_the_facts_say(name):
    assert len(counted(name, 64, 3).backbone) == ARCHITECTURES[name].backbone_layers(dict(GIVEN[name]))


def test_published_numbers_of_operations_are_met():
    # 1.8 and 3.9 thousand million for one image of 224x224 (He et al. 2015, table 1), 15.3 for VGG16 without its head
    assert total(counted("resnet18", 224, 3).backbone, "multiply_adds") == pytest.approx(1.81e9, rel=0.01)
    assert total(counted("resnet50", 224, 3).backbone, "multiply_adds") == pytest.approx(3.86e9, rel=0.01)
    assert total(counted("vgg16", 224, 3).backbone, "multiply_adds") == pytest.approx(15.35e9, rel=0.01)


def test_what_nobody_knows_is_not_counted():
    assert operations_of("somebody_elses", (), 32, 3, 10) is None
    assert operations_of("simple_cnn", (), 32, 3, 10) is None


@pytest.mark.tf
@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("size", [33, 48])
def test_counts_are_those_of_the_built_network(name, size):
    from benchmark.matrix.cell import Architecture, Data
    from benchmark.training.networks.network import build_network
    from benchmark.training.stages import set_trainable

    network = build_network(Architecture(name, GIVEN[name]), Data("digits", None, 10, size, "rgb", None, None, 0.1))
    found = counted(name, size, 3)
    layers = [*found.backbone, *found.head]
    assert total(layers, "parameters") == network.core.count_params() - preprocessing_parameters(network)
    assert [len(found.backbone), len(found.head)] == [len(network.backbone), len(network.head)]
    assert total(layers, "trainable") == set_trainable(network, "all")
    assert total(found.head, "trainable") == set_trainable(network, "head")
    # branches of one block may stand in another order than here
    some = total(found.backbone[-30:], "trainable") + total(found.head, "trainable")
    assert some == pytest.approx(set_trainable(network, "last:30"), rel=0.05)
    outputs = sum(math.prod(network.core.get_layer(each).output.shape[1:]) for each in network.backbone)
    assert total(found.backbone, "outputs") == outputs


def preprocessing_parameters(network) -> int:
    first = [layer for layer in network.core.layers if layer.name not in {*network.backbone, *network.head}]
    return sum(layer.count_params() for layer in first)
