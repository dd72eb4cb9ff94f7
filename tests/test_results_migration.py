from __future__ import annotations

import json
import lzma
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
from results_samples import MACHINE, PREDICTIONS, VALIDATION, begin, cell, query, run_cell

from benchmark.errors import BusyError, NotFoundError, SchemaError
from benchmark.results.care.check import check_database
from benchmark.results.read.queries import cell_detail, history, predictions, results
from benchmark.results.read.runs import all_runs, run_cells
from benchmark.results.read.user_query import read_only_query
from benchmark.results.schema import migrate, versions
from benchmark.results.schema.tables import SCHEMA_VERSION, TABLES
from benchmark.results.store import upgrade
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.store.upgrade import upgrade_database
from benchmark.results.write.encoded_outcomes import encoded_outcomes

FIXTURES = Path(__file__).with_name("fixtures") / "schema"

# rebuilds the table that all others refer to, which is where SQLite has its traps
SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    found = op.get_bind().exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE type = 'view'").fetchall()
    for name, _ in found:
        op.execute(f"DROP VIEW {name}")
    with op.batch_alter_table("run", recreate="always") as table:
        table.add_column(sa.Column("mood", sa.Text))
    for _, sql in found:
        op.execute(sql)
    MORE
"""


@pytest.fixture
def path(tmp_path):
    """A database of the newest released version."""
    return Path(shutil.copy(FIXTURES / f"v{SCHEMA_VERSION}.sqlite", tmp_path / "results.sqlite"))


@pytest.fixture
def first(tmp_path):
    """A database of the first version."""
    return Path(shutil.copy(FIXTURES / "v1.sqlite", tmp_path / "results.sqlite"))


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """A program that is one schema version ahead; returns a function that adds lines to its migration."""

    def install(more="pass"):
        scripts = tmp_path / "scripts"
        shutil.copytree(migrate.SCRIPTS, scripts, dirs_exist_ok=True)
        (scripts / "versions" / "0003_mood.py").write_text(SECOND.replace("MORE", more))
        monkeypatch.setattr(migrate, "migrate", partial(migrate.migrate, scripts=scripts))
        monkeypatch.setattr(versions, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        monkeypatch.setattr(upgrade, "SCHEMA_VERSION", SCHEMA_VERSION + 1)

    return install


def test_the_newest_migration_is_the_version_that_the_program_names():
    numbers = [int(file.name[:4]) for file in (migrate.SCRIPTS / "versions").glob("0*.py")]
    assert sorted(numbers) == list(range(1, SCHEMA_VERSION + 1))
    assert tuple(table.name for table in TABLES) == versions.TABLE_NAMES


def test_there_is_a_database_of_every_released_version():
    assert sorted(file.name for file in FIXTURES.iterdir()) == [f"v{n}.sqlite" for n in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("v*.sqlite")), ids=lambda file: file.stem)
def test_databases_of_all_released_versions_can_be_upgraded_read_and_written(file, tmp_path):
    path = Path(shutil.copy(file, tmp_path / "results.sqlite"))
    upgrade_database(path)
    with open_database(path, mode="read") as database:
        rows = {row["seed"]: row for row in results(database)}
        assert [rows[seed]["status"] for seed in range(5)] == [
            "completed",
            "interrupted",
            "diverged",
            "failed",
            "blocked",
        ]
        assert rows[0]["test_accuracy"] == 0.9
        told = history(database, [rows[2]["execution_id"]])
        assert repr([one["train_loss"] for one in told]) == "[1.0, nan]"
        assert told[1]["val_loss"] == float("inf")
        assert run_cells(database, 1)[-1]["status"] == "skipped"
        assert cell_detail(database, cell(3).cell_id).attempts[0]["traceback"] == "Traceback …"
        assert check_database(database, None) == []
        assert predictions(database, [rows[0]["execution_id"]])[rows[0]["execution_id"]].examples == 4
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell(1)])
        assert run_cell(recorder, run_id, cell(1)).number == 2
        assert results(database, seed=1)[0]["status"] == "completed"


def test_an_older_database_is_read_as_it_is_and_upgraded_before_it_is_written_and_a_copy_is_kept(path, next_version):
    next_version()
    before = path.read_bytes()
    with open_database(path, mode="read") as database:
        assert len(all_runs(database)) == 1
        assert read_only_query(database, "SELECT mood FROM run") == (["mood"], [(None,)])
        copy = database.contents.path
        assert copy.exists()
    assert not copy.parent.exists()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.glob("results*")] == ["results.sqlite"]
    done = upgrade_database(path)
    assert (done.old, done.new, done.backup.name) == (2, 3, "results.sqlite.v2.bak")
    assert query(done.backup, "PRAGMA user_version") == [(2,)]
    assert query(path, "PRAGMA user_version") == [(3,)]
    assert query(path, "SELECT mood FROM run") == [(None,)]
    # the trap of rebuilding a table: what refers to it must still be there
    for table in ("execution", "attempt", "epoch", "run_cell"):
        count = f"SELECT count(*) FROM {table}"
        assert query(path, count) == query(done.backup, count) != [(0,)]
    assert query(path, "PRAGMA foreign_key_check") == []
    with open_database(path, mode="write") as database:
        begin(database, [cell()])
        assert len(all_runs(database)) == 2
    again = upgrade_database(path)
    assert (again.old, again.new, again.backup) == (3, 3, None)


@pytest.mark.parametrize(
    "more", ["raise RuntimeError('in the middle')", "op.execute('DELETE FROM cell')"], ids=["raises", "orphans"]
)
def test_an_upgrade_that_fails_changes_nothing(path, next_version, more):
    next_version(more)
    before = query(path, "SELECT sql FROM sqlite_schema")
    with pytest.raises((RuntimeError, SchemaError), match=r"in the middle|without what they refer to"):
        upgrade_database(path)
    assert query(path, "SELECT sql FROM sqlite_schema") == before
    assert query(path, "PRAGMA user_version") == [(2,)]
    assert query(path, "SELECT count(*) FROM cell") == [(5,)]


def test_an_upgrade_killed_in_the_middle_leaves_the_old_schema(path, next_version, tmp_path):
    next_version()
    code = (
        "import sys; from pathlib import Path; from functools import partial\n"
        "from benchmark.results.schema import migrate, versions\n"
        "from benchmark.results.store import upgrade\n"
        "migrate.migrate = partial(migrate.migrate, scripts=Path(sys.argv[2]))\n"
        "versions.SCHEMA_VERSION = upgrade.SCHEMA_VERSION = 3\n"
        "upgrade.upgrade_database(sys.argv[1])\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "BENCH_TESTING": "1",
        "BENCH_FAULT": "migrate.step:1:kill9",
    }
    command = [sys.executable, "-c", code, path, tmp_path / "scripts"]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    assert query(path, "PRAGMA user_version") == [(2,)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert upgrade_database(path).new == 3


def views(path):
    """The rows of the two views that the first version has, in its columns."""
    columns = {}
    with closing(sqlite3.connect(FIXTURES / "v1.sqlite")) as connection:
        for view in ("results", "history"):
            columns[view] = [column for column, *_ in connection.execute(f"SELECT * FROM {view}").description]
    return {
        view: sorted(map(repr, query(path, f"SELECT {', '.join(names)} FROM {view}")))
        for view, names in columns.items()
    }


REFERENCE = Path(__file__).with_name("fixtures") / "unmoved" / "results.sqlite.xz"


def test_an_upgrade_leaves_the_views_as_they_were_and_fills_the_new_columns(tmp_path):
    path = tmp_path / "results.sqlite"
    path.write_bytes(lzma.decompress(REFERENCE.read_bytes()))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE VIEW best AS SELECT max(test_accuracy) FROM results;"
            "DROP TRIGGER prediction_is_final_update;"
            "UPDATE prediction SET content = x'00' WHERE execution_id = 2"
        )
    before = views(path)
    upgrade_database(path)
    assert views(path) == before
    assert len(query(path, "SELECT * FROM best")) == 1
    ((train, framework, decay, dropout, size),) = query(
        path, "SELECT train, framework, weight_decay, dropout, image_size FROM results WHERE execution_id = 1"
    )
    spec = json.loads(query(path, "SELECT spec FROM execution JOIN cell USING (cell_id) WHERE execution_id = 1")[0][0])
    last = spec["stages"][-1]
    assert (train, framework, decay) == (last["train"], "keras", last["weight_decay"])
    assert (dropout, size) == (dict(spec["architecture"]["parameters"]).get("dropout"), spec["data"]["image_size"])
    assert query(path, "SELECT count(*) FROM results WHERE is_latest = 0 OR forgotten OR test_brier IS NOT NULL") == [
        (0,)
    ]
    apart = "abs(fit_seconds - coalesce(features_seconds, 0) - elapsed_seconds) > 1e-6"
    ends = "history JOIN results USING (execution_id) WHERE history.epoch = results.epochs"
    assert query(path, f"SELECT count(*) FROM {ends} AND {apart}") == [(0,)]
    right = "SELECT execution_id, avg(label = predicted), count(*) FROM predictions GROUP BY execution_id"
    known = "SELECT execution_id, test_accuracy, test_examples FROM execution WHERE execution_id <> 2 ORDER BY 1"
    for counted, recorded in zip(query(path, right), query(path, known), strict=True):
        assert counted == pytest.approx(recorded)
    assert query(path, "SELECT outcomes FROM prediction WHERE execution_id = 2") == [(None,)]


@pytest.mark.parametrize("stored", [PREDICTIONS, VALIDATION], ids=lambda row: row.split)
def test_predictions_are_encoded_alike_by_an_upgrade_and_by_a_run(stored):
    migration = import_module("benchmark.results.schema.migrations.versions.0002_predictions_and_looks")
    assert migration.outcomes(stored.content, 2) == encoded_outcomes(stored.content, 2) is not None
    assert migration.outcomes(stored.content[:-9], 2) is encoded_outcomes(stored.content[:-9], 2) is None


def test_a_file_that_nobody_can_write_is_read_by_commands_and_stays_as_it_is(first):
    first.chmod(0o444)
    first.parent.chmod(0o555)
    try:
        with open_database(first, mode="read") as database:
            assert len(results(database)) == 5
            assert read_only_query(database, "SELECT count(*) FROM results WHERE is_latest = 1")[1] == [(5,)]
            assert check_database(database, None) == []
    finally:
        first.parent.chmod(0o755)
    assert first.read_bytes() == (FIXTURES / "v1.sqlite").read_bytes()


def test_a_run_upgrades_an_older_file_and_keeps_a_copy(first):
    with open_database(first, mode="write") as database:
        recorder, run_id = begin(database, [cell(9)])
        run_cell(recorder, run_id, cell(9))
    assert query(first, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert query(first.with_name("results.sqlite.v1.bak"), "PRAGMA user_version") == [(1,)]


@pytest.mark.parametrize("mode", ["read", "write"])
def test_views_of_others_in_an_older_file_are_refused_too(first, mode):
    with closing(sqlite3.connect(first)) as connection:
        connection.executescript("DROP VIEW results; CREATE VIEW results AS SELECT 1 AS cell_id")
    with pytest.raises(SchemaError, match="view results"):
        open_database(first, mode=mode)


def test_a_database_in_use_is_not_upgraded(path):
    with lock_database(path), pytest.raises(BusyError):
        upgrade_database(path)


def test_what_is_not_there_cannot_be_upgraded(tmp_path):
    with pytest.raises(NotFoundError, match="bench run"):
        upgrade_database(tmp_path / "none.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_the_fixture_is_what_the_script_makes(tmp_path):
    from make_schema_fixture import make

    made = tmp_path / "made.sqlite"
    make(made)
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
    assert query(made, schema) == query(FIXTURES / f"v{SCHEMA_VERSION}.sqlite", schema)
    assert query(made, "SELECT machine FROM run") == [(MACHINE,)]
