from __future__ import annotations

import dataclasses

import pytest

from benchmark.matrix.cell import Cell, EarlyStopping, ReduceLearningRate
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan

ONE = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "{strategy}"\n'


def plan_of(text: str, *, gpus: int = 0, strategy: str = "scratch", **options) -> Plan:
    return load_matrix(
        "matrix.toml", text.replace("{strategy}", strategy), machine_kind=MachineKind(gpus=gpus, cores=2), **options
    )


def cell_of(text: str, **options) -> Cell:
    plan = plan_of(text, **options)
    assert not plan.left_out
    return plan.cells[-1]


def test_settings_have_defaults():
    cell = cell_of(ONE)
    (stage,) = cell.stages
    assert (stage.train, stage.epochs, stage.batch_size, stage.optimizer) == ("all", 10, 64, "adam")
    assert (stage.learning_rate, stage.weight_decay, stage.label_smoothing, stage.momentum) == (1e-3, 0, 0, None)
    assert (stage.augment, stage.early_stopping, stage.reduce_learning_rate) == ((), None, None)
    assert (cell.threads, cell.precision, cell.backend, cell.keep) == (1, "float32", "tensorflow", "best")
    assert (cell.monitor, cell.labels, cell.deterministic) == ("val_accuracy", "integer", True)
    assert (cell.data.image_size, cell.data.color, cell.data.num_classes) == (16, "grey", 10)
    assert cell.architecture.parameters == (
        ("dense_units", 128),
        ("dropout", 0.25),
        ("filters", (32, 64)),
        ("kernel_size", 3),
    )


# each line is stronger than those before it
LAYERS = [
    ("[defaults]\nepochs = 2\n", 2),
    ('[dataset.digits]\nextends = "digits"\nepochs = 3\n', 3),
    ('[model.simple_cnn]\nextends = "simple_cnn"\nepochs = 4\n', 4),
    ("[strategy.base]\nepochs = 5\n", 5),
    ('[strategy.mine]\nextends = "base"\nepochs = 6\n', 6),
    ("[[strategy.mine.stage]]\nepochs = 7\n", 7),
    ("AXIS", 8),
    ('[[matrix.override]]\nwhen = { model = "simple*" }\nset = { epochs = 9 }\n', 9),
    ("[[matrix.override]]\nset = { epochs = 10 }\n", 10),
    ("SET", 11),
]  # fmt: skip


@pytest.mark.parametrize("strongest", range(len(LAYERS)))
def test_a_setting_is_taken_from_the_strongest_place_that_says_it(strongest):
    texts = [text for text, _ in LAYERS[: strongest + 1]]
    axis = "epochs = 8\n" if "AXIS" in texts else ""
    overrides = ["epochs=11"] if "SET" in texts else []
    tables = "".join(text for text in texts if text not in ("AXIS", "SET"))
    if "[strategy.mine]" not in tables:
        tables += f'[strategy.mine]\nextends = "{"base" if "[strategy.base]" in tables else "scratch"}"\n'
    cell = cell_of(ONE + axis + tables, strategy="mine", overrides=overrides)
    assert cell.stages[0].epochs == LAYERS[strongest][1]


def test_defaults_are_stronger_than_built_in_definitions_in_every_stage():
    cell = cell_of(
        '[matrix]\ndataset = "cifar10"\nmodel = "resnet50"\nstrategy = "two_phase"\n[defaults]\nepochs = 9\n'
    )
    assert [(stage.train, stage.epochs, stage.learning_rate) for stage in cell.stages] == [
        ("head", 9, 1e-3),
        ("last:30", 9, 1e-5),
    ]


def test_set_holds_for_every_stage_and_for_parents():
    plan = plan_of(ONE, strategy="from_low_digits", overrides=["epochs=1", 'augment={flip="both"}', "optimizer=sgd"])
    assert {(cell.dataset, cell.stages[0].epochs) for cell in plan.cells} == {("digits", 1), ("digits_low", 1)}
    assert plan.cells[0].stages[0].augment == (("flip", "both"),)
    assert plan.cells[0].stages[0].momentum == 0.0


def test_a_later_set_wins():
    assert cell_of(ONE, overrides=["epochs=1", "epochs = 4"]).stages[0].epochs == 4


def test_stages_are_replaced_as_a_whole_and_what_stands_above_them_holds_for_each():
    text = ONE + (
        "[strategy.a]\nbatch_size = 8\n[[strategy.a.stage]]\nepochs = 1\n[[strategy.a.stage]]\nepochs = 2\nbatch_size = 16\n"
        '[strategy.b]\nextends = "a"\noptimizer = "sgd"\nmomentum = 0.9\n'
        '[strategy.c]\nextends = "b"\nepochs = 5\n'
        '[strategy.d]\nextends = "c"\n[[strategy.d.stage]]\ntrain = "head"\n'
    )
    stages = {name: cell_of(text, strategy=name).stages for name in "abcd"}
    assert [(stage.epochs, stage.batch_size) for stage in stages["a"]] == [(1, 8), (2, 16)]
    assert [(stage.epochs, stage.optimizer, stage.momentum) for stage in stages["b"]] == [
        (1, "sgd", 0.9),
        (2, "sgd", 0.9),
    ]
    assert [stage.epochs for stage in stages["c"]] == [5, 5]
    assert [(stage.train, stage.epochs, stage.batch_size) for stage in stages["d"]] == [("head", 5, 8)]


