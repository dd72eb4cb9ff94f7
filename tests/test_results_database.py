from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from results_samples import MACHINE, begin, cell, epoch, query, run_cell, set_up

from benchmark.errors import StorageError, UserError
from benchmark.results.read.queries import results
from benchmark.results.schema.tables import APPLICATION_ID, SCHEMA_VERSION
from benchmark.results.store import engine, journal_mode
from benchmark.results.store.backup import backup
from benchmark.results.store.database import open_database
from benchmark.results.store.location import locate


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.sqlite"


@pytest.fixture
def filled(path):
    return with_one_cell(path)


def with_one_cell(path):
    """A closed database with one completed cell, at this path."""
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        recorder.finish_run(run_id, "completed", 0)
    return path


@pytest.fixture
def shared_folder():
    """A folder that other users may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)


def files_of(folder) -> set[str]:
    return {entry.name for entry in Path(folder).iterdir()}


def as_nobody(action) -> str:
    """What `action` answers in a forked process without root's powers, which see through permissions."""
    if os.geteuid() != 0:
        return action()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            answer = str(action())
        except BaseException as error:  # noqa: BLE001  the parent shows it
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


def killed_in_the_middle(path):
    """What a run that was killed after 7 epochs leaves: the file, `-wal` and `-shm`."""
    code = (
        "import os, signal, sys\n"
        "from results_samples import *\n"
        "from benchmark.results.store.database import open_database\n"
        "recorder, run_id = begin(open_database(sys.argv[1], mode='write'), [cell()])\n"
        "start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)\n"
        "for number in range(1, 8): recorder.record(start.attempt_id, epoch(number))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    assert subprocess.run([sys.executable, "-c", code, path], env=environment, check=False).returncode == -9


def test_a_new_database_is_marked_as_ours_with_its_version(path):
    open_database(path, mode="write").close()
    assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert query(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert query(path, "SELECT version_num FROM schema_version") == [(f"{SCHEMA_VERSION:04}",)]


def test_creating_takes_well_below_a_second_and_reading_loads_no_migrations(path):
    code = (
        "import sys, time; start = time.process_time()\n"
        "from benchmark.results.store.database import open_database\n"
        f"open_database({str(path)!r}, mode='write').close()\n"
        "took = time.process_time() - start\n"
        "print('alembic' in sys.modules, took)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    loaded, took = done.stdout.split()
    assert loaded == "True"
    assert float(took) < 3
    code = code.replace("'write'", "'read'")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.startswith("False")


def test_the_writer_has_the_pragmas_that_keep_data_safe(path):
    with open_database(path, mode="write") as database, closing(database.engine.raw_connection()) as connection:
        cursor = connection.cursor()
        found = {
            name: cursor.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "cell_size_check")
        }
        assert found == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "trusted_schema": 0,
            "cell_size_check": 1,
        }
        assert cursor.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000


def test_after_a_clean_end_the_database_is_one_file(filled):
    assert files_of(filled.parent) == {"results.sqlite"}
    assert query(filled, "PRAGMA journal_mode") == [("delete",)]


def test_a_reader_leaves_nothing_beside_the_file(filled):
    with open_database(filled, mode="read") as database:
        assert len(results(database)) == 1
    assert files_of(filled.parent) == {"results.sqlite"}


def test_the_one_file_opens_in_a_read_only_folder_with_plain_sqlite3_and_with_us(filled, shared_folder):
    place = shared_folder / "results.sqlite"
    backup_of(filled, place)
    place.chmod(0o444)
    shared_folder.chmod(0o555)

    def read():
        with closing(sqlite3.connect(place)) as connection:
            (plain,) = connection.execute("SELECT status FROM results").fetchone()
        frame = pd.read_sql("select * from results", f"sqlite:///{place}")
        with open_database(place, mode="read") as database:
            return plain, len(frame), results(database)[0]["status"]

    assert as_nobody(read) == str(("completed", 1, "completed"))


def backup_of(source, destination):
    with open_database(source, mode="read") as database:
        return backup(database, destination)


def test_a_run_in_a_read_only_folder_or_on_a_read_only_file_is_refused_at_once(filled, shared_folder):
    place = shared_folder / "results.sqlite"
    backup_of(filled, place)
    place.chmod(0o666)
    shared_folder.chmod(0o555)
    answer = as_nobody(lambda: open_database(place, mode="write"))
    assert answer.startswith("StorageError")
    assert "its folder is read-only" in answer
    shared_folder.chmod(0o777)
    place.chmod(0o444)
    answer = as_nobody(lambda: open_database(place, mode="write"))
    assert answer.startswith("StorageError")
    assert "the file is read-only" in answer


def test_pandas_reads_the_views_by_url(filled):
    frame = pd.read_sql("select * from results", f"sqlite:///{filled}")
    assert frame.loc[0, "test_accuracy"] == 0.9
    assert len(pd.read_sql("select * from history", f"sqlite:///{filled}")) == 3


def test_a_reader_sees_every_epoch_while_a_run_writes(path):
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        for number in (1, 2, 3):
            recorder.record(start.attempt_id, epoch(number))
            with open_database(path, mode="read") as reader:
                assert results(reader)[0]["epochs"] == number


def test_a_reader_cannot_write(filled):
    with (
        open_database(filled, mode="read") as database,
        pytest.raises(sa.exc.OperationalError, match="readonly"),
        database.engine.begin() as connection,
    ):
        connection.exec_driver_sql("DELETE FROM artifact")


def test_with_a_reader_still_there_the_wal_stays_and_the_next_run_clears_it(path, caplog, monkeypatch):
    monkeypatch.setattr(journal_mode, "LEAVING_SECONDS", 0)
    with open_database(path, mode="write") as database:
        begin(database, [cell()])
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM cell").fetchone()
    assert "another program still has it open" in caplog.text
    reader.close()
    with open_database(path, mode="read") as database:
        assert results(database) == []
    open_database(path, mode="write").close()
    assert files_of(path.parent) == {"results.sqlite"}
    assert query(path, "SELECT count(*) FROM cell") == [(1,)]


def test_a_killed_writer_loses_nothing_and_its_database_can_be_read_at_once(path):
    killed_in_the_middle(path)
    with open_database(path, mode="read") as database:
        row = results(database)[0]
        assert (row["status"], row["epochs"]) == ("running", 7)
    with open_database(path, mode="write") as database:
        begin(database)
        row = results(database)[0]
        assert (row["status"], row["cause"], row["epochs"]) == ("interrupted", "abandoned", 7)
    assert files_of(path.parent) == {"results.sqlite"}


@pytest.mark.parametrize("point", ["migrate.step:1", "db.commit:1", "db.commit:2"])
def test_killed_in_a_migration_or_in_a_commit_the_database_is_old_or_new(path, point):
    code = (
        "import sys\n"
        "from results_samples import *\n"
        "from benchmark.results.store.database import open_database\n"
        "begin(open_database(sys.argv[1], mode='write'), [cell()])\n"
    )
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "BENCH_TESTING": "1",
        "BENCH_FAULT": f"{point}:kill9",
    }
    assert subprocess.run([sys.executable, "-c", code, path], env=env, check=False).returncode == -9
    with open_database(path, mode="write") as database:
        begin(database, [cell()])
        assert results(database) == []
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_lost_wal_is_noticed(path, caplog):
    database = open_database(path, mode="write")
    begin(database, [cell()])
    copy = path.with_name("copy.sqlite")
    # in another process: opening the file in this one would drop SQLite's locks
    subprocess.run(["cp", path, copy], check=True)
    database.close()
    caplog.clear()
    open_database(copy, mode="write").close()
    assert "its -wal file is missing" in caplog.text
    caplog.clear()
    open_database(path, mode="write").close()
    assert not caplog.text


