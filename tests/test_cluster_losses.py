"""What becomes of cells whose nodes are lost, told by agents that play their part by a script; the run and the server are real."""

from __future__ import annotations

import json
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from results_samples import MACHINE, begin, complete, epoch, rows_of, set_up
from scheduling_plans import fake_cell, plan_of
from scheduling_runs import Listener, Place
from server_proxy import Proxy
from waiting import PATIENCE_SECONDS

from benchmark.errors import BenchError, StorageError
from benchmark.matrix.cell import Cell
from benchmark.results.cluster import nodes
from benchmark.results.cluster.mailbox import Mailbox
from benchmark.results.cluster.nodes import Member
from benchmark.results.cluster.shared_listener import SharedListener
from benchmark.results.schema.tables import node
from benchmark.results.store.database import Database, open_database
from benchmark.results.store.lock import lock_database
from benchmark.results.write.recorder import Recorder
from benchmark.scheduling.cluster import driver
from benchmark.scheduling.cluster.agent_order import AgentOrder
from benchmark.scheduling.cluster.messages import (
    Begun,
    Kill,
    Message,
    Ready,
    RunCell,
    Said,
    Settled,
    Stop,
    body_of,
    message_of,
)
from benchmark.scheduling.executors.protocol import Demand, Node
from benchmark.scheduling.run import run_matrix

pytestmark = [pytest.mark.postgres, pytest.mark.parametrize("target", ["postgresql"], indirect=True)]

FIRST, SECOND = fake_cell(seed=0), fake_cell(seed=1)


class Agent:
    """An agent between joining a run and its end, without any process."""

    def __init__(
        self, order: AgentOrder, database: Database, cores: int, cancelled: threading.Event, leaving: set[str]
    ) -> None:
        self.leaving = leaving
        self.name, self.run_id, self._cores, self._cancelled = order.node, order.run_id, cores, cancelled
        self.node_id = nodes.join(database, order.run_id, order.node, {}, order.lease_seconds)
        self.recorder = Recorder(database, member=Member(self.node_id, order.node, order.lease_seconds))
        self._box = Mailbox(database, order.run_id, self.node_id)

    def say(self, *messages: Message) -> None:
        self.recorder.post([body_of(message) for message in messages])
        self.recorder.flush()

    def ready(self) -> None:
        self.say(Ready(self.name, self._cores, 0))

    def orders(self, count: int = 10**6) -> Iterator[str]:
        """Ids of the cells that the run gives: so many of them, or until it says stop, or the engine does."""
        while not self._cancelled.wait(0.01):
            for order in self.heard():
                if isinstance(order, Stop):
                    return
                if isinstance(order, RunCell):
                    count -= 1
                    yield Cell.from_dict(order.cell).cell_id
            if not count:
                return

    def heard(self) -> list[Message]:
        """What the run has said since it was asked last."""
        return [message_of(message.body) for message in self._box.take()]

    def hang(self, seconds: float = PATIENCE_SECONDS) -> bool:
        """Does nothing for so long, or until the engine ends it; whether that has."""
        return self._cancelled.wait(seconds)

    def begin(self, cell_id: str) -> int:
        start = self.recorder.start_attempt(self.run_id, cell_id, MACHINE)
        set_up(self.recorder, start.attempt_id)
        self.say(Begun(cell_id, start.number))
        return start.attempt_id

    def finish(self, cell_id: str) -> None:
        attempt_id = self.begin(cell_id)
        self.recorder.record(attempt_id, epoch(1))
        self.recorder.record(attempt_id, epoch(2))
        complete(self.recorder, attempt_id, 2)


