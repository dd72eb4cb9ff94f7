from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.matrix.problems import Problems, name_problem, nearest_hint, path_text, shown_value
from benchmark.text import quotable


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("strategy", "two_phase", "stage", 1, "train"), "strategy.two_phase.stage[1].train"),
        (("strategy", "a b", "epochs"), 'strategy."a b".epochs'),
        (("model", 'x"y.z'), 'model."x\\"y.z"'),
        (("--set learning rate",), "--set learning rate"),
        (("", 0), '""[0]'),
    ],
)
def test_a_path_is_written_as_toml_would(path, text):
    assert path_text(path) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("30", '"30"'),
        (True, "true"),
        ([1, "a", {"b": 0.5}], '[1, "a", {b = 0.5}]'),
        ("\u202egnp.exe\x1b", '"\\u202egnp.exe\\u001b"'),
        (float("nan"), "nan"),
    ],
)
def test_a_value_is_shown_as_it_was_written(value, text):
    assert shown_value(value) == text


def test_an_integer_of_thousands_of_digits_is_not_written_out():
    assert shown_value([1 << 20_000]) == "[an integer of 20001 bits]"


@given(
    st.recursive(
        st.text() | st.integers() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_value_is_shown_in_one_short_printable_line(value):
    shown = shown_value(value)
    assert len(shown) <= 80
    assert shown.isprintable()


@given(st.text())
def test_printable_text_is_left_alone_and_other_text_escaped(text):
    assert quotable(text).isprintable()
    assert quotable(text) == text or not text.isprintable()


def test_the_same_mistake_is_told_once():
    problems = Problems()
    for _ in range(2):
        problems.add(("a",), "x", 1)
    assert len(problems) == 1


def test_a_problem_without_a_line_of_its_own_has_that_of_what_contains_it():
    problems = Problems()
    problems.add(("a", "b", "c"), "x")
    problems.add(("z",), "y")
    first, second = problems.located({("a",): 7, ("a", "b"): 9})
    assert (first.where, first.line) == ("z", None)
    assert (second.where, second.line) == ("a.b.c", 9)


def test_the_nearest_name_is_offered():
    assert nearest_hint("resnet81", ["resnet18", "vgg16"], "bench list models").startswith("did you mean 'resnet18'?")
    assert nearest_hint("zzz", ["a", "b"]) == "known: a, b"
    assert nearest_hint(3, ["a"]) == "known: a"


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\0b", "a\nb", "a\x7fb", "a\x85b", "a\u2028b", "a\udc80b"])
def test_names_that_would_harm_are_refused(name):
    assert name_problem(name)


@pytest.mark.parametrize("name", ["x" * 200, "..", "/etc/x", "CON", "dot.", "\u202eRTL", "👩\u200d🚀", "é"])
def test_names_that_are_only_strange_are_kept(name):
    assert not name_problem(name)
