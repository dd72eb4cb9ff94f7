from __future__ import annotations

import itertools

import pytest

from benchmark.catalog.facts import ARCHITECTURES
from benchmark.catalog.keras_applications import PREFIX
from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan


def plan_of(body: str, *, gpus: int = 0) -> Plan:
    return load_matrix("matrix.toml", body, machine_kind=MachineKind(gpus=gpus, cores=2))


def matrix(dataset: str, model: str, strategy: str, more: str = "") -> str:
    return f'[matrix]\ndataset = "{dataset}"\nmodel = "{model}"\nstrategy = "{strategy}"\n{more}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (matrix("mnist", "resnet50", "scratch"), "resnet50 needs images of at least 32 pixels, these have 28; set image_size = 32 or more"),
        (matrix("digits", "simple_cnn", "scratch", "image_size = 9"), "simple_cnn needs images of at least 10 pixels"),
        (matrix("mnist", "vgg16", "fine_tuned", "image_size = 48"), 'set color = "rgb"'),
        (matrix("cifar10", "resnet18", "frozen"), "there are no ImageNet weights for resnet18; use a network of Keras Applications (vgg16, resnet50, keras:NAME)"),
        (matrix("cifar10", "vgg16", "two_phase"), 'train = "last:30", but vgg16 has 18 layers before its head; use "all"'),
        (matrix("digits", "simple_cnn", "scratch", 'precision = "mixed_float16"'), "mixed_float16 needs a GPU"),
        (matrix("digits", "simple_cnn", "scratch", 'device = "gpu"'), 'device = "gpu", but this machine has no GPU; use device = "auto"'),
        (matrix("digits", "simple_cnn", "scratch", 'validation_fraction = 0\nkeep = "best"'), 'keep = "best" needs validation data'),
        (matrix("digits", "simple_cnn", "early_stopped", "validation_fraction = 0"), "early_stopping needs validation data"),
        (matrix("digits", "simple_cnn", "v4", "validation_fraction = 0"), "reduce_learning_rate needs validation data"),
        (matrix("digits", "simple_cnn", "scratch", "train_examples = 1438"), "train_examples = 1438, but there are only 1437"),
        (matrix("digits_low", "simple_cnn", "scratch", "test_examples = 181"), "test_examples = 181, but there are only 180"),
        (matrix("digits", "simple_cnn", "scratch", "train_examples = 9"), "train_examples = 9 is fewer than the 10 classes"),
        (matrix("digits", "simple_cnn", "scratch", "train_examples = 10\nvalidation_fraction = 0.01"), "leaves 0 to validate on"),
        (matrix("digits", "simple_cnn", "scratch", "train_examples = 10\nvalidation_fraction = 0.99"), "0 to train on"),
    ],
)  # fmt: skip
def test_an_impossible_combination_is_left_out_with_a_reason_that_names_the_cure(text, reason):
    plan = plan_of(text)
    assert not plan.cells
    assert reason in plan.left_out[0].reason


def test_settings_that_leave_nothing_of_a_class_to_train_on_are_a_reason():
    plan = plan_of(
        matrix("digits", "simple_cnn", "scratch", "[defaults]\ntrain_examples = 10\nvalidation_fraction = 0.2\n")
    )
    assert "train_examples = 10 with validation_fraction = 0.2 leaves no image of " in plan.left_out[0].reason
    assert plan_of(matrix("digits", "simple_cnn", "scratch", "[defaults]\ntrain_examples = 20\n")).cells


FLOOR = "reduce_learning_rate = { patience = 1, min_learning_rate = 1e-4 }\n"
ZIPPED = """
[matrix]
dataset = "digits"
strategy = "scratch"
[[matrix.zip]]
learning_rate = [1e-3, 1e-9]
model = ["simple_cnn", "basic_cnn"]
[defaults]
"""
STAGES = "[[strategy.two.stage]]\nlearning_rate = 1e-3\n[[strategy.two.stage]]\nlearning_rate = 1e-9\n"


