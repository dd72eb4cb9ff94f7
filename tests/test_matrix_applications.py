"""Networks of Keras Applications are named in a matrix, planned and left out, without Keras."""

from __future__ import annotations

import pytest

from benchmark.catalog.keras_applications import APPLICATIONS
from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan


def plan_of(architecture: str, matrix: str = "", definition: str = "") -> Plan:
    text = f"""
[matrix]
dataset = "cifar10"
model = "one"
strategy = "frozen"
{matrix}
[model.one]
architecture = "{architecture}"
{definition}
"""
    return load_matrix("m", text, machine_kind=MachineKind(gpus=0, cores=2))


@pytest.mark.parametrize("name", [name for name in APPLICATIONS if name.startswith("keras:")])
def test_a_name_is_enough(name):
    (cell,) = plan_of(name, "image_size = 80").cells
    assert cell.architecture.name == name
    assert dict(cell.architecture.parameters) == {"dense_units": 0, "dropout": 0.0}


def test_what_is_given_counts():
    (cell,) = plan_of("keras:MobileNetV2", definition="dense_units = 64\ndropout = 0.2").cells
    assert dict(cell.architecture.parameters) == {"dense_units": 64, "dropout": 0.2}


def test_two_names_of_one_network_are_one_cell():
    assert plan_of("keras:VGG16").cells[0].cell_id == plan_of("vgg16").cells[0].cell_id


@pytest.mark.parametrize(
    ("name", "matrix", "reason"),
    [
        ("keras:Xception", "image_size = 64", "needs images of at least 71 pixels, these have 64"),
        ("keras:InceptionV3", "image_size = 74", "needs images of at least 75 pixels"),
        ("keras:MobileNetV2", 'color = "grey"', "ImageNet weights need three channels"),
    ],
)
def test_what_cannot_work_is_left_out_with_the_reason(name, matrix, reason):
    plan = plan_of(name, f'{matrix}\n[[matrix.include]]\nmodel = "simple_cnn"\nstrategy = "scratch"\n')
    (left,) = plan.left_out
    assert reason in left.reason


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(MatrixError, match="did you mean 'keras:MobileNetV2'"):
        plan_of("keras:MobilNetV2")


def test_a_parameter_that_it_does_not_take_is_said():
    with pytest.raises(MatrixError, match="a parameter of keras:MobileNetV2: dense_units, dropout"):
        plan_of("keras:MobileNetV2", definition="filters = [4]")
