"""One folder of artifacts belongs to one database, however the databases beside each other are called."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_workplace import Workplace

MATRIX = """
[matrix]
dataset = "digits"
model = "simple_cnn"
strategy = "scratch"
seed = [0, 1]
backend = "fake"
[defaults]
epochs = 2
"""

ALIKE = [
    pytest.param("run.2026-01", "run.2026-02", marks=pytest.mark.exhaustive),
    ("x.db", "x.sqlite"),
    pytest.param("x.1", "x", marks=pytest.mark.exhaustive),
    pytest.param("x", "x.sqlite", marks=pytest.mark.exhaustive),
    pytest.param("a b.db", "a b.db3", marks=pytest.mark.exhaustive),
]


@pytest.fixture
def place(tmp_path):
    place = Workplace(tmp_path)
    place.write(MATRIX)
    return place


def run(place: Workplace, database: str, *arguments: str) -> str:
    done = place.call("run", "--db", database, *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stderr


def is_whole(place: Workplace, database: str) -> bool:
    return place.call("db", "check", "--db", database).exit_code == 0


def trained(place: Workplace, database: str) -> int:
    """How many attempts trained from their first epoch on."""
    question = "select count(*) as n from attempt where last_epoch = 2 and resumed_from_epoch is null"
    return json.loads(place.call("query", question, "--db", database, "--format", "json").stdout)[0]["n"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_databases_of_like_names_have_folders_of_their_own(one, other, place):
    run(place, one)
    assert "belongs to the database" in run(place, other)
    assert trained(place, other) == 2
    for database in (one, other):
        assert place.call("gc", "--delete", "--db", database).exit_code == 0
        assert is_whole(place, one)
        assert is_whole(place, other)
        assert trained(place, database) == 2
        run(place, database)
        assert trained(place, database) == 2, "what is finished is found again"


def test_a_database_that_is_begun_anew_leaves_the_files_of_the_one_before_alone(place):
    run(place, "results.sqlite")
    before = files(place.directory / "results.artifacts")
    (place.directory / "results.sqlite").rename(place.directory / "kept.sqlite")
    for _ in range(2):
        run(place, "results.sqlite")
        assert trained(place, "results.sqlite") == 2
        assert is_whole(place, "results.sqlite")
        assert files(place.directory / "results.artifacts") == before
        (place.directory / "results.sqlite").unlink()
    (place.directory / "kept.sqlite").rename(place.directory / "results.sqlite")
    assert is_whole(place, "results.sqlite")


@pytest.mark.parametrize(
    ("keeps", "marked"),
    [
        (True, True),
        pytest.param(True, False, marks=pytest.mark.exhaustive),
        pytest.param(False, True, marks=pytest.mark.exhaustive),
        (False, False),
    ],
)
def test_moved_or_copied_with_its_folder_a_database_finds_its_files(keeps, marked, place):
    run(place, "one.sqlite")
    if not marked:
        (place.directory / "one.artifacts" / ".made-by-bench").unlink()
    shutil.copy(place.directory / "one.sqlite", place.directory / "two.db")
    shutil.copytree(place.directory / "one.artifacts", place.directory / "two.artifacts")
    if not keeps:
        (place.directory / "one.sqlite").unlink()
        shutil.rmtree(place.directory / "one.artifacts")
    for database in ("two.db", "one.sqlite")[: 1 + keeps]:
        assert is_whole(place, database)
        run(place, database)
        assert trained(place, database) == 2
        assert place.call("gc", "--delete", "--db", database).exit_code == 0
        assert is_whole(place, database)
    assert sorted(path.name for path in place.directory.glob("*.artifacts")) == [
        *["one.artifacts"] * keeps,
        "two.artifacts",
    ]


def test_a_copy_of_a_like_name_takes_its_files_along_when_it_is_written(place):
    run(place, "x.db")
    shutil.copy(place.directory / "x.db", place.directory / "x.sqlite")
    assert is_whole(place, "x.sqlite"), "it is read where the original has them"
    assert place.call("gc", "--delete", "--db", "x.sqlite").exit_code == 2
    run(place, "x.sqlite", "--set", "epochs=3")
    run(place, "x.sqlite")
    assert trained(place, "x.sqlite") == 2, "the cells of the original were not trained again"
    shutil.rmtree(place.directory / "x.artifacts")
    assert is_whole(place, "x.sqlite")


def test_a_folder_without_a_mark_is_taken_by_the_database_whose_files_are_in_it(place):
    run(place, "results.sqlite")
    mark = place.directory / "results.artifacts" / ".made-by-bench"
    mark.unlink()
    run(place, "results.db")
    assert not mark.read_text()
    assert trained(place, "results.db") == 2
    run(place, "results.sqlite", "--rerun")
    assert json.loads(mark.read_text())["database"] == "results.sqlite"
    assert is_whole(place, "results.sqlite")
    assert is_whole(place, "results.db")


def test_of_a_folder_that_two_have_used_before_there_were_marks_nothing_is_deleted(place):
    run(place, "x.db", "--select", "seed=0")
    run(place, "x.sqlite", "--select", "seed=1")
    (own,) = place.directory.glob("x.sqlite-*.artifacts")
    shared = place.directory / "x.artifacts"
    shutil.copytree(own, shared, dirs_exist_ok=True)
    shutil.rmtree(own)
    (shared / ".made-by-bench").unlink()
    before = files(shared)
    for database in ("x.db", "x.sqlite"):
        assert is_whole(place, database)
        refused = place.call("gc", "--delete", "--db", database)
        assert refused.exit_code == 2
        assert "attempts that this database does not know have used it" in refused.stderr
    run(place, "x.db", "--select", "seed=0")
    run(place, "x.sqlite", "--select", "seed=1")
    assert trained(place, "x.db") == trained(place, "x.sqlite") == 1
    for database in ("x.db", "x.sqlite"):
        assert place.call("gc", "--delete", "--db", database).exit_code == 0
    assert before.items() <= files(shared).items()
    assert is_whole(place, "x.db")
    assert is_whole(place, "x.sqlite")


def test_merged_and_salvaged_databases_have_their_files(place):
    run(place, "one.sqlite", "--select", "seed=0")
    run(place, "two.sqlite", "--select", "seed=1")
    assert place.call("db", "merge", "all.sqlite", "one.sqlite", "two.sqlite").exit_code == 0
    assert is_whole(place, "all.sqlite")
    run(place, "all.sqlite")
    assert trained(place, "all.sqlite") == 2
    assert place.call("db", "salvage", "all.sqlite", "rescued.sqlite").exit_code == 0
    (place.directory / "rescued.sqlite").rename(place.directory / "all.sqlite")
    assert is_whole(place, "all.sqlite")
    run(place, "all.sqlite")
    assert trained(place, "all.sqlite") == 2
    assert place.call("gc", "--delete", "--db", "all.sqlite").exit_code == 0
    assert is_whole(place, "all.sqlite")


def later(place: Workplace, how: str) -> None:
    """What the database does after its copy was made."""
    if how == "killed":
        fault = place.run("run", "--set", "epochs=3", "--jobs", "1", BENCH_FAULT="launch:2:kill9")
        assert fault.returncode == -9
    else:
        run(place, "results.sqlite", *{"more": ("--set", "epochs=3"), "again": ("--rerun",)}[how])


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("more", marks=pytest.mark.exhaustive),
        pytest.param("again", marks=pytest.mark.exhaustive),
        "killed",
    ],
)
def test_an_older_backup_never_touches_what_came_after_it(how, place):
    database, kept = place.directory / "results.sqlite", place.directory / "newer.sqlite"
    run(place, "results.sqlite")
    assert place.call("db", "backup", "backup.sqlite").exit_code == 0
    later(place, how)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    before = files(place.directory / "results.artifacts")
    database.rename(kept)
    for number in (1, 2):
        shutil.copy(place.directory / "backup.sqlite", database)
        assert is_whole(place, "results.sqlite"), "files are read where they are"
        refused = place.call("gc", "--delete")
        assert (refused.exit_code, "attempts that this database does not know" in refused.stderr) == (2, True)
        run(place, "results.sqlite", "--set", f"epochs={3 + number}")
        assert place.call("gc", "--delete").exit_code == 0
        assert is_whole(place, "results.sqlite")
        assert len(list(place.directory.glob("results.sqlite-*.artifacts"))) == number
    assert {name: files(place.directory / "results.artifacts")[name] for name in before} == before
    database.unlink()
    kept.rename(database)
    assert is_whole(place, "results.sqlite")
    run(place, "results.sqlite")
    assert len(list(place.directory.glob("*.artifacts"))) == 3, "it has its folder again"


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.exhaustive), 2])
def test_copies_that_share_a_folder_by_a_link_part_when_they_go_their_own_ways(steps, place):
    run(place, "results.sqlite")
    shared = (place.directory / "results.artifacts").rename(place.directory / "shared")
    (place.directory / "results.artifacts").symlink_to(shared)
    copy = Workplace(place.directory / "copy")
    copy.directory.mkdir()
    for name in ("results.sqlite", "matrix.toml"):
        shutil.copy(place.directory / name, copy.directory / name)
    (copy.directory / "results.artifacts").symlink_to(shared)
    run(place, "results.sqlite", "--set", "epochs=3")
    for step in range(steps):
        run(copy, "results.sqlite", "--set", f"epochs={4 + step}")
    assert copy.call("gc", "--delete").exit_code == 0
    assert is_whole(place, "results.sqlite")
    assert is_whole(copy, "results.sqlite")
    run(place, "results.sqlite", "--set", "epochs=5")
    assert place.call("gc", "--delete").exit_code == 0
    for each in (place, copy):
        assert is_whole(each, "results.sqlite")


def test_a_folder_that_was_given_the_name_of_another_is_left_alone(place):
    run(place, "one.sqlite")
    run(place, "two.sqlite", "--select", "seed=0")
    shutil.rmtree(place.directory / "two.artifacts")
    (place.directory / "one.artifacts").rename(place.directory / "two.artifacts")
    before = files(place.directory / "two.artifacts")
    refused = place.call("gc", "--delete", "--db", "two.sqlite")
    assert (refused.exit_code, "it belongs to the database one.sqlite" in refused.stderr) == (2, True)
    run(place, "two.sqlite", "--rerun")
    assert files(place.directory / "two.artifacts") == before
    (place.directory / "two.artifacts").rename(place.directory / "one.artifacts")
    assert is_whole(place, "one.sqlite")
    assert is_whole(place, "two.sqlite")