def test_overrides_apply_in_order_and_see_what_earlier_ones_set():
    text = ONE + (
        "seed = [0, 1]\nbatch_size = [16, 32]\n"
        "[[matrix.override]]\nwhen = { seed = 1, batch_size = [32] }\nset = { epochs = 3 }\n"
        "[[matrix.override]]\nwhen = { epochs = 3 }\nset = { learning_rate = 0.5 }\n"
        '[[matrix.override]]\nwhen = { precision = "float*", seed = 0 }\nset = { threads = 2 }\n'
    )
    plan = plan_of(text)
    found = [
        (c.seed, c.stages[0].batch_size, c.stages[0].epochs, c.stages[0].learning_rate, c.threads) for c in plan.cells
    ]
    assert found == [(0, 16, 10, 1e-3, 2), (0, 32, 10, 1e-3, 2), (1, 16, 10, 1e-3, 1), (1, 32, 3, 0.5, 1)]


def test_short_forms_of_stopping_and_reduction():
    cell = cell_of(ONE + "[defaults]\nearly_stopping = 4\nreduce_learning_rate = { patience = 2, factor = 0.1 }\n")
    assert cell.stages[0].early_stopping == EarlyStopping("val_loss", 4, 0.0)
    assert cell.stages[0].reduce_learning_rate == ReduceLearningRate("val_loss", 0.1, 2, 0.0)
    off = cell_of(ONE + "early_stopping = false\n[defaults]\nearly_stopping = 4\n")
    assert off.stages[0].early_stopping is None


@pytest.mark.parametrize(
    ("device", "gpus", "kind"), [("auto", 0, "cpu"), ("auto", 2, "gpu"), ("cpu", 2, "cpu"), ("gpu:1", 2, "gpu")]
)
def test_the_kind_of_device_follows_from_the_machine(device, gpus, kind):
    assert cell_of(ONE + f'device = "{device}"\n', gpus=gpus).device_kind == kind


def test_the_last_weights_are_kept_when_there_is_no_validation_data():
    assert cell_of(ONE + "validation_fraction = 0\n").keep == "last"


def test_a_known_source_gives_size_and_colour_of_its_images():
    text = ONE.replace("digits", "own") + '[dataset.own]\nsource = "tfds:cifar10"\nclasses = [3, 5]\n'
    data = cell_of(text).data
    assert (data.image_size, data.color, data.num_classes, data.classes) == (32, "rgb", 2, (3, 5))


def test_an_unknown_source_says_them_itself():
    text = ONE.replace("digits", "own") + (
        '[dataset.own]\nsource = "tfds:svhn_cropped"\nnum_classes = 10\nimage_size = 32\ncolor = "rgb"\n'
    )
    assert cell_of(text).data.num_classes == 10


def test_labels_are_not_inherited():
    text = ONE + '[strategy.mine]\nextends = "regularized"\n'
    assert cell_of(text, strategy="mine").strategy_label == "mine"
    assert cell_of(text, strategy="regularized").strategy_label == "Regularised"


def test_a_parent_has_its_childs_coordinates_except_those_that_the_weights_name():
    text = ONE.replace("{strategy}", "child") + (
        "seed = [3]\nbatch_size = [16]\ntrain_examples = [100]\n"
        '[strategy.child]\nweights = { dataset = "digits_low", strategy = "before", train_examples = "all", threads = 2 }\n'
        '[strategy.before]\nweights = { dataset = "digits_high", strategy = "scratch", seed = 9 }\nlearning_rate = 0.5\n'
    )
    first, second, third = plan_of(text).cells
    assert (first.dataset, first.strategy, first.seed, first.data.train_examples) == ("digits_high", "scratch", 9, None)
    assert (second.dataset, second.strategy, second.seed, second.threads) == ("digits_low", "before", 3, 2)
    assert (third.dataset, third.data.train_examples, third.threads) == ("digits", 100, 1)
    assert third.parent_cell_id == second.cell_id
    assert second.parent_cell_id == first.cell_id
    assert {cell.stages[0].batch_size for cell in (first, second, third)} == {16}


def test_a_parents_seed_is_its_childs_wherever_that_was_written():
    text = ONE + '[strategy.child]\nextends = "from_low_digits"\nseed = 7\n'
    assert [cell.seed for cell in plan_of(text, strategy="child").cells] == [7, 7]


def test_shapes_are_forgotten_and_found_again(monkeypatch):
    monkeypatch.setattr("benchmark.matrix.planning.resolution._KEPT_TEMPLATES", 2)
    text = ONE + "batch_size = [8, 16, 32, 64]\nseed = [0, 1]\n"
    plan = plan_of(text)
    monkeypatch.undo()
    assert [dataclasses.asdict(cell) for cell in plan.cells] == [
        dataclasses.asdict(cell) for cell in plan_of(text).cells
    ]
