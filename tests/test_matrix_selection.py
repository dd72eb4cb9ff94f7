from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import UserError
from benchmark.matrix.selection import Rule, parse_selection

RECORD = {
    "dataset": "digits",
    "model": "resnet18",
    "strategy": "a,b|c [v2]",
    "seed": 0,
    "learning_rate": 0.001,
    "epochs": [3, 2],
    "deterministic": True,
    "train_examples": None,
    "augment": {"flip": "both", "rotation": 0.1},
    "cell_id": "0123456789abcdef0123",
    "status": "completed",
}


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("model=resnet18", True),
        ("model=resnet*", True),
        ("model=resnet?8", True),
        ("model=[rs]esnet18", True),
        ("model=vgg16|resnet18", True),
        ("model=vgg16", False),
        ("model=RESNET18", False),
        ("model=resnet*,seed=0", True),
        (" model = resnet* , seed = 0 ", True),
        ("model=resnet*,seed=1", False),
        ("seed=0|1", True),
        ("seed=*", True),
        ("learning_rate=1e-3", True),
        ("learning_rate=0.0010", True),
        ("learning_rate=0.01", False),
        ("epochs=2", True),
        ("epochs=4", False),
        ("deterministic=true", True),
        ("deterministic=false", False),
        ("train_examples=all", True),
        ("train_examples=none", True),
        ("train_examples=10", False),
        ("augment=none", False),
        ("augment=*flip*", True),
        ("strategy=a,b|c [v2]", True),
        ("strategy=a,b*", True),
        ("strategy=a,b|c [v2],seed=0", True),
        ("cell_id=0123*", True),
        ("status=completed|failed", True),
        ("machine=here", False),
        ("batch_size=32", False),
    ],
)
def test_an_expression_means_what_it_says(expression, wanted):
    assert parse_selection([expression]).matches(RECORD) is wanted


def test_several_expressions_are_a_union_and_none_is_everything():
    assert parse_selection(["model=vgg16", "seed=0"]).matches(RECORD)
    assert not parse_selection(["model=vgg16", "seed=1"]).matches(RECORD)
    assert parse_selection([]).matches(RECORD)
    assert not parse_selection([])
    assert parse_selection(["seed=0"])


def test_truth_values_that_a_database_keeps_as_numbers_match():
    assert parse_selection(["deterministic=true"]).matches({"deterministic": 1})
    assert not parse_selection(["deterministic=true"]).matches({"deterministic": 0})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("model", 'selection "model": expected key=value[,key=value], got "model"'),
        ("", "expected key=value"),
        ("=x", "expected key=value"),
        ("model=", "expected key=value"),
        ("modl=x", "expected a known key, got \"modl\"; did you mean 'model'?"),
        ("model=x,sed=0", "did you mean 'seed'?"),
        ("seed=abc", 'seed: expected an integer ≥ 0, got "abc"'),
        ("seed=0|abc", 'seed: expected an integer ≥ 0, got "abc"'),
        ("precision=flaot32", "did you mean 'float32'?"),
        ("1=1; DROP TABLE cell", "expected a known key"),
        ("model=a\0b", "expected a name without control characters"),
        ("model=\x1b[31m", "expected a name without control characters"),
    ],
)
def test_a_wrong_expression_is_told_in_four_parts(expression, message):
    with pytest.raises(UserError) as caught:
        parse_selection([expression])
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=40))
def test_any_text_is_a_selection_or_a_mistake_of_the_user(text):
    for expression in (text, f"model={text}", f"seed={text}"):
        try:
            assert parse_selection([expression]).matches(RECORD) in {True, False}
        except UserError:
            continue


@given(st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable() and name == name.strip()))
def test_a_name_selects_itself_whatever_it_contains(name):
    from benchmark.matrix.problems import normal_name

    if "=" not in name:
        assert parse_selection([f"model={name}"]).matches({"model": normal_name(name)})


@pytest.mark.parametrize("name", ["cats[v2]", "a*", "b?", "[x]", "a|b", "a,b|c [v2]", "[!a]*", "cats[[]v2]"])
def test_a_name_that_exists_means_itself_before_its_reading_as_a_glob(name):
    others = {"cats2", "catsv", "ab", "bc", "x", "a", "b", "z", "c v", "cats[v2]"} - {name}
    selection = parse_selection([f"model={name}"]).exact({"model": {name, *others}})
    assert [each for each in sorted({name, *others}) if selection.matches({"model": each})] == [name]


def test_a_rule_asks_every_key_and_takes_any_of_its_values():
    rule = Rule((("model", ("resnet*", "vgg16")), ("epochs", (2,))))
    assert rule.matches(RECORD.get)
    assert rule.for_names({"model": "vgg16"}) == Rule((("epochs", (2,)),))
    assert rule.for_names({"model": "simple_cnn"}) is None