@pytest.mark.parametrize(
    ("text", "possible", "where"),
    [
        (matrix("digits", "simple_cnn", "two", f"[strategy.two]\n{FLOOR}{STAGES}"), 0, " of stage[1]"),
        (matrix("digits", "simple_cnn", "scratch", f"learning_rate = [1e-4, 1e-9]\n[defaults]\n{FLOOR}"), 1, ""),
        (matrix("digits", "simple_cnn", "v4", "learning_rate = [1e-3, 1e-9]"), 1, ""),
        (
            matrix("digits", "simple_cnn", "scratch", f"[defaults]\n{FLOOR}[[matrix.override]]\nset = {{ learning_rate = 1e-9 }}"),
            0,
            "",
        ),
        (f"{ZIPPED}{FLOOR}", 1, ""),
        (matrix("digits", "simple_cnn", "two", f"learning_rate = 1e-3\n[strategy.two]\n{FLOOR}{STAGES}"), 1, ""),
    ],
    ids=["a stage", "an axis", "an axis over a built-in strategy", "an override", "a zip", "an axis that mends it"],
)  # fmt: skip
def test_a_floor_above_the_learning_rate_is_refused_wherever_they_come_from(text, possible, where):
    plan = plan_of(text)
    assert len(plan.cells) == possible
    for left_out in plan.left_out:
        expected = f"reduce_learning_rate.min_learning_rate = 0.0001 is above learning_rate = 1e-09{where}"
        assert left_out.reason.startswith(expected)
        assert "set min_learning_rate to at most 1e-09" in left_out.reason


def test_a_gpu_beyond_those_there_are_is_left_out():
    text = matrix("digits", "simple_cnn", "scratch", 'device = ["gpu:0", "gpu:1"]')
    plan = plan_of(text, gpus=1)
    assert [cell.device for cell in plan.cells] == ["gpu:0"]
    assert 'device = "gpu:1", but this machine has 1 GPU' in plan.left_out[0].reason
    # which of two GPUs it is decides no number: one cell
    assert len(plan_of(text, gpus=2).cells) == 1
    assert not plan_of(text, gpus=2).left_out


def test_float16_is_possible_on_a_gpu():
    text = matrix("digits", "simple_cnn", "scratch", 'precision = "mixed_float16"')
    assert plan_of(text, gpus=1).cells


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('model = "basic_cnn"', "the weights of basic_cnn do not fit simple_cnn"),
        ("image_size = 20", "simple_cnn has weights that depend on the image size: 20 in its parent, 16 here"),
        ('color = "rgb"', "its parent sees rgb images, it sees grey"),
    ],
)
def test_a_parent_whose_weights_do_not_fit_is_a_reason(change, reason):
    child = f'[strategy.child]\nweights = {{ dataset = "digits_low", strategy = "scratch", {change} }}\n'
    plan = plan_of(matrix("digits", "simple_cnn", "child", child))
    assert reason in plan.left_out[0].reason


def test_weights_of_any_image_size_fit_a_network_that_pools_globally():
    child = (
        '[strategy.child]\nweights = { dataset = "digits_low", strategy = "scratch", image_size = 32, dropout = 0.5 }\n'
    )
    assert len(plan_of(matrix("digits", "resnet18", "child", child)).cells) == 2


def test_a_left_out_parent_leaves_its_children_out_and_is_named():
    child = '[strategy.child]\nweights = { strategy = "frozen" }\n'
    plan = plan_of(matrix("cifar10", "simple_cnn", "child", child))
    assert not plan.cells
    assert plan.left_out[0].strategy == "child"
    expected = (
        "its parent cifar10 \u00d7 simple_cnn \u00d7 frozen is left out: there are no ImageNet weights for simple_cnn"
    )
    assert expected in plan.left_out[0].reason


def test_on_invalid_error_refuses_and_tells_every_combination_once():
    text = '[matrix]\non_invalid = "error"\ndataset = "mnist"\nmodel = ["simple_cnn", "vgg16"]\nstrategy = ["scratch", "frozen"]\nseed = [0, 1, 2]'
    with pytest.raises(MatrixError) as caught:
        plan_of(text)
    assert len(caught.value.problems) == 3
    assert "mnist \u00d7 vgg16 \u00d7 scratch: expected a possible combination; vgg16 needs images" in str(caught.value)


def test_the_full_product_of_the_catalogue_is_planned_or_left_out_with_a_reason():
    names = {
        "dataset": ["digits", "digits_low", "digits_high", "mnist", "cifar10", "imagenette"],
        "model": [name for name in ARCHITECTURES if not name.startswith(PREFIX)],
        "strategy": ["scratch", "regularized", "frozen", "fine_tuned", "two_phase", "from_low_digits", "v4"],
        "image_size": [8, 16, 28, 32, 64],
        "color": ["grey", "rgb"],
        "precision": ["float32", "mixed_bfloat16", "mixed_float16"],
    }
    text = "[matrix]\n" + "\n".join(f"{key} = {values}" for key, values in names.items())
    plan = plan_of(text)
    own = [cell for cell in plan.cells if (cell.dataset, cell.strategy) != ("digits_low", "scratch")]
    assert len(own) + len(plan.left_out) >= len(list(itertools.product(*names.values()))) * 0.9
    assert all(left.reason and ";" in left.reason for left in plan.left_out)
    ids = {cell.cell_id for cell in plan.cells}
    assert all(cell.parent_cell_id is None or cell.parent_cell_id in ids for cell in plan.cells)
