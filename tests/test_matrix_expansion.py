from __future__ import annotations

import pytest

from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan

MACHINE = MachineKind(gpus=0, cores=2)
ONE = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'


def plan_of(text: str, **options) -> Plan:
    return load_matrix("matrix.toml", text, machine_kind=MACHINE, **options)


def seen(plan: Plan, *keys: str) -> list[tuple]:
    return [tuple(value(cell, key) for key in keys) for cell in plan.cells]


def value(cell, key):
    return getattr(cell, key) if hasattr(cell, key) else getattr(cell.stages[0], key)


def test_scalars_are_lists_of_one_and_seed_is_zero_when_it_is_left_out():
    plan = plan_of(ONE)
    assert seen(plan, "dataset", "model", "strategy", "seed") == [("digits", "simple_cnn", "scratch", 0)]
    assert plan.axes == ()


def test_the_first_axis_of_the_file_is_the_slowest():
    text = '[matrix]\nseed = [0, 1]\nmodel = ["simple_cnn", "basic_cnn"]\ndataset = "digits"\nstrategy = "scratch"'
    assert seen(plan_of(text), "seed", "model") == [
        (0, "simple_cnn"),
        (0, "basic_cnn"),
        (1, "simple_cnn"),
        (1, "basic_cnn"),
    ]


def test_any_setting_may_be_an_axis():
    text = ONE + (
        "batch_size = [16, 32]\nearly_stopping = [false, 3, { patience = 5, min_delta = 0.1 }]\n"
        'augment = [{}, { flip = "both" }]\nimage_size = [16, 20]\ndropout = [0, 0.5]\nlabels = ["integer", "one_hot"]\n'
        'train_examples = [100, "all"]\nweight_decay = [0, 1e-4]\n'
    )
    assert len(plan_of(text).cells) == 2 * 3 * 2 * 2 * 2 * 2 * 2 * 2


def test_equal_values_on_an_axis_merge_without_a_word():
    plan = plan_of(ONE + "seed = [1, 0, 1]\nlearning_rate = [1, 1.0, 1e0]\naugment = [{}, false, { rotation = 0 }]\n")
    assert seen(plan, "seed") == [(1,), (0,)]
    assert plan.notes == ()
    assert plan.axes == ("seed",)


def test_zipped_axes_move_together_and_zips_multiply():
    text = ONE + (
        "[[matrix.zip]]\nbatch_size = [32, 64]\nlearning_rate = [0.1, 0.2]\n"
        '[[matrix.zip]]\noptimizer = ["sgd", "adam"]\nepochs = [1, 2]\n'
    )
    assert seen(plan_of(text), "batch_size", "learning_rate", "optimizer", "epochs") == [
        (32, 0.1, "sgd", 1),
        (32, 0.1, "adam", 2),
        (64, 0.2, "sgd", 1),
        (64, 0.2, "adam", 2),
    ]


def test_names_may_be_zipped():
    text = (
        '[matrix]\nstrategy = "scratch"\n[[matrix.zip]]\n'
        'dataset = ["digits", "mnist"]\nmodel = ["simple_cnn", "vgg16"]\nimage_size = [16, 32]\n'
    )
    assert seen(plan_of(text), "dataset", "model") == [("digits", "simple_cnn"), ("mnist", "vgg16")]


def test_included_rows_take_seeds_and_settings_of_the_axes_where_they_name_none():
    text = ONE + (
        "seed = [0, 1]\nepochs = [1, 2]\n"
        '[[matrix.include]]\nmodel = ["basic_cnn", "resnet18"]\nepochs = 7\n'
        '[[matrix.include]]\ndataset = "digits_high"\nmodel = "simple_cnn"\nstrategy = "v1"\nseed = 5\n'
    )
    plan = plan_of(text)
    assert seen(plan, "dataset", "model", "seed", "epochs")[4:] == [
        ("digits", "basic_cnn", 0, 7),
        ("digits", "basic_cnn", 1, 7),
        ("digits", "resnet18", 0, 7),
        ("digits", "resnet18", 1, 7),
        ("digits_high", "simple_cnn", 5, 1),
        ("digits_high", "simple_cnn", 5, 2),
    ]


def test_a_matrix_may_consist_of_included_rows_alone():
    text = (
        '[matrix]\nseed = [0, 1]\n[[matrix.include]]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = ["v1", "v2"]'
    )
    assert seen(plan_of(text), "strategy", "seed") == [("v1", 0), ("v1", 1), ("v2", 0), ("v2", 1)]


def test_an_included_row_without_a_name_that_no_axis_has_is_a_mistake():
    with pytest.raises(MatrixError, match=r"matrix\.include\[0\]\.strategy: expected a strategy; it is missing"):
        plan_of('[matrix]\n[[matrix.include]]\ndataset = "digits"\nmodel = "simple_cnn"')


