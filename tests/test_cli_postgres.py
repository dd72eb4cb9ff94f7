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
    assert "computed the further test metrics" in call("db", "upgrade")