class ScriptedEngine:
    """An engine whose agents are threads; each plays the script of its node until it returns why it has ended."""

    name = "scripted"

    def __init__(self, scripts: dict[str, Callable[[Agent], str]], cores: int = 2) -> None:
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        self._scripts, self._cores = scripts, cores
        self._ended: dict[str, str] = {}
        self._cancelled: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._leaving: set[str] = set()
        self.wanted: list[tuple[Demand, ...]] = []

    def slots(self) -> list[Node]:
        return [Node(name, self._cores, is_leaving=name in self._leaving) for name in self._scripts]

    def submit(self, node, agent) -> str:
        handle = str(len(self._threads))
        order = AgentOrder(**json.loads(agent.order))
        self._cancelled[handle] = threading.Event()
        self._threads.append(threading.Thread(target=self._play, args=(handle, order)))
        self._threads[-1].start()
        return handle

    def _play(self, handle: str, order: AgentOrder) -> None:
        try:
            with open_database(order.database, mode="write") as database:
                agent = Agent(order, database, self._cores, self._cancelled[handle], self._leaving)
                why = self._scripts[order.node](agent)
        except BenchError as error:
            why = str(error)
        self._ended[handle] = why
        os.write(self._write, b"\0")

    def want(self, needs) -> None:
        self.wanted.append(tuple(needs))

    def poll(self) -> dict[str, str]:
        with suppress(BlockingIOError):
            os.read(self.fd, 64)
        ended, self._ended = self._ended, {}
        return ended

    def cancel(self, handle: str) -> None:
        self._cancelled[handle].set()

    def close(self) -> None:
        for cancelled in self._cancelled.values():
            cancelled.set()
        for thread in self._threads:
            thread.join()
        os.close(self.fd)
        os.close(self._write)


@pytest.fixture
def run(target, tmp_path):
    """Runs cells on nodes with these scripts, and gives the summary, what was told, and rows of the database."""

    def on_nodes(cells, scripts, *, cores=2, **options):
        listener, engine = Listener(), ScriptedEngine(scripts, cores)
        place = Place(tmp_path)
        with lock_database(target), open_database(target, mode="write") as database:
            try:
                changes = {"machine": MACHINE, "lease_seconds": 600.0, **options}
                summary = run_matrix(plan_of(cells), database, place.options(**changes), listener, engine)
            finally:
                engine.close()
        return summary, listener, partial(rows_of, target)

    return on_nodes


def test_a_cell_that_brings_down_every_node_fails_after_three_and_its_neighbours_do_not(run):
    def die_of_the_first(agent):
        agent.ready()
        for cell_id in agent.orders():
            if cell_id == FIRST.cell_id:
                agent.begin(cell_id)
                return "the computer is gone"
            if len(met) < 2:
                # its neighbour is under way when the node dies
                met.append(agent.begin(cell_id))
            else:
                agent.finish(cell_id)
                agent.say(Settled(cell_id, "completed"))
        return "exit code 0"

    met: list[int] = []
    # the neighbour comes first, so that it runs when the node dies
    summary, listener, rows = run([SECOND, FIRST], {"n": die_of_the_first})
    assert summary.exit_code == 3
    assert listener.ends() == {FIRST.cell_id: ("failed", "crashed"), SECOND.cell_id: ("completed", None)}
    reason = "3 nodes were lost while they ran it; the last one ran nothing else"
    of_first = f"WHERE cell_id = '{FIRST.cell_id}'"
    assert rows(f"SELECT status, cause, detail, finished_utc IS NULL FROM execution {of_first}") == [
        ("failed", "crashed", reason, False)
    ]
    states = (
        "SELECT attempt.state FROM attempt JOIN execution USING (execution_id) WHERE cell_id = '{}' ORDER BY number"
    )
    assert rows(states.format(FIRST.cell_id)) == [("abandoned",)] * 3
    assert rows(states.format(SECOND.cell_id)) == [("abandoned",)] * 2 + [("completed",)]
    assert rows("SELECT state, exit_code FROM run") == [("completed", 3)]
    assert "n is lost (the computer is gone)" in listener.notes


def test_cells_that_a_lost_node_had_not_begun_are_not_blamed_for_it(run):
    def die_before(agent):
        agent.ready()
        next(agent.orders(1))
        return "the computer is gone"

    def work(agent):
        agent.ready()
        for cell_id in agent.orders():
            assert nobody_else.wait(PATIENCE_SECONDS)
            agent.finish(cell_id)
            agent.say(Settled(cell_id, "completed"))
        return "exit code 0"

    def dying(agent):
        deaths.append(agent.name)
        if len(deaths) == 3:
            nobody_else.set()
        return die_before(agent)

    deaths: list[str] = []
    nobody_else = threading.Event()
    summary, listener, rows = run([FIRST, SECOND], {"dying": dying, "works": work}, cores=1)
    assert summary.exit_code == 0, listener.notes
    assert len(deaths) == 3
    assert rows("SELECT state FROM attempt") == [("completed",)] * 2


