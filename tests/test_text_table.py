"""The one writer of tables: whatever stands in them, no word is broken, no line too wide, nothing lost."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from benchmark.reporting.writers.panels import TextColumn, words
from benchmark.reporting.writers.text_table import PATHS, WORDS, table_lines, under_headings, wrap
from benchmark.text import encodable

WIDTHS = st.integers(40, 200)
NAMES = st.text("abcxyzABC-_./é日本語🎉", min_size=1, max_size=18).filter(lambda word: word != "-")
TEXTS = st.lists(NAMES, max_size=6).map(" ".join)
IDS = st.text("0123456789abcdef", min_size=7, max_size=64)
NUMBERS = st.floats(-1e9, 1e9).map(lambda value: f"{value:.4g} ± {abs(value) / 7:.2g}")


@st.composite
def tables(draw) -> list[TextColumn]:
    count = draw(st.integers(1, 5))
    title = st.lists(NAMES, min_size=1, max_size=3).map(" ".join)
    columns = []
    for number in range(draw(st.integers(1, 9))):
        cells = draw(st.sampled_from([TEXTS, IDS, NUMBERS]))
        texts = draw(st.one_of(st.lists(cells, min_size=count, max_size=count), cells.map(lambda text: [text] * count)))
        heads = cells is TEXTS and draw(st.booleans())
        columns.append(TextColumn(draw(title), tuple(texts), cells is NUMBERS, identifies=number == 0, heads=heads))
    return columns


def drawn(columns, width, encoding="utf-8", title="") -> list[str]:
    return [line.plain for line in table_lines(columns, width, encoding, title)]


@given(tables(), WIDTHS, st.sampled_from(["utf-8", "ascii"]))
@example([TextColumn("cell", ("0123456789abcdef" * 4,) * 2), TextColumn("path", ("a/b" * 12, "c"))], 40, "utf-8")
def test_no_line_is_too_wide_and_no_word_is_broken_or_lost(columns, width, encoding):
    lines = drawn(columns, width, encoding, "A title")
    text = "\n".join(lines)
    assert max(map(cell_len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    text.encode(encoding)
    for column in columns:
        for cell in map(partial(encodable, encoding=encoding), (column.title, *column.texts)):
            whole = [cell] if column.is_number and cell in column.texts else cell.split()
            assert all(word in text if cell_len(word) <= width - 4 else word[:7] in text for word in whole)


def test_a_column_in_which_nothing_is_known_is_in_no_heading():
    columns = [
        TextColumn("cell", ("a", "b"), identifies=True),
        TextColumn("front", ("-", "-")),
        TextColumn("n", ("1", "1")),
    ]
    assert drawn(columns, 80)[0] == "n 1"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_all_rows_share_stands_above(width):
    columns = [
        TextColumn("cell", ("459c8015", "8c5eca15"), identifies=True),
        TextColumn("dataset", ("mnist", "mnist")),
        TextColumn("backend", ("torch", "torch")),
        TextColumn("seed", ("0", "1"), is_number=True),
        TextColumn("cause", ("", "")),
        TextColumn("fold", ("2", "2"), stays=True),
    ]
    assert drawn(columns, width) == [
        *wrap("dataset mnist, backend torch, cause -", width),
        "cell      seed  fold",
        "────────────────────",
        "459c8015     0  2",
        "8c5eca15     1  2",
    ]


def test_a_single_row_and_equal_rows_stay_rows():
    row = [TextColumn("a", ("x",)), TextColumn("b", ("y",))]
    assert drawn(row, 40)[-1] == "x  y"
    equal = [TextColumn("a", ("x",) * 3), TextColumn("b", ("y",) * 3)]
    assert drawn(equal, 40)[2:] == ["x  y"] * 3


def test_names_become_headings_where_that_saves_a_table():
    columns = [
        TextColumn("cell", ("459c8015", "8c5eca15", "ea757f7c", "d3f2f2cd"), identifies=True),
        TextColumn("dataset", ("digits",) * 2 + ("few_high_digits",) * 2, heads=True),
        TextColumn("strategy", ("scratch", "v2", "v3", "v4")),
        TextColumn("decision", ("runs", "waits", "runs", "waits")),
    ]
    assert drawn(columns, 80)[2].split() == ["459c8015", "digits", "scratch", "runs"]
    assert drawn(columns, 36)[2:] == [
        "dataset digits", "  459c8015  scratch   runs", "  8c5eca15  v2        waits",
        "dataset few_high_digits", "  ea757f7c  v3        runs", "  d3f2f2cd  v4        waits",
    ]  # fmt: skip


def test_what_no_table_fits_becomes_lines_of_names_and_values():
    path = "/a/path/that/is/too/long/for/a/column"
    columns = [
        TextColumn("kind", ("state", "log")),
        TextColumn("path", (path, "b")),
        TextColumn("size", ("9", "8"), is_number=True),
    ]
    assert drawn(columns, 40) == ["kind: state", "path:", f"  {path}", "size: 9", "", "kind: log", "path: b", "size: 8"]


def test_names_without_headings_are_a_list():
    names, values = TextColumn("", ("seed", "a_longer_name")), TextColumn("", ("0", "word " * 9))
    assert drawn(under_headings([names, values], ["settings", "settings"]), 40) == [
        "settings", "  seed           0", "  a_longer_name  word word word word", "                 word word word word", "                 word",
    ]  # fmt: skip


def test_a_column_may_have_no_heading():
    assert drawn([TextColumn("", ("a", "b"))], 40)[1:] == ["a", "b"]


def test_wide_characters_are_aligned():
    lines = drawn([TextColumn("名前", ("日本語", "b")), TextColumn("n", ("±", "c"))], 40)
    assert [cell_len(line.rpartition("  ")[0]) for line in (lines[2], lines[3])] == [6, 6]
    assert drawn([TextColumn("名前", ("日本語", "b")), TextColumn("n", ("± 1", "…"))], 60, "ascii")[2].endswith("+/- 1")


@given(TEXTS, st.integers(40, 80))
def test_wrapping_keeps_every_word(text, width):
    assert [word for line in wrap(text, width, "  ") for word in line.split()] == text.split()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("took 18 % of 3 GiB", ["took", "18 %", "of", "3 GiB"]),
        ("0.92 ± 0.05 (n=3)", ["0.92 ± 0.05", "(n=3)"]),
        ("0.92 +/- 0.05 s", ["0.92 +/- 0.05 s"]),
        ("of 3 strategies", ["of", "3", "strategies"]),
        ("", [""]),
    ],
)  # fmt: skip
def test_a_number_and_its_unit_are_one_word(text, parts):
    assert words(text) == parts


def test_a_word_that_is_too_long_for_a_line_ends_where_it_is_joined():
    assert wrap("Linux-6.18-x86_64-with-glibc2.36", 24) == ["Linux-6.18-x86_64-with-", "glibc2.36"]
    assert wrap("dataset=digits,model=resnet18", 20) == ["dataset=digits,", "model=resnet18"]
    assert wrap("see 0123456789abcdef0123456789abcdef", 24, "  ") == ["see", "  0123456789abcdef012345", "  6789abcdef"]


def test_a_path_that_is_longer_than_a_line_stays_whole_to_be_copied():
    path = "/home/of-somebody/results.artifacts/37ccd93be8b411a60a0d/11/state.npz"
    assert wrap(f"see {path}", 40, "  ", whole=PATHS) == ["see", f"  {path}"]
    assert f"  {path}" in drawn([TextColumn("kind", ("state",)), TextColumn("path", (path,), has_paths=True)], 40)
    assert f"  {path}" in drawn([TextColumn("", ("wrote",)), TextColumn("", (path,), has_paths=True)], 40)
    # a name that looks like one is broken: no line of a report is wider than the terminal
    assert max(map(len, drawn([TextColumn("model", (path,))], 40))) <= 40


def test_a_path_stays_whole_in_a_sentence():
    assert wrap("wrote /a/long/path/of/a/file.txt", 20, "  ", whole=WORDS) == [
        "wrote",
        "  /a/long/path/of/a/file.txt",
    ]
