"""What a slip in a matrix or on the command line is answered with: where it is, in plain words, and what would be right."""

from __future__ import annotations

import json

import pytest
from cli_workplace import Workplace

from benchmark.matrix.reading.toml_mistakes import in_words
from benchmark.matrix.selection import KEYS
from benchmark.results.schema.tables import TABLES
from benchmark.results.schema.views import VIEWS

MATRIX = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\n'


@pytest.fixture
def place(tmp_path) -> Workplace:
    (tmp_path / "matrix.toml").write_text(MATRIX)
    return Workplace(tmp_path)


@pytest.mark.parametrize(
    ("line", "words", "pointed"),
    [
        ("epochs = three", "expected a value; texts stand in quotes", "three"),
        ("momentum = .9", "a number has a digit before its point, such as 0.5", ".9"),
        ("augment = { zoom = 1., flip = 'both' }", "a number has a digit after its point", "., flip = 'both' }"),
        ("nesterov = True", "truth values are written true and false", "True"),
        ("ema = None", "leave the key out", "None"),
        ("seed = (0, 1)", "lists stand in brackets", "(0, 1)"),
        ('name = "mine', "expected a closing quote", ""),
        ("seed = [0 1]", "expected a comma or a closing ]", "1]"),
        ("batch size = 3", "expected = after the key", "size = 3"),
        ("seed = 0 1", "expected the end of the line", "1"),
        ("[matrix]", "expected each table once", "]"),
        ('model = "resnet18"', "expected each key once", ""),
        ("augment = { zoom = 0.1, zoom = 0.2 }", "expected each key once", " }"),
        ('name = "C:\\data"', "expected a known escape", None),
    ],
)
def test_a_mistake_in_toml_is_shown_with_its_line_and_a_caret(line, words, pointed, place):
    (place.directory / "matrix.toml").write_text(f"{MATRIX}{line}\n[defaults]\nepochs = 1\n")
    done = place.call("plan")
    assert done.exit_code == 2
    _, said, shown, caret = done.stderr.splitlines()
    assert said.startswith("  matrix.toml:5:")
    assert words in said
    assert shown == f"    {line}"
    assert caret.strip() == "^"
    assert pointed is None or shown[caret.index("^") :] == pointed


def test_a_long_line_is_shown_around_the_caret(place):
    (place.directory / "matrix.toml").write_text(f"{MATRIX}seed = [{'0, ' * 200}x]\n")
    _, _, shown, caret = place.call("plan").stderr.splitlines()
    assert max(len(shown), len(caret)) <= 80
    assert shown[caret.index("^")] == "x"


@pytest.mark.parametrize(
    ("text", "words"), [("name = 'mine", "expected a closing quote"), ("name = '''mine", "expected closing quotes")]
)
def test_a_text_that_ends_with_the_file_is_told_which_quotes_it_lacks(text, words, place):
    (place.directory / "matrix.toml").write_text(f"{MATRIX}{text}")
    said = place.call("plan").stderr.splitlines()[1]
    assert words in said
    assert ("three quotes" in said) == ("'''" in text)


