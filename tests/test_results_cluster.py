"""What the nodes of a cluster share through the database: membership, leases, the fence, messages."""

from __future__ import annotations

import re
import select
import threading

import pytest
import sqlalchemy as sa
from cli_workplace import Workplace
from results_samples import MACHINE, PREDICTIONS, begin, cell, complete, epoch, set_up
from waiting import PATIENCE_SECONDS

from benchmark.errors import NodeLostError, StorageError
from benchmark.reporting.report import build_report
from benchmark.reporting.rows.latest import with_environment
from benchmark.results.cluster import nodes
from benchmark.results.cluster.listener import Listener
from benchmark.results.cluster.mailbox import Mailbox
from benchmark.results.cluster.nodes import Member
from benchmark.results.read.queries import results
from benchmark.results.schema.tables import run
from benchmark.results.store.database import open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.store.server_lock import is_held
from benchmark.results.write.recorder import Recorder

FACTS = {"host": "a", "cpu_cores": 4, "memory_bytes": 1 << 34}
CELL = cell().cell_id


def rows(database, sql):
    with database.reading() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def joined(database, run_id, name="n1", lease=60.0):
    """A node that has joined, and its recorder."""
    node_id = nodes.join(database, run_id, name, FACTS, lease)
    return node_id, Recorder(database, member=Member(node_id, name, lease))


@pytest.fixture
def run_id(database):
    return begin(database, [cell(0), cell(1)])[1]


def test_an_attempt_of_a_node_says_where_it_runs_until_when_and_which_hold_it_is(database, run_id):
    node_id, recorder = joined(database, run_id)
    recorder.start_attempt(run_id, CELL, MACHINE)
    ((node, lease, fence, until),) = rows(
        database, "SELECT attempt.node, attempt.lease_until_utc, fence, node.lease_until_utc FROM attempt, node"
    )
    assert (node, fence) == ("n1", 1)
    assert lease == until
    assert nodes.renew(database, node_id, 120.0)
    ((renewed, until),) = rows(database, "SELECT attempt.lease_until_utc, node.lease_until_utc FROM attempt, node")
    assert renewed == until > lease


def test_a_node_that_was_declared_lost_changes_nothing_any_more(database, run_id):
    node_id, recorder = joined(database, run_id)
    start = recorder.start_attempt(run_id, CELL, MACHINE)
    recorder.record(start.attempt_id, epoch(1))
    recorder.record(start.attempt_id, epoch(2, seconds=0.001))
    assert nodes.lose(database, node_id, "its lease was over") == [CELL]
    assert nodes.lose(database, node_id, "asked once more") == [CELL]

    tables = "SELECT state, last_epoch, detail FROM attempt", "SELECT status, cause, epochs FROM execution"
    before = [rows(database, sql) for sql in tables]
    assert before == [[("abandoned", 1, "its node was lost: its lease was over")], [("pending", "abandoned", 1)]]
    late = (
        lambda: recorder.record(start.attempt_id, epoch(3)),
        lambda: recorder.finish_attempt(start.attempt_id, state="completed", predictions=[PREDICTIONS]),
        lambda: recorder.start_attempt(run_id, cell(1).cell_id, MACHINE),
        recorder.flush,
    )
    for write in late:
        with pytest.raises(NodeLostError, match=r"n1 is no member of its run any more .*its lease was over"):
            write()
    assert [rows(database, sql) for sql in tables] == before
    assert rows(database, "SELECT count(*) FROM epoch") == [(1,)]
    assert not nodes.renew(database, node_id, 60.0)

    # elsewhere the cell goes on from what is recorded
    _, other = joined(database, run_id, "n2")
    again = other.start_attempt(run_id, CELL, MACHINE)
    assert (again.execution_id, again.number) == (start.execution_id, 2)
    assert nodes.lose(database, node_id, "asked a third time") == []
    set_up(other, again.attempt_id)
    other.record(again.attempt_id, epoch(2))
    complete(other, again.attempt_id, 2)
    assert rows(database, "SELECT status, epochs, node FROM results") == [("completed", 2, "n2")]
    assert rows(database, "SELECT node, fence FROM attempt ORDER BY fence") == [("n1", 1), ("n2", 2)]