def test_a_full_disk_is_said_and_what_could_not_be_written_waits(path):
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        limit_pages(database, 0)
        numbers = iter(range(1, 2000))
        with pytest.raises(StorageError, match=r"the disk is full\. Nothing that was recorded is lost"):
            record_all(recorder, start.attempt_id, numbers)
        last = next(numbers) - 1
        assert results(database)[0]["epochs"] == last - 1
        limit_pages(database, 1000)
        recorder.flush()
        assert results(database)[0]["epochs"] == last


def record_all(recorder, attempt_id, numbers):
    for number in numbers:
        recorder.record(attempt_id, epoch(number))


def limit_pages(database, more):
    """Let the pooled connection's file grow by so many pages and no further."""
    with closing(database.engine.raw_connection()) as connection:
        cursor = connection.cursor()
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages + more}")


def test_a_lock_held_too_long_is_said(path, monkeypatch):
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    with open_database(path, mode="write") as database, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another program has kept it locked"):
            begin(database)


def test_a_short_lock_is_waited_for(path):
    with open_database(path, mode="write") as database:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        freed = threading.Event()
        thread = threading.Timer(0.3, lambda: (freed.set(), other.execute("COMMIT")))
        thread.start()
        begin(database)
        assert freed.is_set()
        thread.join()
        other.close()


