"""Files may move and take other names; what users see stays: ids, views, answers, exit codes. Seen from outside only.

`python -m tests.make_unmoved_fixture` makes the golden files anew after a change that is meant.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from unmoved import (
    CELL,
    COUNT,
    GOLDEN,
    HELD,
    MISTAKES,
    OUTPUTS,
    ROOT,
    VIEWS,
    WIDE,
    ask,
    dump,
    ends,
    environment,
    furnish,
    golden,
    in_digits_of,
    named_plans,
    outputs,
    random_plans,
    rehearsed,
    schema,
    views,
)
from unmoved_matrices import SINCE, VALUES, Matrix

CELLS = json.loads(golden("cells.json"))
VIEWED = json.loads(golden("views.json"))
ENDS = json.loads(golden("ends.json"))
NAMED = [name for name in CELLS if not name.isdecimal()]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the committed matrix and the reference results; nobody changes them."""
    return furnish(tmp_path_factory.mktemp("unmoved"))


@pytest.fixture(scope="module")
def named(place):
    return named_plans(place)


@pytest.fixture(scope="module")
def by_chance(place):
    return random_plans(place)


@pytest.fixture(scope="module")
def answered(place):
    return outputs(place)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    return ends(furnish(tmp_path_factory.mktemp("ends")))


