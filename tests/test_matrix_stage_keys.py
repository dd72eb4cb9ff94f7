from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from scheduling_plans import fake_cell, fake_stage

from benchmark.matrix.cell import Architecture, Weights
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind
from benchmark.matrix.planning.stage_keys import common_stages, stage_key

HEAD, ALL, SLOWLY = (
    replace(fake_stage(3), train="head"),
    fake_stage(2),
    replace(fake_stage(2), learning_rate=1e-5),
)


def cell_of(*stages, name="x", **changes):
    return replace(fake_cell(strategy=name), cell_id=name, strategy=name, stages=stages, **changes)


def test_cells_share_the_stages_that_they_have_in_common_and_no_more():
    frozen, two, three, other = (
        cell_of(HEAD, name="frozen"),
        cell_of(HEAD, ALL, name="two"),
        cell_of(HEAD, ALL, SLOWLY, name="three"),
        cell_of(SLOWLY, name="other"),
    )
    found = common_stages([frozen, two, three, other])
    assert {name: sorted(ends) for name, ends in found.items()} == {"frozen": [1], "two": [1, 2], "three": [1, 2]}
    assert len({found[name][1] for name in ("frozen", "two", "three")}) == 1
    assert found["two"][2] == found["three"][2] != found["two"][1]


def test_only_the_last_of_several_common_ends_counts():
    assert {
        name: sorted(ends)
        for name, ends in common_stages([cell_of(HEAD, ALL, name="a"), cell_of(HEAD, ALL, SLOWLY, name="b")]).items()
    } == {
        "a": [2],
        "b": [2],
    }


def test_what_is_named_told_or_saved_later_is_not_in_the_key():
    plain = cell_of(HEAD)
    others = [
        cell_of(HEAD, ALL),
        replace(plain, dataset="mine", model="mine", strategy="mine", strategy_label="mine", cell_id="mine"),
        replace(plain, tta=3),
        replace(plain, save=("model",)),
    ]
    assert {stage_key(other, 1) for other in others} == {stage_key(plain, 1)}
    for other in others:
        assert len(common_stages([replace(plain, cell_id="a"), replace(other, cell_id="b")])) == 2


CHANGES = {
    "seed": 1,
    "data": replace(fake_cell().data, validation_fraction=0.2),
    "architecture": Architecture("simple_cnn", (("dropout", 0.5),)),
    "weights": Weights("parent", None, "0" * 20),
    "keep": "last",
    "monitor": "val_loss",
    "labels": "one_hot",
    "threads": 2,
    "precision": "mixed_bfloat16",
    "backend": "jax",
    "device_kind": "gpu",
    "deterministic": False,
    "reuse_features": False,
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_decides_the_numbers_is_in_the_key(name):
    plain, other = cell_of(HEAD, ALL, name="a"), cell_of(HEAD, name="b", **{name: CHANGES[name]})
    assert stage_key(plain, 1) != stage_key(other, 1)
    assert common_stages([plain, other]) == {}


def test_label_smoothing_in_a_later_stage_makes_other_labels_of_the_first():
    plain, smoothed = cell_of(HEAD, ALL, name="a"), cell_of(HEAD, replace(ALL, label_smoothing=0.1), name="b")
    assert stage_key(plain, 1) != stage_key(smoothed, 1)
    assert common_stages([plain, smoothed]) == {}


def test_cells_that_do_not_want_it_share_nothing():
    cells = [cell_of(HEAD, name="a"), cell_of(HEAD, ALL, name="b", share_stages=False)]
    assert common_stages(cells) == {}


def test_equal_values_and_equal_keys_mean_the_same():
    text = """
    [matrix]
    dataset = ["digits", "digits_low"]
    model = "simple_cnn"
    strategy = ["one", "two", "three"]
    seed = [0, 1]
    [strategy.one]
    [[strategy.one.stage]]
    train = "head"
    epochs = 2
    [strategy.two]
    [[strategy.two.stage]]
    train = "head"
    epochs = 2
    [[strategy.two.stage]]
    train = "all"
    [strategy.three]
    [[strategy.three.stage]]
    train = "head"
    epochs = 3
    """
    cells = load_matrix("matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2)).cells
    found = common_stages(cells)
    assert {cell.strategy for cell in cells if cell.cell_id in found} == {"one", "two"}
    for one, other in combinations(cells, 2):
        same = stage_key(one, 1) == stage_key(other, 1)
        shared = one.cell_id in found and found[one.cell_id].get(1) == found.get(other.cell_id, {}).get(1)
        assert same == shared