def test_a_message_of_toml_that_is_not_known_is_told_as_it_is():
    assert in_words("something new") == ("TOML", "")


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (["--set", "epochs=x"], "--set epochs: expected an integer"),
        (["--set", "epocs=3"], "--set epocs: expected a training setting; did you mean 'epochs'?"),
        (["--set", "epochs"], "--set: expected KEY=VALUE"),
        (["--select", "model=resnet"], "--select model: expected the name of a model"),
        (["--exclude", "seed=0"], "--exclude: expected at least one cell"),
    ],
)
def test_a_mistake_on_the_command_line_is_not_blamed_on_the_matrix(options, where, place):
    done = place.call("plan", *options)
    assert done.exit_code == 2
    assert "1 problem on the command line" in done.stderr
    assert f"the command line: {where}" in done.stderr
    assert "matrix.toml" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --jobs x", "--jobs: expected a whole number of at least 1, got 'x'"),
        ("run --jobs 0", "--jobs: expected a whole number of at least 1, got '0'"),
        ("run --gpu-share 99", "--gpu-share: expected a whole number from 1 to 64, got '99'"),
        ("run --timeout 5y", "--timeout: expected seconds above zero, such as 90, 45s, 15m or 2h, got '5y'"),
        ("run --lease 0", "--lease or BENCH_LEASE: expected seconds above zero"),
        ("run --jobs", "--jobs: expected a value, got none"),
        ("run more words", "expected no more arguments, got 'more words'"),
        ("show", "CELL: expected a value, got none"),
        ("judge a b", "--campaign: expected a value, got none"),
        ("report --format xls", "--format: expected table, markdown, html, csv, json or latex, got 'xls'"),
        ("prepare --manual-dir none", "--manual-dir: expected a folder that exists, got 'none'"),
        ("compare a b --margin 0", "--margin: expected a number above 0"),
    ],
)
def test_whatever_is_typed_wrongly_is_answered_in_one_voice(words, said, place):
    done = place.call(*words.split())
    assert done.exit_code == 2
    assert f"error: {said}" in done.stderr.replace("Error: ", "error: ")
    assert "Invalid value" not in done.stderr


def test_mistakes_in_both_places_are_told_at_once(place):
    (place.directory / "matrix.toml").write_text(f"{MATRIX}epochs = 0\n")
    done = place.call("plan", "--set", "epocs=3")
    assert "2 problems in matrix.toml and on the command line" in done.stderr
    assert "  matrix.toml:5: matrix.epochs: " in done.stderr


def test_an_unknown_key_of_a_selection_names_the_nearest_and_all(place):
    done = place.call("plan", "--select", "modl=simple_cnn")
    assert "did you mean 'model'?; known keys: " in done.stderr
    assert done.stderr.strip().endswith(", ".join(KEYS))


def test_query_says_what_can_be_asked_without_a_database(place):
    rows = json.loads(place.call("query", "--schema", "--format", "json").stdout)
    assert {row["table"] for row in rows} == {*VIEWS, *(table.name for table in TABLES)}
    assert all(row["meaning"] and row["type"] for row in rows)
    said = place.call("query", "--schema").stdout
    assert all(f"view {name}\n" in said for name in VIEWS)
    assert not (place.directory / "results.sqlite").exists()


def test_query_without_a_statement_is_a_usage_error(place):
    done = place.call("query")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--schema" in done.stderr


def test_a_report_is_not_written_to_a_file_of_an_unknown_ending(place):
    done = place.call("report", "--reference", "--output", "report.xyz")
    assert done.exit_code == 2
    assert ".md, .html" in done.stderr
    assert not (place.directory / "report.xyz").exists()


def test_a_folder_gets_a_file_for_each_table_as_csv_and_is_refused_otherwise(place):
    done = place.call("report", "--reference", "--output", "tables/", "--format", "csv")
    assert (done.exit_code, done.stdout) == (0, "")
    names = {path.name for path in (place.directory / "tables").iterdir()}
    assert names == {"summary.csv", "transfer.csv", "progression.csv"}
    for words in (["--output", "other/"], ["--output", "other/", "--format", "json"]):
        assert place.call("report", "--reference", *words).exit_code == 2
    assert not (place.directory / "other").exists()


def test_doctor_begins_with_whether_the_machine_is_ready(place, monkeypatch):
    first, *others = place.call("doctor").stdout.splitlines()
    assert first == "Ready."
    assert "Next: `bench plan` shows what a run would do." in others[: others.index("")]
    monkeypatch.setattr("benchmark.cli.doctor_checks.KERAS_FLOOR", (99,))
    done = place.call("doctor")
    assert done.exit_code == 2
    first, second, *_ = done.stdout.splitlines()
    assert first == "Not ready: 1 problem to fix before `bench run`."
    assert second.startswith("  keras: ")
    assert "pip install 'keras>=99'" in second


def test_an_option_that_shares_only_its_dashes_is_not_near(tmp_path):
    done = Workplace(tmp_path).call("report", "--reprt")
    assert "did you mean" not in done.stderr
    assert "known options: --db," in done.stderr
