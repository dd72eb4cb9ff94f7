"""What cells and engines ask of a cluster: a computer for one cell alone, and a node back; agents play by a script."""

from __future__ import annotations

import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from scheduling_plans import fake_cell
from scheduling_runs import Place
from test_cluster_losses import Agent, run  # noqa: F401  a fixture
from waiting import PATIENCE_SECONDS

from benchmark.scheduling.cluster import idle_nodes
from benchmark.scheduling.cluster.messages import Ready, Settled, Stop, Unfit
from benchmark.scheduling.cluster.placement import WorkingNode, demands_of
from benchmark.scheduling.executors.protocol import Demand
from benchmark.scheduling.processes.slots import Slots
from benchmark.status import Cause

pytestmark = [pytest.mark.postgres, pytest.mark.parametrize("target", ["postgresql"], indirect=True)]


def work(agent: Agent) -> str:
    agent.ready()
    for cell_id in agent.orders():
        finish(agent, cell_id)
    return "exit code 0"


def finish(agent: Agent, cell_id: str) -> None:
    agent.finish(cell_id)
    agent.say(Settled(cell_id, "completed"))


@pytest.mark.parametrize("how", ["exclusive", "retime"])
def test_each_cell_has_a_computer_for_itself_and_all_computers_work(run, how):  # noqa: F811
    lock, now, most = threading.Lock(), Counter(), Counter()
    # each cell waits for one on the other computer, which comes after both nodes of the first
    both, is_there = threading.Barrier(2, timeout=PATIENCE_SECONDS), threading.Barrier(3, timeout=PATIENCE_SECONDS)

    def on(computer):
        def work_there(agent: Agent) -> str:
            if computer == "two":
                is_there.wait()
            agent.say(Ready(agent.name, 1, 0, computer))
            if computer == "one":
                is_there.wait()
            for cell_id in agent.orders():
                with lock:
                    now[computer] += 1
                    most[computer] = max(most[computer], now[computer])
                both.wait()
                with lock:
                    now[computer] -= 1
                finish(agent, cell_id)
            return "exit code 0"

        return work_there

    cells = [fake_cell(seed=seed) for seed in range(4)]
    options = {"exclusive": True}
    if how == "retime":
        assert run(cells, {"alone": work})[0].exit_code == 0
        options = {"retime": True, "rerun_cells": frozenset(cell.cell_id for cell in cells)}
    scripts = {"first": on("one"), "second": on("one"), "other": on("two")}
    summary, listener, _ = run(cells, scripts, cores=1, **options)
    assert summary.exit_code == 0, listener.notes
    assert most == {"one": 1, "two": 1}


def test_a_node_that_the_engine_takes_away_is_asked_to_save_and_gets_nothing_more(run):  # noqa: F811
    given, has_left = [], threading.Event()

    def leave(agent: Agent) -> str:
        agent.ready()
        orders = agent.orders()
        given.append(next(orders))
        attempt_id = agent.begin(given[0])
        agent.leaving.add(agent.name)
        # until it is told to stop
        given.extend(orders)
        agent.recorder.finish_attempt(attempt_id, state=Cause.INTERRUPTED)
        agent.say(Settled(given[0], Cause.INTERRUPTED))
        has_left.set()
        return "exit code 0"

    def work_then(agent: Agent) -> str:
        has_left.wait(PATIENCE_SECONDS)
        return work(agent)

    summary, listener, rows = run(
        [fake_cell(seed=seed) for seed in range(3)], {"leaves": leave, "stays": work_then}, cores=1
    )
    assert summary.exit_code == 0, listener.notes
    assert len(given) == 1
    assert "node leaves is removed by the engine: its cells save their states and continue elsewhere" in listener.notes
    by_node = "SELECT node, state, count(*) FROM attempt GROUP BY node, state ORDER BY node"
    assert rows(by_node) == [("leaves", "interrupted", 1), ("stays", "completed", 3)]
    assert rows("SELECT count(*) FROM node WHERE name = 'leaves'") == [(1,)]


def test_a_cell_for_which_no_disk_has_room_fails_after_three_nodes_and_the_others_complete(run):  # noqa: F811
    large, small = fake_cell(seed=0), fake_cell(seed=1)

    def have_little_room(agent: Agent) -> str:
        agent.ready()
        for cell_id in agent.orders():
            if cell_id == small.cell_id:
                finish(agent, cell_id)
                continue
            agent.recorder.finish_attempt(agent.begin(cell_id), state=Cause.INTERRUPTED)
            agent.say(Settled(cell_id, Cause.INTERRUPTED), Unfit(agent.name, "the disk is full", cell_id))
            break
        return "exit code 0"

    summary, listener, _ = run([large, small], dict.fromkeys("abcd", have_little_room), cores=1)
    assert summary.exit_code == 3
    reason = "3 nodes had no disk space for it; the last one ran nothing else"
    assert listener.ends()[large.cell_id] == ("failed", "failed")
    assert listener.ends()[small.cell_id] == ("completed", None)
    assert [detail for cell, *_, detail in listener.of("cell_finished") if cell == large] == [reason]


