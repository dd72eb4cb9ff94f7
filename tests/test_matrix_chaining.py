from __future__ import annotations

import pytest

from benchmark.errors import MatrixError
from benchmark.matrix.load import load_matrix
from benchmark.matrix.plan import MachineKind, Plan

ONE = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'


def plan_of(text: str) -> Plan:
    return load_matrix("matrix.toml", text, machine_kind=MachineKind(gpus=0, cores=2))


def refusal(text: str) -> str:
    with pytest.raises(MatrixError) as caught:
        plan_of(ONE + text)
    return str(caught.value)


def test_a_definition_may_take_the_place_of_a_built_in_one_and_extend_it():
    cell = plan_of(ONE + '[model.simple_cnn]\nextends = "simple_cnn"\nfilters = [8]\n').cells[0]
    assert dict(cell.architecture.parameters) == {
        "filters": (8,),
        "dense_units": 128,
        "dropout": 0.25,
        "kernel_size": 3,
    }


def test_built_in_definitions_extend_built_in_ones():
    own = '[strategy.v1]\nepochs = 99\n[strategy.mine]\nextends = "v1"\n'
    text = ONE.replace('"scratch"', '["v1", "v2", "mine"]') + own
    assert [cell.stages[0].epochs for cell in plan_of(text).cells] == [99, 10, 99][: len(plan_of(text).cells)]


def test_circles_are_told_with_their_members():
    text = '[strategy.a]\nextends = "b"\n[strategy.b]\nextends = "c"\n[strategy.c]\nextends = "a"\n'
    assert "do not extend each other in a circle" in refusal(text)
    assert "→" in refusal(text)
    assert 'strategy.own.extends: expected the name of another strategy, got "own"' in refusal(
        '[strategy.own]\nextends = "own"\n'
    )


def test_weights_that_go_round_in_a_circle_are_told_once_with_the_chain():
    text = "".join(
        f'[strategy.{name}]\nweights = {{ dataset = "digits_low", strategy = "{parent}" }}\n'
        for name, parent in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]
    )
    message = refusal(text)
    assert message.count("→") == 3
    assert 'expected weights that do not come from the strategy itself, got "a → b → c → a"' in message


def test_endless_chains_are_refused():
    chain = "".join(f'[strategy.s{n}]\nextends = "s{n + 1}"\n' for n in range(200)) + "[strategy.s200]\n"
    assert "at most 50 definitions in a chain" in refusal(chain)
    parents = (
        "".join(f'[strategy.s{n}]\nweights = {{ strategy = "s{n + 1}" }}\n' for n in range(200)) + "[strategy.s200]\n"
    )
    assert "at most 50 generations of parents" in refusal(parents)


def test_a_mistake_in_an_ancestor_is_told_once_and_where_it_stands():
    text = (
        '[dataset.a]\nextends = "digits"\nclasses = [0, 99]\n[dataset.b]\nextends = "a"\n[dataset.c]\nextends = "b"\n'
    )
    message = refusal(text)
    assert message.startswith("1 problem")
    assert "dataset.a.classes" in message


def test_what_is_inherited_and_does_not_fit_is_told_where_the_change_stands():
    text = '[model.x]\nextends = "simple_cnn"\narchitecture = "vgg16"\n[dataset.y]\nextends = "digits_low"\nsource = "tfds:emnist"\n'
    message = refusal(text)
    assert "matrix.toml:5: model.x.filters: expected a parameter of vgg16" in message
    assert "matrix.toml:8: dataset.y.num_classes: expected `num_classes`, because tfds:emnist" in message


def test_lengths_that_belong_together_are_compared():
    assert "model.x.stage_dropout: expected 2 numbers, one for each of `filters`" in refusal(
        '[model.x]\nextends = "advanced_cnn"\nfilters = [8, 16]\n'
    )
    assert "at most 16 numbers" in refusal(f'[model.x]\nextends = "basic_cnn"\nfilters = {[8] * 17}\n')


def test_a_declared_number_of_classes_must_be_that_of_a_known_source():
    assert "dataset.x.num_classes: expected 10, as digits has, got 11" in refusal(
        '[dataset.x]\nextends = "digits"\nnum_classes = 11\n'
    )