def test_an_included_row_that_names_a_part_of_a_zip_takes_the_rest_from_the_rows_that_agree():
    zipped = ONE + "[[matrix.zip]]\nbatch_size = [32, 64, 64]\nlearning_rate = [0.1, 0.2, 0.3]\n"
    included = seen(plan_of(zipped + '[[matrix.include]]\nmodel = "basic_cnn"\nbatch_size = 64'), "learning_rate")[3:]
    assert included == [(0.2,), (0.3,)]
    whole = zipped + '[[matrix.include]]\nmodel = "basic_cnn"\nbatch_size = 8\nlearning_rate = 0.9'
    assert seen(plan_of(whole), "batch_size", "learning_rate")[3:] == [(8, 0.9)]
    with pytest.raises(MatrixError, match="expected a value that the zip of batch_size, learning_rate has"):
        plan_of(zipped + '[[matrix.include]]\nmodel = "basic_cnn"\nbatch_size = 8')


def test_a_billion_cells_are_refused_before_they_are_made():
    axes = "".join(f"{key} = {list(range(1, 101))}\n" for key in ("seed", "batch_size", "epochs", "train_examples"))
    with pytest.raises(MatrixError, match="expected at most 1,000,000 cells, got 100,000,000"):
        plan_of(ONE + axes)


@pytest.mark.parametrize("name", ["cats[v2]", "cats*", "cats?", "[ab]"])
def test_a_definition_that_is_called_like_a_glob_is_meant_alone(name):
    text = f"""
    [matrix]
    dataset = ["{name}", "cats2", "a"]
    model = "simple_cnn"
    strategy = "scratch"
    [dataset."{name}"]
    extends = "digits"
    train_examples = 100
    [dataset.cats2]
    extends = "digits"
    train_examples = 101
    [dataset.a]
    extends = "digits"
    train_examples = 102
    """
    kind = MachineKind(gpus=0, cores=2)

    def datasets(more="", **options):
        cells = load_matrix("matrix.toml", text + more, machine_kind=kind, **options).cells
        return [cell.dataset for cell in cells]

    assert datasets(f"[[matrix.exclude]]\ndataset = '{name}'") == ["cats2", "a"]
    assert datasets(select=[f"dataset={name}"]) == [name]
    assert datasets(exclude=[f"dataset={name}"]) == ["cats2", "a"]
    override = f"[[matrix.override]]\nwhen = {{ dataset = '{name}' }}\nset = {{ epochs = 3 }}\n"
    plan = load_matrix("matrix.toml", text + override, machine_kind=kind)
    assert [cell.epochs for cell in plan.cells] == [3, 10, 10]


def test_names_that_only_include_rows_have_are_said():
    include = '[[matrix.include]]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'
    forgotten = plan_of(f'[matrix]\nmodel = "resnet18"\nstrategy = "scratch"\n{include}')
    assert len(forgotten.cells) == 1
    assert forgotten.notes[0].startswith("[matrix] has no dataset: its axes make no cells of their own")
    assert not plan_of(f"[matrix]\nseed = [0, 1]\n{include}").notes


@pytest.mark.parametrize("include", ["", 'batch_size = 32\nmodel = "resnet18"', 'dataset = "digits_low"'])
@pytest.mark.parametrize("lists", ["batch_size = []\nepochs = []", "batch_size = []", "dataset = []\nbatch_size = []"])
def test_an_empty_list_in_a_zip_is_a_mistake_whatever_else_there_is(lists, include):
    text = ONE.replace('dataset = "digits"\n', "") if "dataset" in lists else ONE
    with pytest.raises(MatrixError) as caught:
        plan_of(f"{text}[[matrix.zip]]\n{lists}\n" + (f"[[matrix.include]]\n{include}" if include else ""))
    assert "batch_size: expected at least one value, got []" in str(caught.value)


def test_a_thousand_mistakes_make_a_short_message_that_counts_them():
    overrides = "".join(f"[[matrix.override]]\nset = {{ epoch{number} = 1 }}\n" for number in range(1000))
    with pytest.raises(MatrixError) as caught:
        plan_of(ONE + overrides)
    assert len(caught.value.problems) == 1000
    assert len(str(caught.value)) < 20_000
    assert str(caught.value).startswith("1,000 problems in matrix.toml")
    assert str(caught.value).endswith("… and 980 more; mend these first")


def test_too_many_cells_are_refused_with_what_would_be_allowed():
    values = list(range(1, 1001))
    with pytest.raises(MatrixError) as caught:
        plan_of(f"{ONE}seed = {values}\nepochs = {values}\nbatch_size = {list(range(1, 1002))}\n")
    message = str(caught.value)
    assert "expected at most 1,000,000 cells, got 1,001,000,000" in message
    assert (
        "1,000 of epochs \N{MULTIPLICATION SIGN} 1,001 of batch_size; with the others as they are, batch_size may have 1;"
        in message
    )
