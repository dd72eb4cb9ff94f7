"""Databases that were made to harm their readers, that lost their `-wal` file, or whose `-wal` file grows."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
from contextlib import closing

import pytest
import sqlalchemy as sa
from results_samples import MACHINE, begin, cell, epoch, run_cell

from benchmark.errors import SchemaError, StorageError
from benchmark.results.read.queries import results
from benchmark.results.schema import versions
from benchmark.results.store import engine, journal_mode
from benchmark.results.store.database import open_database


@pytest.fixture
def filled(tmp_path):
    path = tmp_path / "results.sqlite"
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell(0)])
        run_cell(recorder, run_id, cell(0))
        recorder.finish_run(run_id, "completed", 0)
    return path


def execute(path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def test_what_the_views_and_triggers_of_this_schema_say_is_known(filled):
    with closing(sqlite3.connect(filled)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type IN ('view', 'trigger')").fetchall()
    assert {name: versions.program_digest(sql) for name, sql in found} == versions.PROGRAMS[versions.SCHEMA_VERSION]


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
HOSTILE = {
    "view results": f"DROP VIEW results; CREATE VIEW results AS {ENDLESS} max(i) FROM n;",
    "view history": "DROP VIEW history; CREATE VIEW history AS SELECT load_extension('x') FROM epoch;",
    "trigger evil": "CREATE TRIGGER evil AFTER INSERT ON run BEGIN DELETE FROM epoch; END;",
    "trigger execution_is_final": (
        "DROP TRIGGER execution_is_final; CREATE TRIGGER execution_is_final BEFORE UPDATE ON execution "
        "BEGIN DELETE FROM attempt; END;"
    ),
    "table artifact without size_bytes": "ALTER TABLE artifact DROP COLUMN size_bytes;",
    "table artifact": "ALTER TABLE artifact ADD COLUMN more TEXT GENERATED ALWAYS AS (hex(zeroblob(100000000)));",
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("mode", ["read", "write"])
def test_views_triggers_and_tables_of_others_are_refused_before_anything_is_read(what, mode, filled):
    execute(filled, HOSTILE[what])
    with (
        pytest.raises(SchemaError, match=rf"found others: '{what}'.*bench db salvage"),
        open_database(filled, mode=mode),
    ):
        pass


def test_a_virtual_table_in_the_place_of_ours_is_refused(filled):
    execute(filled, "PRAGMA foreign_keys=OFF; DROP TABLE artifact; CREATE VIRTUAL TABLE artifact USING fts5(path);")
    with pytest.raises(SchemaError, match="table artifact"), open_database(filled, mode="read"):
        pass


def test_what_users_add_for_themselves_stays(filled):
    execute(filled, "CREATE VIEW best AS SELECT max(test_accuracy) FROM results; CREATE TABLE notes (text);")
    execute(filled, "CREATE INDEX mine ON execution (test_accuracy); DROP TRIGGER attempt_is_final;")
    for mode in ("read", "write"):
        with open_database(filled, mode=mode) as database:
            assert len(results(database)) == 1


def test_reading_is_broken_off_when_it_takes_far_longer_than_it_can(filled, monkeypatch):
    monkeypatch.setattr(engine, "READING_STEPS", 20)
    with open_database(filled, mode="read") as database:
        assert len(results(database)) == 1
        with pytest.raises(StorageError, match="far longer than its size explains"), database.reading() as connection:
            connection.execute(sa.text(f"{ENDLESS} count(*) FROM n"))


def test_the_functions_of_others_are_not_called_by_a_view(filled):
    execute(filled, "CREATE VIEW evil AS SELECT load_extension('/tmp/evil.so');")
    with (
        open_database(filled, mode="read") as database,
        pytest.raises(sa.exc.OperationalError),
        database.reading() as one,
    ):
        one.execute(sa.text("SELECT * FROM evil"))


def test_a_lost_wal_is_noticed_by_readers_too(tmp_path, caplog):
    path, copy = tmp_path / "results.sqlite", tmp_path / "copy.sqlite"
    database = open_database(path, mode="write")
    begin(database, [cell()])
    with open_database(path, mode="read"):
        assert not caplog.text
    # in another process: opening the file in this one would drop SQLite's locks
    subprocess.run(["cp", path, copy], check=True)
    database.close()
    caplog.clear()
    with open_database(copy, mode="read"):
        assert "its -wal file is missing" in caplog.text
    caplog.clear()
    with open_database(path, mode="read"):
        assert not caplog.text


def test_a_wal_that_a_reader_keeps_growing_is_warned_of_once_and_emptied_at_the_end(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(journal_mode, "LONG_WAL_BYTES", 200_000)
    path = tmp_path / "results.sqlite"
    with open_database(path, mode="write") as database, caplog.at_level(logging.WARNING):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        start = recorder.start_attempt(run_id, cell(0).cell_id, MACHINE)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM epoch").fetchone()
        for number in range(1, 60):
            recorder.record(start.attempt_id, epoch(number))
        reader.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "-wal has grown to" in said[0]
    assert {file.name for file in tmp_path.iterdir()} == {"results.sqlite"}