@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "not reported"])
def test_what_was_recorded_before_a_node_died_counts_and_is_not_done_again(run, is_reported):
    def finish_and_die(agent):
        agent.ready()
        (cell_id,) = agent.orders(1)
        agent.finish(cell_id)
        if is_reported:
            agent.say(Settled(cell_id, "completed"))
        return "the computer is gone"

    summary, listener, rows = run([FIRST], {"n": finish_and_die})
    assert summary.exit_code == 0, listener.notes
    assert rows("SELECT state FROM attempt") == [("completed",)]
    assert listener.ends() == {FIRST.cell_id: ("completed", None)}


def test_a_cell_that_has_failed_before_its_node_died_is_not_tried_again(run):
    def fail_and_die(agent):
        agent.ready()
        (cell_id,) = agent.orders(1)
        agent.recorder.finish_attempt(agent.begin(cell_id), state="failed", detail="ValueError: no")
        return "the computer is gone"

    summary, listener, rows = run([FIRST], {"n": fail_and_die})
    assert summary.exit_code == 3
    assert rows("SELECT state FROM attempt") == [("failed",)]
    assert listener.ends() == {FIRST.cell_id: ("failed", "failed")}


def test_an_agent_that_dies_before_it_is_ready_does_not_keep_its_name_from_the_next(run):
    def join_and_die(agent):
        if not tries:
            tries.append(agent.node_id)
            return "it was killed by SIGKILL"
        agent.ready()
        (cell_id,) = agent.orders(1)
        agent.finish(cell_id)
        agent.say(Settled(cell_id, "completed"))
        list(agent.orders())
        return "exit code 0"

    tries: list[int] = []
    # nobody waits for its lease, which is longer than any test may take
    summary, listener, rows = run([FIRST], {"n": join_and_die}, lease_seconds=6000.0)
    assert summary.exit_code == 0, listener.notes
    assert rows("SELECT left_reason FROM node ORDER BY node_id")[0] == ("it was killed by SIGKILL",)


def test_a_node_that_was_given_up_is_tried_again_later(run, monkeypatch):
    def fail_at_first(agent):
        tries.append(agent.node_id)
        if len(tries) <= 4:
            return "it ended with exit code 4: the folder of artifacts is not there"
        agent.ready()
        for cell_id in agent.orders():
            agent.finish(cell_id)
            agent.say(Settled(cell_id, "completed"))
            is_done.set()
        return "exit code 0"

    def wait_for_it(agent):
        agent.ready()
        for cell_id in agent.orders():
            assert is_done.wait(PATIENCE_SECONDS)
            agent.finish(cell_id)
            agent.say(Settled(cell_id, "completed"))
        return "exit code 0"

    tries: list[int] = []
    is_done = threading.Event()
    monkeypatch.setattr(driver, "PLACE_AGAIN_SECONDS", 0.8)
    summary, listener, _ = run([FIRST, SECOND], {"mended": fail_at_first, "works": wait_for_it}, cores=1)
    assert summary.exit_code == 0, listener.notes
    assert len(tries) == 5


def test_an_agent_that_hangs_before_it_is_ready_loses_its_place_with_its_lease(run):
    def hang_at_first(agent):
        if not tries:
            tries.append(agent.node_id)
            agent.hang()
            return "it was ended"
        agent.ready()
        for cell_id in agent.orders():
            agent.finish(cell_id)
            agent.say(Settled(cell_id, "completed"))
        return "exit code 0"

    tries: list[int] = []
    summary, listener, rows = run([FIRST], {"n": hang_at_first}, lease_seconds=2.0)
    assert summary.exit_code == 0, listener.notes
    assert "has been silent for 2 s" in rows("SELECT left_reason FROM node ORDER BY node_id")[0][0]


def test_cells_of_a_node_that_leaves_by_itself_go_on_once_it_has_and_nobody_is_blamed(run):
    def leave(agent):
        agent.ready()
        (cell_id,) = agent.orders(1)
        agent.begin(cell_id)
        # what cannot be written on this node any more is told all the same; its attempt is left as it is
        agent.say(Settled(cell_id, "interrupted"))
        time.sleep(0.3)
        return "exit code 0"

    def leave_often(agent):
        left.append(agent.node_id)
        if len(left) <= 4:
            return leave(agent)
        agent.ready()
        for cell_id in agent.orders():
            agent.finish(cell_id)
            agent.say(Settled(cell_id, "completed"))
        return "exit code 0"

    left: list[int] = []
    summary, listener, rows = run([FIRST], {"n": leave_often})
    assert summary.exit_code == 0, listener.notes
    assert rows("SELECT state FROM attempt ORDER BY attempt_id") == [("abandoned",)] * 4 + [("completed",)]