def test_a_lease_ends_by_the_clock_of_the_database_and_can_be_given_anew(database, run_id):
    short, _ = joined(database, run_id, "short", 0.0)
    joined(database, run_id, "long")
    assert [one.name for one in nodes.members(database, run_id)] == ["short", "long"]
    (over,) = nodes.expired(database, run_id)
    assert (over.node_id, over.name, over.cpu_cores) == (short, "short", 4)
    nodes.extend_all(database, run_id, 60.0)
    assert nodes.expired(database, run_id) == []
    nodes.leave(database, short, "it was told to")
    assert [one.name for one in nodes.members(database, run_id)] == ["long"]
    assert rows(database, "SELECT left_reason FROM node WHERE left_utc IS NOT NULL") == [("it was told to",)]


def test_a_name_has_one_member_and_a_run_that_is_over_has_none(database, run_id):
    node_id, recorder = joined(database, run_id)
    with pytest.raises(NodeLostError, match="expected to be the only one of that name"):
        joined(database, run_id)
    nodes.lose(database, node_id, "gone")
    joined(database, run_id)
    Recorder(database).sweep()
    assert nodes.members(database, run_id) == []
    with pytest.raises(NodeLostError, match="is over"):
        joined(database, run_id)
    with pytest.raises(NodeLostError):
        recorder.start_attempt(run_id, CELL, MACHINE)


def test_messages_are_taken_once_in_order_and_together_with_what_they_tell(database, run_id):
    node_id, recorder = joined(database, run_id)
    scheduler, here = Mailbox(database, run_id), Mailbox(database, run_id, node_id)
    scheduler.add(node_id, [{"run": CELL}, "stop"])
    scheduler.post()
    assert [one.body for one in here.take()] == [{"run": CELL}, "stop"]
    assert here.take() == scheduler.take() == []

    recorder.post([["one"], ["two"]])
    assert scheduler.take() == []
    assert recorder.seconds_to_flush() == 0.0
    start = recorder.start_attempt(run_id, CELL, MACHINE)
    recorder.post([{"started": start.attempt_id}])
    recorder.flush(due_only=True)
    assert [(one.node_id, one.body) for one in scheduler.take()] == [
        (node_id, ["one"]), (node_id, ["two"]), (node_id, {"started": start.attempt_id}),
    ]  # fmt: skip
    assert rows(database, "SELECT count(*) FROM message") == [(0,)]


def test_a_message_whose_commit_was_not_heard_of_is_taken_once_all_the_same(database, run_id, monkeypatch):
    node_id, recorder = joined(database, run_id)
    scheduler = Mailbox(database, run_id)
    recorder.post(["a"])
    with monkeypatch.context() as broken:
        broken.setattr(type(recorder._outbox), "clear", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recorder.flush()
    # the rows are deleted, and then the answer is lost
    take = scheduler._database.transaction
    with monkeypatch.context() as broken:
        broken.setattr(scheduler, "_database", _Deaf(take))
        with pytest.raises(ConnectionError):
            scheduler.take()
    recorder.post(["b"])
    recorder.flush()
    assert [one.body for one in scheduler.take()] == ["a", "b"]
    assert scheduler.take() == []
    assert node_id


class _Deaf:
    """A database whose commits are done, and not heard of."""

    def __init__(self, transaction):
        self._transaction = transaction

    def transaction(self):
        return self

    def __enter__(self):
        self._inner = self._transaction()
        return self._inner.__enter__()

    def __exit__(self, *error):
        self._inner.__exit__(*error)
        raise ConnectionError


@pytest.mark.postgres
@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
class TestServer:
    def test_whoever_waits_for_messages_is_woken_and_again_after_the_connection_was_lost(self, database, run_id):
        node_id, recorder = joined(database, run_id)
        with Listener(database.location, run_id) as here, Listener(database.location, run_id, node_id) as there:
            for listener in (here, there):
                assert select.select([listener], [], [], PATIENCE_SECONDS)[0]
                listener.drain()
            assert not select.select([here, there], [], [], 0)[0]
            scheduler = Mailbox(database, run_id)
            scheduler.add(node_id, ["work"])
            scheduler.post()
            assert select.select([here, there], [], [], PATIENCE_SECONDS)[0] == [there]
            there.drain()
            recorder.post(["done"])
            recorder.flush()
            assert select.select([here, there], [], [], PATIENCE_SECONDS)[0] == [here]
            here.drain()
            with database.transaction() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(query, 'LISTEN')"
                )
            for listener in (here, there):
                assert select.select([listener], [], [], PATIENCE_SECONDS)[0]

    def test_a_node_is_declared_lost_only_when_what_it_writes_is_written(self, database, target, run_id):
        node_id, recorder = joined(database, run_id)
        start = recorder.start_attempt(run_id, CELL, MACHINE)
        answers = []
        with open_database(target, mode="write") as mine, open_database(target, mode="write") as theirs:
            with mine.transaction() as connection:
                nodes.require_member(connection, Member(node_id, "n1", 60.0))
                assert nodes.renew(theirs, node_id, 60.0)  # the heartbeat is not kept waiting
                other = threading.Thread(target=lambda: answers.append(_lose(target, node_id)))
                other.start()
                _await_lock(theirs)
                connection.execute(sa.text("UPDATE execution SET epochs = 7"))
            other.join(PATIENCE_SECONDS)
        assert answers == [[CELL]]
        assert rows(database, "SELECT status, epochs FROM execution") == [("pending", 7)]
        with pytest.raises(NodeLostError):
            recorder.record(start.attempt_id, epoch(1))

    def test_a_node_that_is_frozen_while_it_writes_does_not_hold_up_that_it_is_lost(self, database, target, run_id):
        node_id, _ = joined(database, run_id)
        with open_database(target, mode="write") as mine, pytest.raises(StorageError, match="idle-in-transaction"):
            _lose_in_the_middle(mine, database, node_id)

    def test_whether_a_scheduler_is_at_work_is_known_to_everybody(self, database, target):
        def asked():
            with database.reading() as connection:
                return is_held(connection)

        assert not asked()
        with lock_database(target):
            assert asked()
        assert not asked()


