"""SQLite's own shell in `bench db salvage`: where it is of no use pages are read, and nothing that it writes is executed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from results_samples import begin, cell, query, run_cell

from benchmark.results.care import sqlite_shell
from benchmark.results.care.salvage import salvage
from benchmark.results.schema.versions import TABLE_NAMES
from benchmark.results.store.database import open_database


@pytest.fixture
def sound(tmp_path) -> Path:
    path = tmp_path / "results.sqlite"
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell(), epochs=2)
        recorder.finish_run(run_id, "completed", 0)
    return path


def rows(path: Path) -> dict[str, list]:
    return {name: query(path, f"SELECT * FROM {name}") for name in TABLE_NAMES}


ROW = "INSERT OR IGNORE INTO 'cell'(_rowid_, 'cell_id') VALUES (1, 'x');"
SHELLS = {
    "it knows no .recover": "echo 'Error: unknown command' >&2; exit 1",
    "it stops halfway": f'echo "{ROW}"; echo "sql error: database disk image is malformed" >&2; exit 1',
    "it is killed": "kill -9 $$",
    "it finds nothing": "exit 0",
    "it finds nothing that holds": f'echo "{ROW}"',
    "it never ends": "exec /bin/sleep 60",
}


@pytest.mark.parametrize("why", SHELLS)
def test_where_the_shell_is_of_no_use_pages_are_read(why, sound, tmp_path, monkeypatch):
    install(SHELLS[why], tmp_path, monkeypatch)
    monkeypatch.setattr(sqlite_shell, "LEAST_SECONDS", 0.2)
    saved = salvage(sound, tmp_path / "new.sqlite")
    assert (saved.complete, saved.by_shell) == (True, False)
    assert rows(tmp_path / "new.sqlite") == rows(sound)


FOREIGN = """\
CREATE TRIGGER stolen AFTER INSERT ON run BEGIN DELETE FROM cell; END;
CREATE VIEW results AS SELECT load_extension('x');
INSERT INTO sqlite_schema VALUES ('view', 'v', 'v', 0, 'CREATE VIEW v AS SELECT 1');
ATTACH 'other.sqlite' AS other;
INSERT OR IGNORE INTO 'run'('run_id', 'machine', 'executor', 'started_utc', 'state') VALUES
INSERT OR IGNORE INTO 'run'('run_id', 'machine', 'executor', 'started_utc', 'state') VALUES (1, 'lab', 'local', '2026-01-01T00:00:00.000Z', 'completed');
INSERT OR IGNORE INTO 'run'('run_id', 'machine', 'executor', 'started_utc', 'state') VALUES (2, load_extension('x'), 'local', 'x', 'completed');
INSERT OR IGNORE INTO 'run'('run_id', 'machine', 'executor', 'started_utc', 'state') VALUES (3, 'lab', 'local', '2026-01-01T00:00:00.000Z', 'happy');
INSERT OR IGNORE INTO 'run'('run_id', 'machine', 'executor', 'started_utc', 'state') VALUES (4, x'00', 'local', '2026-01-01T00:00:00.000Z', 'failed');
INSERT OR IGNORE INTO 'run'('run_id', 'evil') VALUES (5, 'x');
INSERT OR IGNORE INTO 'run'('run_id') SELECT 6;
"""


def test_of_what_a_shell_writes_rows_that_are_valid_are_taken_and_nothing_is_executed(sound, tmp_path, monkeypatch):
    install(f"cat <<'END'\n{FOREIGN}END", tmp_path, monkeypatch)
    saved = salvage(sound, tmp_path / "new.sqlite")
    assert saved.by_shell
    assert query(tmp_path / "new.sqlite", "SELECT run_id, machine, state FROM run") == [(1, "lab", "completed")]
    assert saved.bad_rows == 4
    assert query(tmp_path / "new.sqlite", "SELECT name FROM sqlite_schema") == query(
        sound, "SELECT name FROM sqlite_schema"
    )
    assert not (tmp_path / "other.sqlite").exists()


def install(script: str, folder: Path, monkeypatch) -> None:
    """Puts a program called sqlite3 that does this before all others."""
    shell = folder / "bin" / "sqlite3"
    shell.parent.mkdir()
    shell.write_text(f"#!/bin/sh\n{script}\n")
    shell.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shell.parent}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("NULL", None), ("-7", -7), ("4.10000000000000031086e-01", 0.41000000000000003), ("-Inf", -math.inf),
        ("1e999", math.inf), ("x'00ff'", b"\x00\xff"), ("'it''s, (1);'", "it's, (1);"), ("''", ""),
        (r"replace('a\nb','\n',char(10))", "a\nb"),
        (r"replace(replace('a\rb\nc','\n',char(10)),'\r',char(13))", "a\rb\nc"),
        (r"unistr('a\u000ab\\c')", "a\nb\\c"),
    ],
)  # fmt: skip
def test_constants_of_the_shell_are_read_as_they_are(sql, value, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text(f"INSERT OR IGNORE INTO 'run'('a', 'b') VALUES (1, {sql});\n")
    assert list(sqlite_shell.Script(script).rows("run")) == [{"a": 1, "b": value}]