def test_a_forked_process_cannot_use_the_connection(path):
    with open_database(path, mode="write") as database:
        recorder, _ = begin(database)

        def use():
            recorder.sweep()

        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                use()
            except AssertionError:
                os.write(writing, b"refused")
            database.close()
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            assert pipe.read() == "refused"
        os.waitpid(pid, 0)
        recorder.sweep()
    assert files_of(path.parent) == {"results.sqlite"}


def test_nothing_in_the_package_opens_the_database_file_itself():
    folder = Path(engine.__file__).parent.parent
    opening = [
        f"{file.name}:{number}"
        for file in folder.rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if any(word in line for word in (" open(", ".open(", "os.open(", "read_bytes", "write_bytes", "copyfile"))
    ]
    places = {entry.split(":")[0] for entry in opening}
    # the lock file, the table of mounts, the finished copy of a backup, artifacts, and what SQLite does not have open: a
    # damaged file (or its copy), the reference results, and files of exports
    assert places <= {
        "lock.py",
        "artifact_folder.py",
        "artifact_store.py",
        "location.py",
        "reference.py",
        "engine.py",
        "check.py",
        "merge.py",
        "pages.py",
        "sqlite_shell.py",
        "tensorboard_events.py",
    }, opening


def test_symbolic_links_are_followed_and_hard_links_warned_of(filled, caplog):
    link = filled.with_name("link.sqlite")
    link.symlink_to(filled)
    assert locate(link).path == locate(filled).path
    os.link(filled, filled.with_name("hard.sqlite"))
    open_database(link, mode="write").close()
    assert "2 hard links" in caplog.text


def test_a_backup_is_whole_one_file_and_never_overwrites(path, tmp_path):
    with open_database(path, mode="write") as database:
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        copy = tmp_path / "copy.sqlite"
        assert backup(database, copy) == copy
        with pytest.raises(UserError, match="found a file"):
            backup(database, copy)
        with pytest.raises(StorageError):
            backup(database, tmp_path / "nowhere" / "copy.sqlite")
    assert files_of(tmp_path) == {"results.sqlite", "copy.sqlite"}
    with open_database(copy, mode="read") as database:
        assert results(database)[0]["status"] == "completed"
    assert query(copy, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert stat.S_ISREG(copy.stat().st_mode)


def test_what_a_killed_run_left_can_be_read_in_a_read_only_folder_or_says_what_to_do(shared_folder):
    path = shared_folder / "results.sqlite"
    killed_in_the_middle(path)
    assert files_of(shared_folder) == {"results.sqlite", "results.sqlite-wal", "results.sqlite-shm"}
    for file in shared_folder.iterdir():
        file.chmod(0o444)
    shared_folder.chmod(0o555)

    def read():
        with open_database(path, mode="read") as database:
            return [row["epochs"] for row in results(database)]

    assert str(as_nobody(read)) == "[7]"
    shared_folder.chmod(0o755)
    (shared_folder / "results.sqlite-shm").unlink()
    shared_folder.chmod(0o555)
    answer = str(as_nobody(read))
    assert answer == "[7]" or "copy all of them to a folder that can be written" in answer
    shared_folder.chmod(0o755)
    (shared_folder / "results.sqlite-wal").unlink()
    shared_folder.chmod(0o555)
    # the one file alone: older, but whole
    assert str(as_nobody(read)) == "[]"
