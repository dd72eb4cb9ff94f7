"""`order` of a matrix, from the file to the attempts and the verdict on seconds; in no id."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3

import pytest
from cli_workplace import Workplace

from benchmark import machine_load

MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = ["scratch", "regularized"]
seed = [0, 1, 2]
backend = "fake"
{order}

[defaults]
epochs = 3
{report}
"""


def planned(place: Workplace, order: str = "", report: str = "") -> list[str]:
    place.write(MATRIX.format(order=order, report=report))
    return [cell["cell_id"] for cell in place.document("plan")["cells"]]


def begun(place: Workplace) -> list[tuple[str, int]]:
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        return connection.execute("SELECT strategy, seed FROM results ORDER BY execution_id").fetchall()


@pytest.mark.parametrize(
    ("order", "report", "takes_turns"),
    [
        ('order = "interleaved"', "", True),
        ("", '[report]\nbaseline = "scratch"', True),
        ('order = "longest"', '[report]\nbaseline = "scratch"', False),
    ],
)
def test_sides_that_took_turns_have_a_verdict_on_seconds_and_others_have_none(
    tmp_path, monkeypatch, order, report, takes_turns
):
    monkeypatch.setattr(machine_load, "disturbance", lambda *_: None)
    place = Workplace(tmp_path)
    ids = planned(place)
    assert planned(place, order, report) == ids
    assert place.call("run", "--jobs", "1").exit_code == 0
    strategies = [strategy for strategy, _ in begun(place)]
    changes = sum(a != b for a, b in itertools.pairwise(strategies))
    assert not takes_turns or changes >= 3
    done = place.call(
        "compare", "strategy=scratch", "strategy=regularized", "--metric", "fit_seconds", "--format", "json"
    )
    rows = [row for row in json.loads(done.stdout)["tables"][0]["rows"] if row["metric"] == "fit seconds"]
    assert (rows[0]["verdict"] in {"better", "worse", "not resolved"}) is takes_turns
    assert ("did not take turns" in rows[0]["remark"]) is not takes_turns


def test_an_order_that_does_not_exist_is_a_mistake_of_the_matrix(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX.format(order='order = "interleave"', report=""))
    done = place.call("plan")
    assert done.exit_code == 2
    assert "matrix.order: expected longest, interleaved or random" in done.stderr
