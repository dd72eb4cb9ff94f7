from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.matrix.reading.line_numbers import LineScanner

DOCUMENT = '''# a comment = "with [brackets"
top = 1
"quoted \\u00e9" = 'x'

[matrix]
dataset = [
    "digits",   # one
    "mnist" ]
zip.a = [1]
name = """
three
lines"""
after = 1

[[matrix.exclude]]
model = "a"
[[matrix.exclude]]
model = ["b",
         "c"]

[strategy.two]
weights = { dataset = "d", strategy = "s", deep = { x = [ { y = 1 } ] } }
[[strategy.two.stage]]
train = "head"
[[strategy.two.stage]]
train = 'last:30'
[strategy.two.stage.augment]
flip = "both"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted é",), 3),
        (("matrix",), 5),
        (("matrix", "dataset"), 6),
        (("matrix", "dataset", 0), 7),
        (("matrix", "dataset", 1), 8),
        (("matrix", "zip", "a", 0), 9),
        (("matrix", "name"), 10),
        (("matrix", "after"), 13),
        (("matrix", "exclude"), 15),
        (("matrix", "exclude", 0, "model"), 16),
        (("matrix", "exclude", 1), 17),
        (("matrix", "exclude", 1, "model", 1), 19),
        (("strategy", "two", "weights", "strategy"), 22),
        (("strategy", "two", "weights", "deep", "x", 0, "y"), 22),
        (("strategy", "two", "stage", 0, "train"), 24),
        (("strategy", "two", "stage", 1, "train"), 26),
        (("strategy", "two", "stage", 1, "augment", "flip"), 28),
    ],
)
def test_every_key_is_found_on_its_line(path, line):
    tomllib.loads(DOCUMENT)
    assert LineScanner(DOCUMENT).scan().lines[path] == line


def paths(value, path=()):
    """Every path of a document, as the reader of the standard library sees it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def test_every_path_of_a_document_has_a_line():
    assert set(paths(tomllib.loads(DOCUMENT))) <= LineScanner(DOCUMENT).scan().lines.keys()


KEYS = st.sampled_from(["a", "b-1", '"c d"', "'e.f'", '"\\"g\\""', "1"])
SCALARS = st.sampled_from(["1", "-2.5e3", "true", '"t # ]"', "'l }'", '"""m\n"""', "2020-01-02", "nan"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n" + ", # c\n".join(items) + "\n]")
        | st.lists(inner, max_size=2).map(
            lambda items: "{" + ", ".join(f"k{n} = {i}" for n, i in enumerate(items)) + "}"
        )
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(KEYS, VALUES, st.booleans()), max_size=8, unique_by=lambda item: item[0]))
def test_lines_agree_with_the_text_for_any_document(entries):
    text, expected = "", {}
    for number, (key, value, table) in enumerate(entries):
        if table:
            text += f"[[table{number}]]\n"
        line = text.count("\n") + 1
        text += f"{key} = {value}\n"
        expected[key] = line
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # the same key twice in one table
    lines = LineScanner(text).scan().lines
    assert set(paths(document)) <= lines.keys()
    for path, line in lines.items():
        if isinstance(path[-1], str) and path[-1] in {"a", "b-1", "c d", "e.f", '"g"', "1"}:
            assert line in expected.values()


@given(st.text(alphabet="[]{}=\",'#.\\\n\r abé0", max_size=80))
def test_no_text_makes_the_scanner_raise_or_loop(text):
    LineScanner(text).scan()
