"""A database server that goes away while it is written, and comes back: nothing is lost and nothing doubled."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
import uuid
from contextlib import closing, contextmanager

import pytest
from cli_workplace import Workplace
from results_samples import rows_of
from results_targets import administer
from scheduling_plans import fake_cell, plan_of
from scheduling_runs import Listener, Place
from server_proxy import Proxy, refusing_server
from waiting import wait_until

from benchmark.errors import BusyError, ServerError, StorageError, UserError
from benchmark.results.store import engine
from benchmark.results.store.database import Database, open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.store.server_lock import is_held
from benchmark.scheduling.loop import retrying_recorder
from benchmark.scheduling.run import run_matrix

CELLS = [fake_cell(seed=seed, epochs=8) for seed in range(3)]
EPOCHS = "SELECT cell_id, epoch FROM history ORDER BY cell_id, epoch"
DIGESTS = "SELECT cell_id, digest FROM results WHERE status = 'completed' ORDER BY cell_id"
WHOLE = [(cell.cell_id, epoch) for cell in sorted(CELLS, key=lambda cell: cell.cell_id) for epoch in range(1, 9)]
MATRIX = '[matrix]\ndataset = "digits"\nmodel = "simple_cnn"\nstrategy = "scratch"\nbackend = "fake"\n'

on_a_server = pytest.mark.parametrize("target", ["postgresql"], indirect=True)


def run_cells(target, folder, cells, listener=None, **options):
    place = Place(folder)
    listener = listener or Listener()
    with lock_database(target), open_database(target, mode="write") as database:
        return run_matrix(plan_of(cells), database, place.options(**options), listener), listener


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    place.run(CELLS)
    return place.rows(DIGESTS)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(retrying_recorder, "FIRST_PAUSE_SECONDS", 0.02)


class Struck(Listener):
    """Does something when an epoch was told that is so far, and counts what is told from then on until it is over."""

    def __init__(self, strike, epoch=1):
        super().__init__()
        self._strike, self._epoch = strike, epoch
        self.is_struck = False

    def epoch(self, cell, event):
        self.told.append(("epoch", cell, event))
        if not self.is_struck and event.epoch >= self._epoch:
            self.is_struck = True
            self._strike()


def test_commits_whose_answers_are_lost_are_neither_lost_nor_doubled(target, tmp_path, monkeypatch, undisturbed):
    """Every transaction of the run is committed, and then its answer lost: all of them are done twice."""
    commit, is_deaf = Database.transaction, False

    @contextmanager
    def deaf(self):
        nonlocal is_deaf
        with commit(self) as connection:
            yield connection
        is_deaf = not is_deaf
        if is_deaf:
            raise ServerError("the answer is lost")

    listener = Listener()
    listener.run_started = lambda *_: monkeypatch.setattr(Database, "transaction", deaf)
    summary, _ = run_cells(target, tmp_path, CELLS, listener)
    assert summary.exit_code == 0
    assert rows_of(target, EPOCHS) == WHOLE
    assert rows_of(target, DIGESTS) == undisturbed
    assert rows_of(target, "SELECT count(*), min(state) FROM attempt") == [(3, "completed")]
    assert rows_of(target, "SELECT count(*) FROM execution") == [(3,)]
    assert rows_of(target, "SELECT state, exit_code FROM run") == [("completed", 0)]


def test_when_too_much_waits_nobody_is_heard_until_it_is_written(target, tmp_path, monkeypatch, undisturbed):
    monkeypatch.setattr(retrying_recorder, "MOST_WAITING_EPOCHS", 5)
    commit, away, most = Database.transaction, [], []

    @contextmanager
    def transaction(self):
        if away and time.monotonic() < away[0]:
            raise ServerError("away")
        with commit(self) as connection:
            yield connection

    listener = Struck(lambda: away.append(time.monotonic() + 1.0))
    listener.progress = lambda *_: most.append(len(listener.of("epoch")))
    monkeypatch.setattr(Database, "transaction", transaction)
    summary, _ = run_cells(target, tmp_path, CELLS, listener)
    assert summary.exit_code == 0
    assert rows_of(target, EPOCHS) == WHOLE
    assert rows_of(target, DIGESTS) == undisturbed


@pytest.mark.postgres
@on_a_server
class TestAway:
    @pytest.fixture
    def proxy(self, server):
        proxy = Proxy(server)
        yield proxy
        proxy.close()

    def test_workers_go_on_and_are_heard_while_the_server_is_away(
        self, target, proxy, tmp_path, monkeypatch, undisturbed
    ):
        monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.06")

        def mend():
            # while it is away, the run says so and goes on to hear of epochs
            wait_until(lambda: "trying again for" in listener.notes and len(listener.of("epoch")) > 5)
            proxy.mend()

        def cut():
            proxy.cut()
            mending.start()

        mending = threading.Thread(target=mend)
        listener = Struck(cut)
        summary, _ = run_cells(proxy.url(target), tmp_path, CELLS, listener, jobs=2)
        mending.join()
        assert summary.exit_code == 0
        assert "the server does not answer" in listener.notes
        assert "trying again for 60 s" in listener.notes
        assert "the run continues" in listener.notes
        assert rows_of(target, EPOCHS) == WHOLE
        assert rows_of(target, DIGESTS) == undisturbed
        assert rows_of(target, "SELECT count(*) FROM attempt") == [(3,)]

    def test_connections_that_are_dropped_again_and_again_cost_nothing(
        self, target, tmp_path, monkeypatch, undisturbed
    ):
        monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.06")
        # one drop for some of the epochs, at whatever moment it comes: so the run gets on between them
        orders: queue.SimpleQueue[bool] = queue.SimpleQueue()

        class Dropped(Struck):
            def epoch(self, cell, event):
                super().epoch(cell, event)
                if event.epoch % 3 == 1:
                    orders.put(True)

        def drop():
            with open_database(target, mode="write") as database:
                while orders.get():
                    with database.engine.begin() as connection:
                        connection.exec_driver_sql(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE pid <> pg_backend_pid() AND starts_with(application_name, 'bench')"
                        )

        dropping = threading.Thread(target=drop)
        try:
            summary, _ = run_cells(target, tmp_path, CELLS, Dropped(dropping.start))
        finally:
            orders.put(False)
            dropping.join()
        assert summary.exit_code == 0
        assert rows_of(target, EPOCHS) == WHOLE
        assert rows_of(target, DIGESTS) == undisturbed
        assert rows_of(target, "SELECT count(*) FROM attempt") == [(3,)]

    def test_a_server_that_stays_away_ends_the_run_with_4_and_the_next_one_goes_on(
        self, target, proxy, tmp_path, monkeypatch, undisturbed
    ):
        monkeypatch.setenv("BENCH_FAKE_EPOCH_SECONDS", "0.06")
        monkeypatch.setattr(retrying_recorder, "PATIENCE_SECONDS", 0.5)
        gate = tmp_path / "gate"
        monkeypatch.setenv("BENCH_FAKE_GATE", f"3:{gate}")

        def cut():
            proxy.cut()
            gate.touch()

        with pytest.raises(ServerError, match="the server does not answer") as caught:
            run_cells(proxy.url(target), tmp_path, CELLS, Struck(cut, epoch=2))
        assert caught.value.exit_code == 4
        monkeypatch.delenv("BENCH_FAKE_EPOCH_SECONDS")
        summary, _ = run_cells(target, tmp_path, CELLS)
        assert summary.exit_code == 0
        assert rows_of(target, EPOCHS) == WHOLE
        assert rows_of(target, DIGESTS) == undisturbed
        assert (
            max(rows_of(target, "SELECT resumed_from_epoch FROM attempt WHERE resumed_from_epoch IS NOT NULL"))[0] > 1
        )


@pytest.mark.postgres
@on_a_server
class TestLock:
    @pytest.fixture
    def proxy(self, server):
        proxy = Proxy(server)
        yield proxy
        proxy.close()

    def end_sessions(self, target):
        with open_database(target, mode="write") as database, database.engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )

    def held(self, target):
        with open_database(target, mode="read") as database, database.reading() as connection:
            return is_held(connection)

    def test_it_is_taken_again_before_the_next_write(self, target):
        with lock_database(target), open_database(target, mode="write") as database:
            self.end_sessions(target)
            assert not self.held(target)
            with database.transaction():
                assert self.held(target)
        assert not self.held(target)

    def test_when_another_run_has_it_nothing_is_written_any_more(self, target):
        with lock_database(target), open_database(target, mode="write") as database:
            self.end_sessions(target)
            with lock_database(f"{target}&application_name=other"):
                for _ in range(3):
                    with pytest.raises(BusyError, match="another bench run holds") as caught, database.transaction():
                        pytest.fail("it was written")
                    assert caught.value.exit_code == 75

    def test_our_own_session_that_the_server_still_believes_in_does_not_keep_us_out(self, target, proxy, monkeypatch):
        # a connection that has lain idle is asked first whether the server is still there, and replaced in silence
        monkeypatch.setattr(engine, "_UNUSED_SECONDS", math.inf)
        way = proxy.url(target)
        with lock_database(way), open_database(way, mode="write") as database:
            proxy.cut(server_notices=False)
            proxy.mend()
            assert self.held(target)
            with pytest.raises(ServerError), database.transaction() as connection:
                connection.exec_driver_sql("SELECT 1")
            with database.transaction() as connection:
                connection.exec_driver_sql("SELECT 1")
            assert self.held(target)


@pytest.mark.postgres
@on_a_server
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"database": "nobody"}, "the server has no such database"),
        ({"host": "nobody.invalid", "query": {}}, "no computer of that name is known"),
        ({"host": "127.0.0.1", "port": 1, "query": {}}, "the server does not answer"),
        ({"username": "nobody"}, "the server refuses the user or the password"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_server_that_cannot_be_used_is_named_in_one_line_with_the_cure(target, tmp_path, change, said):
    import sqlalchemy as sa

    address = sa.make_url(target).set(password="canary", **change).render_as_string(hide_password=False)
    check_refusal(Workplace(tmp_path), address, said)


@pytest.mark.postgres
@on_a_server
@pytest.mark.parametrize(
    ("parameters", "said", "error"),
    [
        ({"nonsense": "canary"}, "invalid connection option", UserError),
        ({"connect_timeout": "soon"}, "bad value for connect_timeout", UserError),
        ({"sslmode": "bogus"}, "invalid sslmode value", UserError),
        ({"options": "-cnonsense=1"}, "unrecognized configuration parameter", UserError),
        ({"sslmode": "require"}, "do not agree on encryption", StorageError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_parameter_of_an_address_is_named_and_not_tried_again(
    target, server, tmp_path, parameters, said, error
):
    import sqlalchemy as sa

    # by way of TCP: a local socket is never encrypted
    with closing(Proxy(server)) as proxy:
        given = sa.make_url(proxy.url(target)).set(password="canary")
        address = given.update_query_dict(parameters).render_as_string(hide_password=False)
        check_refusal(Workplace(tmp_path), address, said, error)


@pytest.mark.postgres
@on_a_server
def test_a_schema_that_is_not_there_is_named_and_is_no_run_that_holds_the_database(target, tmp_path):
    import sqlalchemy as sa

    address = sa.make_url(target).update_query_dict({"options": "-csearch_path=nowhere"})
    place = Workplace(tmp_path)
    place.write(MATRIX)
    done = place.call("run", "--db", address.render_as_string(hide_password=False))
    assert done.exit_code == StorageError.exit_code
    assert "the schema of the address is not there" in done.stderr


@pytest.mark.postgres
@on_a_server
def test_another_user_of_the_server_is_told_who_holds_the_database_and_which_rights_it_lacks(target, server):
    import sqlalchemy as sa

    own = sa.make_url(target)
    name = f"colleague_{uuid.uuid4().hex[:8]}"
    admin = administer(server).execution_options(isolation_level="AUTOCOMMIT")
    with lock_database(target), admin.connect() as connection:
        open_database(target, mode="write").close()
        schema = own.query["options"].rpartition("=")[2]
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'canary'")
        try:
            connection.exec_driver_sql(f"GRANT ALL ON SCHEMA {schema} TO {name}")
            theirs = own.set(username=name, password="canary").render_as_string(hide_password=False)
            with pytest.raises(BusyError, match=f"process {os.getpid()} on "), lock_database(theirs):
                pass
            with pytest.raises(StorageError, match="GRANT ALL ON ALL TABLES"):
                open_database(theirs, mode="write")
        finally:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")


def test_a_wrong_password_is_named_as_such(tmp_path):
    pytest.importorskip("psycopg")
    listener, port = refusing_server('password authentication failed for user "me"')
    with listener:
        check_refusal(
            Workplace(tmp_path), f"postgresql://me:canary@127.0.0.1:{port}/db", "refuses the user or the pass"
        )


def check_refusal(place, address, said, error=StorageError):
    place.write(MATRIX)
    for command in ("run", "report"):
        done = place.call(command, "--db", address)
        assert done.exit_code == error.exit_code, done.stderr
        assert said in done.stderr
        assert "postgresql://" in done.stderr
        assert "canary" not in done.stdout + done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
