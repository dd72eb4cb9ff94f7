"""What is printed: streams, tables, JSON, CSV, numbers for people."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmark import units
from benchmark.cli.terminal import output, streams
from benchmark.cli.texts.sparkline import sparkline

ROWS = [{"name": "resnet[v2]", "accuracy": 0.5}, {"name": "net[/]", "accuracy": math.nan}]
COLUMNS = [output.Column("name"), output.Column("accuracy", right=True, show=units.fraction)]


def rendered(rows, columns) -> str:
    console = Console(file=io.StringIO(), markup=True, no_color=True)
    console.print(output.table(rows, columns), soft_wrap=True)
    return console.file.getvalue()


@pytest.mark.parametrize("name", ["resnet[v2]", "net[/]", "[bold]x[/bold]", ":smile:", "a\\[b"])
def test_names_are_printed_verbatim(name):
    assert name in rendered([{"name": name}], [output.Column("name")])


def test_long_names_are_folded_and_not_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = rendered([{"name": "x" * 100, "accuracy": 0.5}], COLUMNS).splitlines()
    assert sum(line.count("x") for line in lines) == 100
    assert max(map(len, lines)) == 40


@pytest.mark.parametrize(
    ("claimed", "columns"), [("200", 200), ("40", 40), ("", output.FILE_COLUMNS), ("abc", output.FILE_COLUMNS)]
)
def test_a_pipe_is_as_wide_as_a_page_unless_columns_says_another(claimed, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", claimed)
    assert output.width() == columns


@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_a_terminal_is_as_wide_as_it_is(term, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    terminal.fileno = lambda: 1
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((47, 24)))
    monkeypatch.setenv("TERM", term)
    assert output.width() == 47


def test_columns_in_which_nothing_stands_are_left_out_unless_they_stay():
    rows = [{"name": "a", "cause": None, "x": None}, {"name": "b", "cause": "", "x": None}]
    columns = [output.Column("name"), output.Column("cause"), output.Column("x", stays=True)]
    assert rendered(rows, columns).split()[:2] == ["name", "x"]


def test_sentences_end_between_words_and_are_whole_lines_in_a_pipe(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    output.write_line("  left out: 3 cells, see /a/long/path/of/a/file")
    monkeypatch.delenv("COLUMNS")
    output.write_line("word " * 50)
    assert capsys.readouterr().out.splitlines() == [
        "  left out: 3 cells,",
        "    see",
        "    /a/long/path/of/a/file",
        ("word " * 50).rstrip(),
    ]


def test_control_characters_are_shown_and_not_obeyed():
    text = rendered([{"name": "a\x1b[31mb\x07\u202ec"}], [output.Column("name")])
    assert "\x1b" not in text
    assert "a\\x1b[31mb\\x07\\u202ec" in text


def test_json_is_one_strict_document_without_nan(capsys):
    output.write_rows(ROWS, COLUMNS, "json")
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document == [{"name": "resnet[v2]", "accuracy": 0.5}, {"name": "net[/]", "accuracy": None}]


def test_rows_in_a_document_are_written_as_they_come(capsys):
    rows = [{"a": 1, "b": math.nan}, {"a": "ü", "b": None}]
    output.write_json({"none": iter(()), "rows": iter(rows), "nested": {"x": [1]}})
    text = capsys.readouterr().out
    assert json.loads(text) == {"none": [], "rows": [{"a": 1, "b": None}, rows[1]], "nested": {"x": [1]}}
    assert '    {"a": 1, "b": null},\n' in text


def test_csv_has_a_header_and_all_keys(capsys):
    output.write_rows(ROWS, COLUMNS[:1], "csv")
    assert capsys.readouterr().out == "name,accuracy\nresnet[v2],0.5\nnet[/],nan\n"


def test_csv_without_rows_has_its_header(capsys):
    output.write_rows([], COLUMNS, "csv")
    assert capsys.readouterr().out == "name,accuracy\n"


def test_a_table_without_rows_says_so_on_stderr(capsys):
    output.write_rows([], COLUMNS, "table", empty="no cells")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no cells\n")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_no_text_becomes_a_formula_in_a_spreadsheet(text, capsys):
    output.write_rows([{"name": text, "value": -1.5}], [], "csv")
    assert next(csv.DictReader(io.StringIO(capsys.readouterr().out))) == {"name": "'" + text, "value": "-1.5"}


@pytest.mark.parametrize(
    ("value", "text"), [(0.84, "0.8 s"), (42, "42 s"), (185, "3:05 min"), (7800, "2:10 h"), (math.nan, "?")]
)
def test_durations_are_short(value, text):
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(17, "17 B"), (1536, "1.5 KiB"), (50 * 2**20, "50 MiB"), (3 * 2**40, "3.0 TiB")]
)
def test_sizes_have_binary_units(value, text):
    assert units.size(value) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_json_means_the_same_and_steers_no_terminal(capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    name = "é\u202egnp\u200b\x1b[31m\x9b\n"
    output.write_json({"name": name})
    said = capsys.readouterr().out
    assert json.loads(said) == {"name": name}
    assert "é\\u202egnp\\u200b\\u001b[31m\\u009b\\n" in said


@given(json_values)
def test_everything_becomes_strict_json(value):
    json.dumps(output.plain(value), allow_nan=False)


@given(st.lists(st.none() | st.floats(), max_size=300))
def test_a_sparkline_is_never_wider_than_asked(values):
    line = sparkline(values, width=20)
    assert len(line) == min(len(values), 20)


def test_a_sparkline_rises_with_its_values():
    assert sparkline([0.0, 1.0, 7.0, math.nan]) == "▁▂█!"


def test_the_c_locale_gets_ascii_only(monkeypatch):
    monkeypatch.setenv("LANG", "C")
    monkeypatch.delenv("LC_ALL", raising=False)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    streams.prepare()
    streams.out().print("0.91 ± 0.02 · ✓ █ ü")
    stream.flush()
    assert stream.buffer.getvalue() == b"0.91 +/- 0.02 - ok # ?\n"


def test_tables_have_ascii_lines_in_the_c_locale(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    streams.prepare()
    output.write_table(ROWS, COLUMNS)
    stream.flush()
    assert stream.buffer.getvalue().isascii()


def test_what_cannot_be_encoded_is_replaced(monkeypatch):
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    streams.prepare()
    streams.out().print("a\udc80b")
    stream.flush()
    assert stream.buffer.getvalue() == b"a?b\n"


@pytest.mark.parametrize(
    ("variables", "colour"),
    [({}, False), ({"CLICOLOR_FORCE": "1"}, True), ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_follows_the_conventions(monkeypatch, variables, colour, capsys):
    for name in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    streams.out().print("x", style="red")
    assert ("\x1b[31m" in capsys.readouterr().out) is colour
