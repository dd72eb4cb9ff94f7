"""What is refused as a results database, and a file that is taken away from under a run."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from results_samples import MACHINE, begin, cell, epoch, query
from test_results_database import files_of, with_one_cell

from benchmark import layout
from benchmark.errors import NotFoundError, SchemaError, StorageError
from benchmark.results.read.queries import results
from benchmark.results.schema.tables import SCHEMA_VERSION
from benchmark.results.store.database import open_database


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.sqlite"


@pytest.fixture
def filled(path):
    return with_one_cell(path)


def test_reading_what_is_not_there_names_the_command_that_makes_it(path):
    with pytest.raises(NotFoundError, match="bench run"):
        open_database(path, mode="read")
    assert not path.exists()
    path.touch()
    with pytest.raises(NotFoundError, match="bench run"):
        open_database(path, mode="read")


def test_an_empty_file_is_a_new_database_unless_artifacts_lie_beside_it(path):
    path.touch()
    open_database(path, mode="write").close()
    path.unlink()
    path.touch()
    root = layout.artifacts_folder(path)
    root.mkdir()
    open_database(path, mode="write").close()
    path.write_bytes(b"")
    (root / "abc").mkdir()
    for mode in ("write", "read"):
        with pytest.raises(StorageError, match=r"the file is empty, but results\.artifacts beside it is not"):
            open_database(path, mode=mode)
    assert path.stat().st_size == 0


def damaged(kind, path):
    match kind:
        case "text":
            path.write_text("This is not a database, but it is long enough to be taken for one. " * 20)
        case "truncated":
            os.truncate(path, path.stat().st_size // 2)
        case "page":
            with path.open("r+b") as file:
                file.seek(4096 * 3)
                file.write(b"\xff" * 4096)
        case "schema page":
            with path.open("r+b") as file:
                file.seek(100)
                file.write(b"\xff" * 3996)
        case "letter of the schema":
            content = path.read_bytes()
            assert b"prediction_is_final_insert" in content
            path.write_bytes(content.replace(b"prediction_is_final_insert", b"prediction_is_f\xf4nal_insert"))


@pytest.mark.parametrize("kind", ["text", "truncated", "page", "schema page", "letter of the schema"])
def test_a_damaged_file_is_refused_with_its_name_and_not_touched(filled, kind):
    damaged(kind, filled)
    before = hashlib.sha256(filled.read_bytes()).digest()
    with pytest.raises(StorageError, match=r"results\.sqlite: .*(not a SQLite database|damaged)") as caught:
        open_database(filled, mode="write")
    assert caught.value.exit_code == 4
    assert hashlib.sha256(filled.read_bytes()).digest() == before
    assert files_of(filled.parent) == {"results.sqlite"}


@pytest.mark.parametrize(
    ("make", "said"),
    [(Path.mkdir, "got a folder"), (os.mkfifo, "got a pipe"), (lambda path: path.symlink_to("/dev/null"), "a device")],
)
def test_what_is_no_file_is_refused_by_its_kind(path, make, said):
    make(path)
    for mode in ("read", "write"):
        with pytest.raises(StorageError, match=said):
            open_database(path, mode=mode)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"does not exist.*mkdir"):
        open_database(tmp_path / "nowhere" / "results.sqlite", mode="write")


def test_a_foreign_database_is_never_touched(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE run (a)")
        connection.commit()
    before = path.read_bytes()
    for mode in ("read", "write"):
        with pytest.raises(SchemaError, match="not one that bench made"):
            open_database(path, mode=mode)
    query(path, "PRAGMA application_id = 1196444487")
    with pytest.raises(SchemaError, match="0x47504b47"):
        open_database(path, mode="write")
    assert query(path, "SELECT name FROM sqlite_schema") == [("run",)]
    assert len(before) == path.stat().st_size


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_newer_schema_names_the_version_and_an_older_one_the_command(filled, mode):
    query(filled, f"PRAGMA user_version = {SCHEMA_VERSION + 4}")
    with pytest.raises(SchemaError, match=rf"version {SCHEMA_VERSION + 4}, this bench knows .* {SCHEMA_VERSION}\b"):
        open_database(filled, mode=mode)
    query(filled, "PRAGMA user_version = 0")
    with pytest.raises(SchemaError, match="bench db upgrade"):
        open_database(filled, mode=mode)


def test_a_database_whose_tables_were_replaced_is_refused(filled):
    with closing(sqlite3.connect(filled)) as connection:
        connection.executescript("DROP TABLE artifact; CREATE VIEW artifact AS SELECT 1; DROP VIEW history;")
    with pytest.raises(SchemaError, match=r"table artifact \(is a view\), view history \(missing\)"):
        open_database(filled, mode="read")


def test_deleted_in_the_middle_the_file_is_missed_before_the_next_commit_and_saved_under_a_new_name(path):
    database = open_database(path, mode="write")
    recorder, run_id = begin(database, [cell()])
    start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
    recorder.record(start.attempt_id, epoch(1))
    path.unlink()
    with pytest.raises(StorageError, match=r"deleted, renamed or replaced.*recovered-.*sqlite.*mv "):
        recorder.record(start.attempt_id, epoch(2))
    with pytest.raises(StorageError, match="deleted"):
        recorder.record(start.attempt_id, epoch(3))
    database.close()
    (saved,) = path.parent.glob("results.recovered-*.sqlite")
    with open_database(saved, mode="read") as reader:
        assert results(reader)[0]["epochs"] == 2
    assert not path.exists()


def test_replaced_in_the_middle_the_other_file_is_not_written(filled):
    database = open_database(filled, mode="write")
    other = filled.with_name("other.sqlite")
    open_database(other, mode="write").close()
    other.replace(filled)
    with pytest.raises(StorageError, match="replaced"):
        begin(database, [cell(1)])
    database.close()
    side = filled.with_name("results.sqlite-wal")
    side.unlink(missing_ok=True)
    assert query(filled, "SELECT count(*) FROM run") == [(0,)]
