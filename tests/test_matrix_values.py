from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.matrix.cell import EarlyStopping, ReduceLearningRate
from benchmark.matrix.problems import INVALID, Problems
from benchmark.matrix.recipes.augmentations import Augmentation
from benchmark.matrix.recipes.patience import EARLY_STOPPING, REDUCE_LEARNING_RATE
from benchmark.matrix.settings import SETTINGS
from benchmark.matrix.values import (
    BOOLEAN,
    Choice,
    Integer,
    ListOf,
    Name,
    Number,
    WordList,
    pattern,
)

KINDS = [setting.kind for setting in SETTINGS.values()]


def read(kind, value):
    problems = Problems()
    normal = kind.read(value, ("key",), problems)
    assert (normal is INVALID) == (len(problems) > 0)
    return normal


@pytest.mark.parametrize(
    ("kind", "value", "normal"),
    [
        (WordList(("model", "h5"), ("weights",)), ["h5", "weights", "model", "h5"], ("model", "h5")),
        (WordList(("model", "h5"), ("weights",)), "model", ("model",)),
        (WordList(("model", "h5"), ("weights",)), False, ()),
        (WordList(("model", "h5"), ("weights",)), ["pickle"], INVALID),
        (WordList(("model", "h5"), ("weights",)), 3, INVALID),
        (Integer(0), 3, 3),
        (Integer(0), True, INVALID),
        (Integer(0), 3.0, INVALID),
        (Integer(0), "3", INVALID),
        (Integer(0), 2**63, INVALID),
        (Integer(1, word="all"), "all", None),
        (Integer(1), "all", INVALID),
        (Number(0), 3, 3.0),
        (Number(0), -0.0, 0.0),
        (Number(0), math.nan, INVALID),
        (Number(0), math.inf, INVALID),
        (Number(0), 10**400, INVALID),
        (Number(0), False, INVALID),
        (Number(0, above=True), 0, INVALID),
        (Number(0, 1, below=True), 1, INVALID),
        (Number(0, 1), 1, 1.0),
        (BOOLEAN, 1, INVALID),
        (BOOLEAN, False, False),
        (Choice(("a", "b")), "a", "a"),
        (Choice(("a", "b")), ["a"], INVALID),
        (pattern("a|b:[0-9]", "a"), "b:3", "b:3"),
        (pattern("a|b:[0-9]", "a"), "b:3\n", INVALID),
        (Name(), "e\u0301", "\u00e9"),
        (Name(), " ", INVALID),
        (ListOf(Integer(1)), [1, 2], (1, 2)),
        (ListOf(Integer(1)), [], INVALID),
        (ListOf(Integer(1)), 1, INVALID),
        (Augmentation(), False, ()),
        (Augmentation(), {}, ()),
        (Augmentation(), True, INVALID),
        (Augmentation(), {"zoom": 1, "flip": "both", "rotation": 0}, (("flip", "both"), ("zoom", 1.0))),
        (Augmentation(), {"zoom": -1}, INVALID),
        (EARLY_STOPPING, False, None),
        (EARLY_STOPPING, True, INVALID),
        (EARLY_STOPPING, 0, EarlyStopping("val_loss", 0, 0.0)),
        (EARLY_STOPPING, -1, INVALID),
        (EARLY_STOPPING, {}, INVALID),
        (EARLY_STOPPING, {"patience": 1, "min_delta": 1}, EarlyStopping("val_loss", 1, 1.0)),
        (REDUCE_LEARNING_RATE, {"patience": 1, "factor": 1}, INVALID),
        (REDUCE_LEARNING_RATE, 2, ReduceLearningRate("val_loss", 0.5, 2, 0.0)),
    ],
)
def test_a_value_is_read_into_its_normal_form_or_refused(kind, value, normal):
    found = read(kind, value)
    assert found is normal if normal is INVALID else (found == normal and type(found) is type(normal))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(KINDS), ANYTHING)
def test_whatever_a_kind_reads_is_hashable_or_refused(kind, value):
    normal = read(kind, value)
    hash(normal)
