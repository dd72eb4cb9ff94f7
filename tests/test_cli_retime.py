"""`bench run --retime`: disturbed timings again, alone, and never another accuracy."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

import pytest
from cli_workplace import Workplace

from benchmark import machine_load

MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = ["scratch", "continued"]
seed = [0, 1]
backend = "fake"

[defaults]
epochs = 4

[strategy.continued]
weights = { strategy = "scratch" }
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Workplace:
    """Four finished cells on a quiet machine: the timings of the children and of one parent do not count."""
    monkeypatch.setattr(machine_load, "disturbance", lambda *_: None)
    place = Workplace(tmp_path)
    place.write(MATRIX)
    assert place.call("run").exit_code == 0
    change(place, "UPDATE execution SET timing_valid = 0, fit_seconds = 99 WHERE execution_id > 1")
    return place


def change(place: Workplace, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'execution_is_final'").fetchone()
        connection.execute("DROP TRIGGER execution_is_final")
        connection.execute(statement)
        connection.execute(trigger)
        connection.commit()


def rows(place: Workplace, statement: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(place.directory / "results.sqlite")) as connection:
        return connection.execute(statement).fetchall()


def test_disturbed_cells_run_again_alone_and_give_their_timings_alone(place):
    before = rows(place, "select cell_id, test_accuracy, digest from results where is_latest order by cell_id")
    children = "select cell_id, weights_sha256 from execution where weights_sha256 is not null order by execution_id"
    started = dict(rows(place, children))
    done = place.call("run", "--retime")
    assert done.exit_code == 0, done.stderr
    assert "4 finished cells on tester, the timings of 3 do not count" in done.stderr
    assert "3 of 3 cells have timings that count now" in done.stderr
    assert "WARNING" not in done.stderr
    assert rows(place, "select cell_id, test_accuracy, digest from results where is_latest order by cell_id") == before
    made = "select count(*), max(neighbours), min(run.name) from execution join attempt using (execution_id) "
    assert rows(place, f"{made} join run on run.run_id = execution.run_id where execution_id > 4") == [(3, 0, "retime")]
    # each starts from the weights from which its result had started, though its parent runs again as well
    assert dict(rows(place, children)) == started
    shown = place.document("report")["tables"][0]["rows"]
    assert all(each["fit_seconds"]["mean"] < 99 and each["fit_seconds"]["n"] == 2 for each in shown)


def test_what_was_timed_again_is_done(place):
    assert place.call("run", "--retime").exit_code == 0
    again = place.call("run", "--retime")
    assert (again.exit_code, "the timings of 0 do not count" in again.stderr) == (0, True)
    assert rows(place, "select count(*) from run") == [(2,)]
    planned = place.document("plan")["cells"]
    assert {cell["decision"] for cell in planned} == {"reused"}
    assert place.call("run").exit_code == 0
    assert rows(place, "select count(*) from execution") == [(7,)]


def test_other_numbers_are_said_aloud_and_change_no_accuracy(place):
    change(place, "UPDATE execution SET digest = 'other', test_accuracy = 0.123 WHERE execution_id = 2")
    done = place.call("run", "--retime", "--name", "evening")
    assert "gave other numbers when it was timed again" in done.stderr
    assert done.stderr.count("WARNING") == 1
    assert rows(place, "select test_accuracy from results where execution_id = 2 and is_latest") == [(0.123,)]
    assert rows(place, "select name from run order by run_id desc limit 1") == [("retime evening",)]


def test_a_cell_whose_parent_has_no_weights_left_is_not_timed_again(place):
    ((parent,),) = rows(place, "select cell_id from results where strategy = 'scratch' and seed = 1")
    shutil.rmtree(place.directory / "results.artifacts" / parent)
    done = place.call("run", "--retime", "--select", "strategy=continued")
    assert done.exit_code == 0, done.stderr
    assert "cannot be timed again" in done.stderr
    assert rows(place, "select count(*) from execution where execution_id > 4") == [(2,)]


def test_a_dry_run_of_it_shows_what_would_run(place):
    shown = place.document("run", "--retime", "--dry-run")["cells"]
    assert sum(cell["will_run"] for cell in shown) == 3
    assert rows(place, "select count(*) from run") == [(1,)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--retime", "--rerun"), "leave --rerun and --retry-failed out"),
        (("--name", "retime me"), "expected another name"),
        (("--name", "reproduce 12345678"), "expected another name"),
    ],
)
def test_what_cannot_go_together_is_refused(place, arguments, words):
    done = place.call("run", *arguments)
    assert (done.exit_code, words in done.stderr) == (2, True)


# ---- what only checks or times takes no place


@pytest.mark.parametrize("command", ["retime", "reproduce"])
def test_the_result_stays_the_result_everywhere(place, command):
    ((cell_id, kept),) = rows(place, "select cell_id, digest from results where execution_id = 2")
    arguments = ("run", "--retime") if command == "retime" else ("reproduce", cell_id[:8])
    assert place.call(*arguments).exit_code == 0
    assert place.document("show", cell_id[:8])["execution"]["execution_id"] == 2
    assert rows(place, f"select execution_id from results where is_latest and cell_id = '{cell_id}'") == [(2,)]
    listed = [cell for cell in place.document("list", "cells") if cell["cell_id"] == cell_id]
    assert [cell["execution_id"] for cell in listed] == [2]
    report = place.document("report")
    assert report["tables"][0]["rows"][0]["n"] == {"completed": 2, "planned": 2}
    assert place.document("plan")["cells"][0]["decision"] == "reused"
    assert kept == rows(place, "select digest from results where execution_id = 2")[0][0]


def test_a_report_after_a_reproduction_is_still_about_the_last_run_of_the_matrix(place):
    place.write(MATRIX.replace("[0, 1]", "[0, 1, 2]"))
    assert place.call("run", "--select", "seed=0|1").exit_code == 0
    before = place.call("report").stdout
    ((cell_id,),) = rows(place, "select cell_id from execution where execution_id = 1")
    assert place.call("reproduce", cell_id[:8]).exit_code == 0
    assert place.call("report").stdout == before
