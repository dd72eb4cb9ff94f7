from __future__ import annotations

import inspect

import pytest

from benchmark.errors import MatrixError
from benchmark.matrix.cell import Cell
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan
from benchmark.matrix.recipes.optimizers import OPTIMIZERS
from benchmark.training.updates import Updates

HEAD = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'


def plan_of(lines: str) -> Plan:
    return load_matrix("matrix.toml", f"{HEAD}[defaults]\n{lines}\n", machine_kind=MachineKind(0, 2))


def cell_of(lines: str) -> Cell:
    (cell,) = plan_of(lines).cells
    return cell


@pytest.mark.tf
def test_the_defaults_of_an_optimizer_are_those_of_keras():
    from benchmark.training.stages import _OPTIMIZERS

    assert _OPTIMIZERS.keys() == OPTIMIZERS.keys()
    for name, own in OPTIMIZERS.items():
        parameters = inspect.signature(_OPTIMIZERS[name]).parameters
        known = {"momentum", "nesterov", "beta_1", "beta_2", "epsilon"} & parameters.keys()
        assert {key: parameters[key].default for key in known} == own, name


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("beta_1 = false\nbeta_2 = false\nepsilon = false", ""),
        ("beta_1 = 0.9\nbeta_2 = 0.999\nepsilon = 1e-7", ""),
        ('optimizer = "lion"\nbeta_2 = 0.99', 'optimizer = "lion"'),
        ("nesterov = false\nclip_norm = false\nclip_value = false\ngradient_accumulation = 1", ""),
        ('optimizer = "sgd"\nnesterov = true', 'optimizer = "sgd"'),
    ],
)
def test_what_changes_nothing_is_the_same_cell(written, same):
    assert cell_of(written).cell_id == cell_of(same).cell_id


def test_what_changes_something_is_another_cell():
    written = [f'optimizer = "{name}"' for name in OPTIMIZERS] + [
        'optimizer = "sgd"\nmomentum = 0.9', 'optimizer = "sgd"\nmomentum = 0.9\nnesterov = true', "beta_1 = 0.5",
        "beta_2 = 0.5", "epsilon = 1e-3", "clip_norm = 1", "clip_value = 1", "gradient_accumulation = 2",
    ]  # fmt: skip
    cells = [cell_of(lines) for lines in written]
    assert len({cell.cell_id for cell in cells}) == len(written)
    assert [Cell.from_dict(cell.to_dict()) for cell in cells] == cells


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("nesterov = true", 'matrix.toml:6: defaults.nesterov: expected false beside optimizer = "adam", which has no nesterov, got true; leave it out, or take one of sgd'),
        ('optimizer = "rmsprop"\nnesterov = true', 'expected false beside optimizer = "rmsprop", which has no nesterov'),
        ('optimizer = "sgd"\nbeta_1 = 0.5', 'defaults.beta_1: expected false beside optimizer = "sgd", which has no beta_1, got 0.5; leave it out, or take one of adam, adamw, adamax, lamb, lion, nadam'),
        ('optimizer = "ftrl"\nepsilon = 1e-3', 'expected false beside optimizer = "ftrl", which has no epsilon'),
        ("clip_norm = 1\nclip_value = 0.5", "defaults.clip_norm: expected false beside clip_value = 0.5 in one stage, got 1"),
        ("clip_norm = 0", "defaults.clip_norm: expected false, or a number > 0, got 0"),
        ("beta_1 = true", "defaults.beta_1: expected false, or a number ≥ 0 and < 1, got true"),
        ("gradient_accumulation = 0", "defaults.gradient_accumulation: expected an integer from 1 to 65536, got 0"),
        ('optimizer = "lyon"', "did you mean 'lion'?"),
    ],
)  # fmt: skip
def test_what_an_optimizer_has_not_is_refused_with_its_cure(written, told):
    with pytest.raises(MatrixError) as caught:
        plan_of(written)
    assert told in str(caught.value)


def test_adafactor_on_jax_is_left_out_with_the_reason():
    (left_out,) = plan_of('optimizer = "adafactor"\nbackend = "jax"').left_out
    assert "adafactor gives NaN on JAX" in left_out.reason
    assert plan_of('optimizer = "adafactor"\nbackend = "torch"').cells


def test_the_rest_of_an_epoch_makes_an_update_of_its_own():
    updates = Updates(batches=5, gathered=2)
    assert updates.per_epoch == 3
    assert [updates.before(batch) for batch in range(1, 6)] == [0, 0, 1, 1, 2]
    assert [updates.share_of(batch) for batch in range(1, 6)] == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert [updates.follow(batch) for batch in range(1, 6)] == [False, True, False, True, True]
    alone = Updates(batches=3, gathered=1)
    assert [(alone.before(batch), alone.share_of(batch), alone.follow(batch)) for batch in (1, 2, 3)] == [
        (0, 1.0, True), (1, 1.0, True), (2, 1.0, True),
    ]  # fmt: skip