def bench(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The program itself, as users start it."""
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments],
        cwd=folder,
        env={**environment(folder), "COLUMNS": "100", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


# ---- cells


@pytest.mark.parametrize("name", NAMED)
def test_the_committed_matrix_and_every_preset_come_to_the_same_cells(name, named):
    assert named[name]["text"] == CELLS[name]["text"], f"{name} says something else now: its cells may be others"
    assert named[name]["cells"] == CELLS[name]["cells"]
    assert named[name]["left_out"] == CELLS[name]["left_out"]


def test_no_preset_is_gone_or_new(named):
    assert set(named) == set(NAMED)


def test_the_matrices_by_chance_are_the_ones_that_were_planned_before(by_chance):
    changed = [number for number, plan in by_chance.items() if plan["text"] != CELLS[number]["text"]]
    assert not changed, "tests/unmoved_matrices.py writes other matrices now, so their ids say nothing"


def test_matrices_by_chance_come_to_the_same_cells_in_the_same_order(by_chance):
    keys = ("code", "cells", "left_out")
    moved = [number for number, plan in by_chance.items() if any(plan.get(k) != CELLS[number].get(k) for k in keys)]
    assert not moved
    assert set(by_chance) == set(CELLS) - set(NAMED)


def test_everything_else_that_a_plan_says_stays_too(named, by_chance):
    said = json.loads(golden("plans.json"))
    changed = [name for name, plan in {**named, **by_chance}.items() if plan["plan"] != said[name]["plan"]]
    assert not changed, "settings, status, parents, reasons or notes of these plans are others"


def test_most_matrices_by_chance_come_to_cells(by_chance):
    counts = [len(plan.get("cells", ())) for plan in by_chance.values()]
    assert len(counts) == COUNT
    assert sum(map(bool, counts)) > 0.8 * COUNT
    assert len({cell for plan in by_chance.values() for cell in plan.get("cells", ())}) > 4 * COUNT


def test_the_matrices_by_chance_say_all_that_the_grammar_has():
    texts = [Matrix(number).text for number in range(COUNT)]
    said = Counter(word for text in texts for word in set(re.findall(r"^(\w+) = ", text, re.MULTILINE)))
    page = (ROOT / "docs" / "matrix.md").read_text(encoding="utf-8")
    settings = re.findall(r"^\| `(\w+)` \| (?:cell|data|model|stage) \|", page, re.MULTILINE)
    assert set(settings) == set(VALUES) | SINCE
    others = ("extends", "label", "weights", "classes", "source", "version", "filters", "dense_units", "architecture")
    assert all(said[word] >= 5 for word in (*VALUES, *others))
    whole = "".join(texts)
    headers = ("[[matrix.zip]]", "[[matrix.include]]", "[[matrix.exclude]]", "[[matrix.override]]", "[defaults]")
    values = ('"imagenet"', '"file:', "weights = {", "keras:", "plugin:", "folder:", "npz:", "tfds:", "last:")
    assert all(whole.count(text) >= 5 for text in (*headers, *values, ".stage]]"))


def test_the_program_itself_says_what_the_many_commands_in_one_process_say(place, by_chance):
    usable = [number for number, plan in by_chance.items() if plan.get("cells")]
    numbers = [usable[0], usable[-1]]
    for number, gpus in zip(numbers, ("", "First,Second"), strict=True):
        options = ["--matrix", f"{number}.toml", "--db", "none.sqlite", *Matrix(int(number)).options]
        done = bench(place, "plan", "--format", "json", *options, BENCH_TEST_GPUS=gpus)
        assert [cell["cell_id"] for cell in json.loads(done.stdout)["cells"]] == CELLS[number]["cells"]


# ---- the database


def test_the_views_have_their_columns_and_their_rows(place):
    assert views(place / "results.sqlite") == VIEWED


def test_a_database_made_today_has_the_schema_and_the_views_of_the_reference_results(place, tmp_path):
    made = tmp_path / "made.sqlite"
    (done,) = ask(place, [["db", "merge", str(made), "results.sqlite"]])
    assert done.code == 0, done.stderr
    assert schema(made) == schema(place / "results.sqlite")
    assert views(made) == VIEWED


def test_the_committed_results_have_the_same_columns(tmp_path):
    found = views(Path(shutil.copy(ROOT / "results.sqlite", tmp_path)))
    assert {view: found[view]["columns"] for view in VIEWS} == {view: VIEWED[view]["columns"] for view in VIEWS}


def test_what_is_exported_is_what_the_views_hold(place, tmp_path):
    (done,) = ask(place, [["db", "export", str(tmp_path), "--format", "json"]])
    assert done.code == 0, done.stderr
    for view in ("results", "history"):
        expected = VIEWED[view]
        rows = json.loads((tmp_path / f"{view}.json").read_text(encoding="utf-8"))
        assert (list(rows[0]), len(rows)) == (expected["columns"], expected["rows"])


def test_no_cell_of_the_committed_matrix_runs_again(place):
    (done,) = ask(place, [["plan", "--machine", "reference", "--format", "json"]])
    document = json.loads(done.stdout)
    assert document["counts"] == {"completed": len(CELLS["matrix.toml"]["cells"])}
    assert {cell["status"] for cell in document["cells"]} == {"completed"}
    assert document["left_out"] == []


# ---- answers


@pytest.mark.parametrize("name", [*OUTPUTS, *WIDE])
def test_a_command_answers_as_before(name, answered):
    expected = golden(f"outputs/{name}")
    assert in_digits_of(answered[name], expected) == expected


def test_no_answer_is_kept_that_nobody_asks_for():
    assert {path.name for path in (GOLDEN / "outputs").iterdir()} == {*OUTPUTS, *WIDE}


def test_the_program_itself_prints_the_report(place):
    done = bench(place, "report")
    assert (done.returncode, done.stdout) == (0, golden("outputs/report.txt"))


def test_a_run_that_trains_nothing_records_the_same_epochs(place):
    expected = golden("rehearsal.csv")
    assert in_digits_of(rehearsed(place), expected) == expected


def test_last_digits_alone_may_be_others():
    kept = "p = 0.123456789012, 12 of 13, e 1.5e-05"
    assert in_digits_of("p = 0.123456789013, 12 of 13, e 1.5e-05", kept) == kept
    for other in (
        "p = 0.123456889012, 12 of 13, e 1.5e-05",
        "p = 0.123456789012, 12 of 14, e 1.5e-05",
        "p = 0.123456789012",
    ):
        assert in_digits_of(other, kept) != kept


# ---- ends


@pytest.mark.parametrize("name", [*MISTAKES, *HELD])
def test_a_command_ends_with_its_exit_code_and_says_why(name, ended):
    assert ended[name] == ENDS[name]


def test_the_ends_that_are_held_are_those_that_the_readme_promises():
    assert {record["code"] for record in ENDS.values()} == {0, 2, 3, 4, 75}
    assert set(ENDS) == {*MISTAKES, *HELD}


@pytest.mark.parametrize(
    "name",
    [
        "a comparison that fails a build",
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("an unknown cell", "a text for a database")),
    ],
)
def test_the_program_itself_ends_with_that_code(name, tmp_path):
    furnish(tmp_path)
    (tmp_path / "text.sqlite").write_text("not a database, and long enough to be one\n" * 20)
    assert bench(tmp_path, *MISTAKES[name]).returncode == ENDS[name]["code"]


# ---- the tests themselves


def test_a_golden_file_is_read_back_as_it_was_written():
    assert json.loads(dump(ENDS)) == ENDS


def test_a_moved_id_is_seen(named):
    assert CELL in named["matrix.toml"]["cells"]
    assert [*named["matrix.toml"]["cells"][1:], "0" * 20] != CELLS["matrix.toml"]["cells"]


def test_a_view_with_another_row_is_seen(place, tmp_path):
    copy = Path(shutil.copy(place / "results.sqlite", tmp_path))
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        connection.execute("update run set name = 'another'")
        connection.commit()
    found, expected = views(copy)["results"], VIEWED["results"]
    assert found["sha256"] != expected["sha256"]
    assert found["columns"] == expected["columns"]