@pytest.mark.parametrize("patience", [0.0, PATIENCE_SECONDS])
def test_a_run_whose_last_node_goes_waits_for_another_as_long_as_it_was_told(run, patience):  # noqa: F811
    def leave_once(agent: Agent) -> str:
        agent.ready()
        if agent.leaving or has_left.is_set():
            return work(agent)
        has_left.set()
        agent.leaving.add(agent.name)
        list(agent.orders())
        if patience:
            # the engine has another one in its place a while later
            threading.Timer(0.2, agent.leaving.clear).start()
        return "exit code 0"

    has_left = threading.Event()
    summary, listener, _ = run([fake_cell()], {"only": leave_once}, node_seconds=patience)
    assert summary.exit_code == (0 if patience else 3), listener.notes
    assert summary.stopped == (None if patience else "no node of the cluster is left that could run cells")


def test_a_node_for_which_no_cell_is_left_is_let_go_and_taken_again_for_the_cell_of_another_that_dies(
    run,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr(idle_nodes, "IDLE_SECONDS", 0.0)
    has_cell, has_left = threading.Event(), threading.Event()

    def die_with_its_cell(agent: Agent) -> str:
        if has_cell.is_set():
            agent.hang()
            return "it was ended"
        agent.ready()
        agent.begin(next(agent.orders()))
        has_cell.set()
        assert has_left.wait(PATIENCE_SECONDS)
        return "it was killed by SIGKILL"

    def leave_once(agent: Agent) -> str:
        if has_left.is_set():
            return work(agent)
        assert has_cell.wait(PATIENCE_SECONDS)
        agent.ready()
        assert list(agent.orders()) == []
        has_left.set()
        return "exit code 0"

    summary, listener, rows = run([fake_cell()], {"dies": die_with_its_cell, "spare": leave_once})
    assert summary.exit_code == 0, listener.notes
    assert listener.notes.count("node spare is let go: no cell is left for it") == 1
    assert rows("SELECT node, state FROM attempt ORDER BY number") == [("dies", "abandoned"), ("spare", "completed")]
    # its second agent had a cell, and stayed to the end
    assert len(rows("SELECT node_id FROM node WHERE name = 'spare'")) == 2


@pytest.mark.parametrize(
    ("waiting", "kept"),
    [
        ([], set()),
        ([fake_cell()], {"late"}),
        ([fake_cell(device="gpu")], {"gpu"}),
        ([fake_cell(device="gpu"), fake_cell(device="gpu", seed=1), fake_cell()], {"late", "gpu"}),
        ([fake_cell(seed=seed) for seed in range(9)], {"early", "late", "gpu"}),
    ],
    ids=["none", "one", "one for a GPU", "more than GPUs", "many"],
)
def test_as_many_idle_nodes_are_kept_as_cells_wait_that_could_run_there(target, waiting, kept):
    del target
    since = {"gpu": 1.0, "early": 2.0, "late": 3.0}
    members = {
        number: WorkingNode(number, name, name, Slots(range(2), range(name == "gpu"), None, 1), idle_since=since[name])
        for number, name in enumerate(since)
    }
    sent, options = [], SimpleNamespace(grace_seconds=0.0)
    working = SimpleNamespace(
        members=members,
        waiting=len(waiting),
        waiting_cells=lambda: iter(waiting),
        let_go=set(),
        placements=Counter(),
        options=options,
        note=lambda _: None,
        send=sent.extend,
    )
    idle_nodes.let_idle_nodes_go(working)
    assert {members[number].name for number, message in sent if isinstance(message, Stop)} == working.let_go
    assert since.keys() - working.let_go == kept
    # one that has been asked is not asked again
    idle_nodes.let_idle_nodes_go(working)
    assert len(sent) == len(working.let_go)


def test_an_engine_is_told_what_the_cells_that_are_left_need(tmp_path, target):
    cells = [fake_cell(seed=0), fake_cell(seed=1), fake_cell(seed=2, threads=4), fake_cell(seed=3, device="gpu")]
    options = Place(tmp_path).options()
    assert set(demands_of(cells, options)) == {Demand(2, 1, 0), Demand(1, 4, 0), Demand(1, 1, 1)}
    assert sum(demand.count for demand in demands_of(cells, Place(tmp_path).options(jobs=2))) == 2