def _lose_in_the_middle(mine, theirs, node_id):
    with mine.transaction() as connection:
        nodes.require_member(connection, Member(node_id, "n1", 0.2))
        assert nodes.lose(theirs, node_id, "its lease was over") == []
        connection.execute(sa.text("SELECT 1"))


def _lose(target, node_id):
    with open_database(target, mode="write") as database:
        return nodes.lose(database, node_id, "its lease was over")


def _await_lock(database):
    for _ in range(1000):
        if rows(database, "SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)]:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits for a lock")


def on_two_kinds_of_nodes(database, run_id):
    """Completes a cell on each of two nodes that differ."""
    for number, model in enumerate(("old processor", "new processor")):
        name, one = f"n{number}", cell(number)
        node_id = nodes.join(database, run_id, name, {**FACTS, "cpu_model": model}, 60.0)
        recorder = Recorder(database, member=Member(node_id, name, 60.0))
        start = recorder.start_attempt(run_id, one.cell_id, MACHINE)
        set_up(recorder, start.attempt_id)
        recorder.record(start.attempt_id, epoch(1))
        complete(recorder, start.attempt_id, 1)


def test_what_ran_on_a_node_is_compared_as_measured_on_its_hardware(database, run_id):
    on_two_kinds_of_nodes(database, run_id)
    found = results(database, spec=True)
    assert [(row["node"], row["cpu_model"]) for row in found] == [("n0", "old processor"), ("n1", "new processor")]
    with_run = with_environment(found, [{"run_id": run_id, "cpu_model": "of the run's own computer", "os": "Linux"}])
    (note,) = [note for note in build_report(with_run, [], None).notes if "same conditions" in note]
    assert "cpu_model (new processor, old processor)" in note
    assert "own computer" not in note


def test_what_ran_on_a_node_is_shown_with_its_hardware_and_not_with_that_of_the_computer_of_the_run(
    database, run_id, target, tmp_path
):
    on_two_kinds_of_nodes(database, run_id)
    with database.transaction() as connection:
        connection.execute(run.update().values(cpu_model="a login node", gpu_names="GPU of a login node"))
    place, where = Workplace(tmp_path), ("--db", target, "--machine", MACHINE)
    shown = place.document("show", CELL, *where)
    facts = {name: shown["environment"][name] for name in ("cpu_model", "gpu_names", "memory_bytes")}
    assert facts == {"cpu_model": "old processor", "gpu_names": None, "memory_bytes": 1 << 34}
    assert re.search(r"attempt +run +node +state", place.call("show", CELL, *where).stdout)
    page = place.call("report", *where, "--format", "html").stdout
    assert "new processor, old processor" in page or "old processor, new processor" in page
    assert "login node" not in page
    listed = place.document("list", "cells", *where)
    assert "cpu_model" not in listed[0]
    assert {row["node"] for row in listed} == {"n0", "n1"}
