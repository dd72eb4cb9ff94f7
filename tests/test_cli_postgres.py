"""Commands that compare and search, on PostgreSQL as on SQLite: each answers, with the exit code that its page names."""

from __future__ import annotations

import json

import pytest
from cli_workplace import Workplace

from benchmark.results.schema.tables import execution
from benchmark.results.store.database import open_database

MATRIX = """
[matrix]
name = "on a server"
dataset = ["digits_low", "digits_high"]
model = "simple_cnn"
strategy = ["short", "long"]
seed = [0, 1, 2]
backend = "fake"

[strategy.short]
epochs = 2

[strategy.long]
epochs = 9
"""

REPORTS = (
    *(("--table", name) for name in ("rankings", "variance", "history", "pareto", "calibration", "time", "classes")),
    ("--at", "60s"),
    ("--at-epoch", "1"),
    ("--metric", "test_macro_f1"),
    ("--metric", "fit_seconds"),
    ("--ensembles",),
    ("--baseline", "short", "--margin", "0.5pp"),
)


def forget_metrics(target):
    """As if the results were of an older version."""
    with open_database(target, mode="write") as opened, opened.engine.begin() as connection:
        connection.execute(execution.update().values(test_macro_f1=None, test_log_loss=None))


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_every_command_that_compares_or_searches_answers_on_a_server(target, tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)

    def call(*arguments, code=0):
        done = place.call(*arguments, "--db", target)
        assert done.exit_code == code, (arguments, done.stdout, done.stderr)
        return done.stdout or done.stderr

    call("run", "--select", "dataset=digits_high")
    first = json.loads(call("run", "--select", "dataset=digits_low", "--resolve", "short,long", "--format", "json"))
    assert (first["verdict"], first["looks"] >= 1) == ("better", True)
    assert (
        json.loads(call("run", "--select", "dataset=digits_low", "--resolve", "short,long", "--format", "json"))
        == first
    )
    sides = "strategy=short,dataset=digits_low", "strategy=long,dataset=digits_low"
    ruling = json.loads(call("judge", *sides, "--campaign", "search", "--format", "json"))
    assert (ruling["verdict"], ruling["look"]) == ("better", 1)
    assert json.loads(call("judge", *sides, "--campaign", "search", "--format", "json"))["recorded"]
    for options in REPORTS:
        document = json.loads(call("report", *options, "--format", "json"))
        assert document["tables"] or document["notes"], options
    assert json.loads(call("compare", *sides, "--format", "json"))["runs"]
    assert "fixed" in json.loads(call("diff", *sides, "--format", "json"))
    forget_metrics(target)
    call("report", "--metric", "test_macro_f1")
    assert "nothing to do" in call("db", "upgrade")
    forget_metrics(target)
    assert "computed the missing test metrics" in call("db", "upgrade")


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_results_move_from_a_file_to_a_server_and_back_with_their_files(target, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "away").mkdir()
    home, away = Workplace(tmp_path / "home"), Workplace(tmp_path / "away")
    home.write(MATRIX)
    assert home.call("run", "--select", "seed=0").exit_code == 0

    def merge(place, *arguments):
        (row,) = place.document("db", "merge", *arguments)
        return row

    def shown(place, database):
        return [
            place.document("query", sql, "--db", database)
            for sql in (
                "SELECT cell_id, status, test_accuracy, digest, timing_valid, fit_seconds FROM results ORDER BY cell_id",
                "SELECT cell_id, epoch, train_loss, seconds FROM history ORDER BY cell_id, epoch",
                "SELECT cell_id, split, image, label, predicted FROM predictions ORDER BY cell_id, split, image",
                "SELECT name, machine, command, state, matrix_text FROM run ORDER BY run_id",
            )
        ]

    added = merge(home, "results.sqlite", "--db", target)
    assert (added["execution"], added["files"] > 0) == (4, True)
    assert merge(home, "results.sqlite", "--db", target)["execution"] == 0
    assert home.call("db", "check", "--db", target).exit_code == 0
    back = merge(away, "copy.sqlite", target)
    assert (back["execution"], back["files"]) == (4, added["files"])
    assert shown(away, "copy.sqlite") == shown(home, target) == shown(home, "results.sqlite")
    assert away.call("db", "check", "--db", "copy.sqlite").exit_code == 0
    assert merge(away, target, "--db", "copy.sqlite")["execution"] == 0
    # what is merged counts as done
    assert home.call("run", "--select", "seed=0", "--db", target).exit_code == 0
    assert home.document("query", "SELECT count(*) AS n FROM attempt", "--db", target) == [{"n": 4}]


FROM_ELSEWHERE = (
    ("status",),
    ("report",),
    ("report", "--format", "html", "--output", "report.html"),
    ("list", "cells"),
    ("list", "runs"),
    ("show", "CELL"),
    ("query", "SELECT * FROM results"),
    ("compare", "strategy=short", "strategy=long"),
    ("diff", "strategy=short,seed=0,dataset=digits_low", "strategy=long,seed=0,dataset=digits_low"),
    ("why", "CELL"),
    ("plan",),
    ("db", "export", "out"),
    ("gc",),
)


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_whoever_reaches_the_server_reads_results_whose_files_lie_elsewhere(target, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "away").mkdir()
    home, away = Workplace(tmp_path / "home"), Workplace(tmp_path / "away")
    for place in (home, away):
        place.write(MATRIX)
    assert home.call("run", "--db", target).exit_code == 0
    monkeypatch.setattr("benchmark.machine.default_machine_name", lambda: "elsewhere")
    (home.directory / "results.artifacts").rename(tmp_path / "hidden")
    (cell, *_) = away.document("query", "SELECT cell_id FROM results", "--db", target)
    for arguments in FROM_ELSEWHERE:
        words = [cell["cell_id"][:8] if word == "CELL" else word for word in arguments]
        done = away.call(*words, "--db", target)
        assert done.exit_code == 0, (arguments, done.stdout, done.stderr)