def test_nobody_waits_for_first_stages_that_a_lost_node_has_trained(run):
    def lose_the_trainer(agent):
        agent.ready()
        taken = []
        for cell_id in agent.orders():
            taken.append(cell_id)
            if not lost:
                lost.append(cell_id)
                agent.begin(cell_id)
                return "the computer is gone"
            agent.finish(cell_id)
            agent.say(Settled(cell_id, "completed"))
        return "exit code 0"

    lost: list[str] = []
    cells = [fake_cell(strategy="short", epochs=2), fake_cell(strategy="long", epochs=[2, 2])]
    summary, listener, _ = run(cells, {"n": lose_the_trainer})
    assert summary.exit_code == 0, listener.notes
    assert set(listener.ends().values()) == {("completed", None)}


def test_a_run_that_is_asked_to_stop_settles_the_cells_of_a_node_that_dies_meanwhile(run):
    def die_when_asked(agent):
        agent.ready()
        (cell_id,) = agent.orders(1)
        agent.begin(cell_id)
        os.kill(os.getpid(), signal.SIGINT)
        list(agent.orders())
        return "the computer is gone"

    summary, listener, rows = run([FIRST], {"n": die_when_asked})
    assert summary.exit_code == 130
    assert rows("SELECT state FROM attempt") == [("abandoned",)]
    assert rows("SELECT status FROM execution") == [("interrupted",)]
    assert listener.ends() == {FIRST.cell_id: ("interrupted", "interrupted")}


def test_a_second_ctrl_c_is_handed_on_to_the_nodes_once_and_said_once(run):
    def talk_until_killed(agent):
        agent.ready()
        (cell_id,) = agent.orders(1)
        agent.begin(cell_id)
        os.kill(os.getpid(), signal.SIGINT)
        list(agent.orders())
        os.kill(os.getpid(), signal.SIGINT)
        while not any(isinstance(each, Kill) for each in agent.heard()) and not agent.hang(0.01):
            continue
        # the run goes round for each of these
        for number in range(5):
            agent.say(Said(f"{number}"))
            agent.hang(0.1)
        heard.extend(agent.heard())
        return "it was killed by SIGKILL"

    heard = []
    # the second signal comes long before the run gives up waiting
    summary, listener, _ = run([FIRST], {"n": talk_until_killed}, grace_seconds=120.0)
    assert summary.exit_code == 130
    assert listener.notes.count("killing what still runs") == 1
    assert heard == []


def test_a_node_that_freezes_in_the_middle_of_anything_it_writes_can_be_declared_lost(target):
    lease_seconds = 2.0

    def freeze_while_it_is_declared_lost(frozen):
        with frozen.transaction() as connection:
            connection.execute(node.update().where(node.c.node_id == node_id).values(host="here"))
            nodes.lose(database, node_id, "it has not been heard of")

    with open_database(target, mode="write") as database:
        _, run_id = begin(database)
        node_id = nodes.join(database, run_id, "n", {}, lease_seconds)
        with open_database(nodes.address_for_node(target, lease_seconds), mode="write") as frozen:
            with pytest.raises(StorageError, match="idle-in-transaction"):
                freeze_while_it_is_declared_lost(frozen)
            assert not nodes.renew(frozen, node_id, lease_seconds)
    assert rows_of(target, "SELECT host, left_reason FROM node") == [(None, "it has not been heard of")]


def test_a_node_that_cannot_reach_the_server_is_told_so_and_hears_of_messages_when_it_can_again(server, target):
    way = Proxy(server)
    try:
        with open_database(way.url(target), mode="write") as database, selectors.DefaultSelector() as selector:
            listener = SharedListener(database, selector, 1, 1)
            assert listener.was_woken()
            assert not listener.was_woken()
            way.cut()
            for key, _ in selector.select(PATIENCE_SECONDS):
                key.data()
            # the first time it may find out only when it gives the connection back
            with pytest.raises(StorageError):
                [listener.was_woken() for _ in range(2)]
            way.mend()
            assert listener.was_woken()
            listener.close()
    finally:
        way.close()
