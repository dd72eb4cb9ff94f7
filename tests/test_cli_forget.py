"""`bench forget`: results that reports and comparisons leave out, that all else still knows, and that come back."""

from __future__ import annotations

import importlib
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_workplace import Workplace

from benchmark.reporting.report import shown_groups
from benchmark.reporting.rows.forgotten import remember
from benchmark.reporting.tables.shown import ReportOptions
from benchmark.results.read.queries import results
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.store.reference import RESULTS

ROOT = Path(__file__).resolve().parent.parent
NOTE = "left out because they were forgotten; bench forget --undo"


class OnReference(Workplace):
    """Works on the machine that the reference results are of."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "BENCH_MACHINE": "reference"}


@pytest.fixture
def place(tmp_path) -> Workplace:
    """A folder with results of 36 cells, of twelve groups with three seeds each."""
    shutil.copy(RESULTS, tmp_path / "results.sqlite")
    shutil.copy(ROOT / "matrix.toml", tmp_path)
    return OnReference(tmp_path)


def typed(place: Workplace, *words: str):
    done = place.call(*words)
    assert done.exit_code == 0, done.stderr
    return done


def summary(place: Workplace, *more: str):
    document = place.document("report", *more)
    rows = next(table for table in document["tables"] if table["name"] == "summary")["rows"]
    return rows, [note for note in document["notes"] if "forgotten" in note], document


def seeds(row) -> int:
    """How many seeds a row of the summary is of: none is missing."""
    assert row["n"]["completed"] == row["n"]["planned"]
    return row["n"]["completed"]


def test_reports_leave_out_what_was_forgotten_and_count_it_in_one_note(place):
    rows, notes, before = summary(place)
    typed(place, "forget", "seed=0,dataset=digits", "strategy=v1")
    fewer, notes, _ = summary(place)
    assert notes == [f"9 cells are {NOTE}"]
    strategies = [row["strategy"] for row in fewer]
    assert (len(fewer), "v1" in strategies) == (len(rows) - 1, False)
    assert [seeds(row) for row in fewer] == [2 if row["dataset"] == "digits" else 3 for row in fewer]
    assert typed(place, "forget", "--undo").stderr == "9 results of 9 cells count again\n"
    del before["created_utc"]
    assert {**summary(place)[2], "created_utc": 0} == {**before, "created_utc": 0}


def test_a_note_counts_what_the_shown_selection_has_of_it(place):
    typed(place, "forget", "seed=0")
    assert summary(place, "--select", "model=resnet18")[1] == [f"2 cells are {NOTE}"]
    assert summary(place, "--select", "seed=1|2", "--table", "summary")[1] == []


def test_comparisons_leave_it_out_too(place):
    sides = ("model=resnet18,strategy=scratch", "model=resnet18,strategy=regularized")
    typed(place, "forget", "model=resnet18,seed=0", "--yes")
    compared, seen = place.document("compare", *sides), place.document("diff", *sides)
    (table,) = compared["tables"]
    assert {row["difference"]["n"] for row in table["rows"] if row["metric"] == "test accuracy"} == {2}
    assert (seen["a_n"], seen["b_n"]) == (2, 2)
    for notes in (table["notes"], seen["notes"]):
        assert notes.count(f"2 cells are {NOTE}") == 1
    judged = place.call("judge", *sides, "--campaign", "c", "--format", "json")
    assert json.loads(judged.stdout)["n"] == 2


def test_where_all_is_forgotten_no_run_is_asked_for(place):
    typed(place, "forget", "machine=reference")
    rows, notes, document = summary(place)
    assert (rows, notes) == ([], [f"36 cells are {NOTE}"])
    assert "No result is left to show." in json.dumps(document)


def test_figures_are_of_the_same_results_as_the_report(place):
    typed(place, "forget", "seed=0")
    with open_database(place.directory / "results.sqlite", mode="read") as opened:
        rows = results(opened, spec=True)
    _, groups = shown_groups(rows, (), ReportOptions())
    assert {tuple(group.completed) for group in groups} == {(1, 2)}


def test_a_side_of_which_all_is_forgotten_is_said_to_be(place):
    typed(place, "forget", "strategy=v1")
    done = place.call("compare", "strategy=v1", "strategy=v2")
    assert (done.exit_code, f"3 cells are {NOTE}" in done.stderr) == (2, True)


def test_cells_that_start_from_a_forgotten_one_stay_one_group(place):
    typed(place, "forget", "dataset=digits_low,seed=0")
    rows, notes, document = summary(place)
    assert notes == ["1 cell is left out because it was forgotten; bench forget --undo"]
    assert [seeds(row) for row in rows if row["strategy"] == "v2"] == [3]
    # what its weights have cost is still known
    assert "3.54 s more (mean)" in json.dumps(document)


def test_runs_and_all_rows_take_no_notice(place):
    asked = [
        ("plan",), ("status",), ("list", "cells"), ("why", "seed=0,model=resnet18,strategy=scratch"),
        ("query", "select count(*), sum(is_latest), avg(test_accuracy) from results"),
    ]  # fmt: skip
    before = [typed(place, *words).stdout for words in asked]
    typed(place, "forget", "dataset=digits")
    assert [typed(place, *words).stdout for words in asked] == before
    assert "; forgotten: reports leave it out" in typed(place, "show", "seed=0,model=resnet18,strategy=scratch").stdout
    assert place.document("query", "select dataset, forgotten from results where forgotten = 1 group by 1, 2") == [
        {"dataset": "digits", "forgotten": 1}
    ]
    assert not [
        each for each in json.loads(place.call("db", "check", "--format", "json").stdout) if each["kind"] != "artifact"
    ]


def test_an_id_means_its_cell_and_several_words_all_that_any_means(place):
    first, second = (row["cell_id"] for row in place.document("query", "select cell_id from results limit 2"))
    rows = place.document("forget", first[:8], f"cell_id={second}", first)
    assert [row["cell_id"] for row in rows] == [first, second]
    assert "forgotten already" in typed(place, "forget", first[:6]).stderr
    assert [row["cell_id"] for row in place.document("forget", "--undo", first[:8])] == [first]
    assert "nothing that matches is forgotten" in typed(place, "forget", "--undo", first).stderr
    typed(place, "forget", "--undo")
    assert typed(place, "forget", "--undo").stderr == "nothing is forgotten\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=resnet81"], "did you mean 'resnet18'?"),
        (["seed=0", "strategy=regularised"], "did you mean 'regularized'?"),
        (["resnet81"], "did you mean model=resnet18?"),
        (["model:resnet18"], "model=resnet18"),
        (["12"], "at least the first 4 digits"),
        (["nonsense=1"], "expected a known key"),
        (["--undo", "seed=9"], "seed is '0', '1' or '2'"),
        ([], "expected a SELECTION"),
    ],
)
def test_what_matches_nothing_ends_with_2_and_what_was_meant(words, said, place):
    done = place.call("forget", *words)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    assert place.document("query", "select count(*) as n from results where forgotten = 1") == [{"n": 0}]


def test_it_waits_its_turn_like_all_that_writes(place):
    with lock_database(place.directory / "results.sqlite"):
        busy = place.call("forget", "seed=0")
        assert (busy.exit_code, busy.stdout) == (75, "")
    assert place.call("forget", "seed=0", "--db", "nowhere.sqlite").exit_code == 2
    assert not (place.directory / "nowhere.sqlite.lock").exists()
    assert place.call("forget", "seed=0", "--db", str(RESULTS)).exit_code == 2
    elsewhere = place.call("forget", "seed=0", "--db", "./results.sqlite")
    assert "to bring back: bench forget --undo seed=0 --db ./results.sqlite" in elsewhere.stderr


@pytest.mark.parametrize(("answer", "more", "forgotten"), [("y\n", [], 12), ("\n", [], 0), ("", ["-y"], 12)])
def test_whoever_sits_at_a_terminal_is_asked(answer, more, forgotten, place, monkeypatch):
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True
    monkeypatch.setattr(
        importlib.import_module("benchmark.cli.commands.forget"), "sys", SimpleNamespace(stdin=terminal)
    )
    done = typed(place, "forget", "seed=0", *more)
    assert ("[y/N]" in done.stderr) == (not more)
    assert place.document("query", "select count(*) as n from results where forgotten = 1") == [{"n": forgotten}]


def row(number: int, cell_id: str = "a", *, forgotten: bool = False, **more):
    return {
        "execution_id": number,
        "cell_id": cell_id,
        "machine": "m",
        "status": "completed",
        "forgotten": forgotten,
        **more,
    }


def test_an_earlier_result_takes_the_place_of_a_forgotten_one_and_a_later_one_counts():
    found = remember(
        [row(1), row(2, forgotten=True), row(3, "b", forgotten=True), row(4, "b"), row(5, "c", forgotten=True)]
    )
    assert [each["execution_id"] for each in found.latest] == [1, 4]
    assert (found.cell_ids, found.older) == ({"c"}, 1)


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_a_server_forgets_and_remembers_too(target, tmp_path):
    place = Workplace(tmp_path)
    place.write(
        '[matrix]\ndataset = "digits_low"\nmodel = "simple_cnn"\nstrategy = "scratch"\nseed = [0, 1]\nbackend = "fake"'
    )
    typed(place, "run", "--db", target)
    typed(place, "forget", "seed=0", "--db", target)
    assert "1 cell is left out because it was forgotten" in typed(place, "report", "--db", target).stdout
    assert typed(place, "forget", "--undo", "--db", target).stderr == "1 result of 1 cell counts again\n"
    assert "forgotten" not in typed(place, "report", "--db", target).stdout


@pytest.mark.exhaustive
def test_a_run_until_it_is_decided_takes_no_notice(tmp_path):
    place = Workplace(tmp_path)
    place.write(
        '[matrix]\ndataset = "digits_low"\nmodel = "simple_cnn"\nstrategy = ["short", "long"]\nseed = [0, 1, 2]\n'
        'backend = "fake"\n[strategy.short]\nepochs = 2\n[strategy.long]\nepochs = 9\n'
    )
    first = place.document("run", "--resolve", "short,long")
    typed(place, "forget", "strategy=long")
    again = place.document("run", "--resolve", "short,long")
    assert (again["verdict"], again["n"], again["looks"]) == (first["verdict"], first["n"], first["looks"])
    typed(place, "run", "--rerun", "--select", "seed=0,strategy=long")
    typed(place, "forget", "--undo")
    newest = place.document("query", "select max(run_id) as run from results")[0]["run"]
    typed(place, "forget", f"run={newest}")
    said = "1 cell shows an earlier result because the latest was forgotten; bench forget --undo"
    assert said in typed(place, "report").stdout
    assert said in typed(place, "compare", "strategy=short", "strategy=long").stdout
