"""What cells and engines ask of a cluster: a computer for one cell alone, and a node back; agents play by a script."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from scheduling_plans import fake_cell
from scheduling_runs import Place
from test_cluster_losses import Agent, run  # noqa: F401  a fixture

from benchmark.scheduling.cluster.messages import Ready, Settled, Unfit
from benchmark.scheduling.cluster.placement import demands_of
from benchmark.scheduling.executors.protocol import Demand
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
    both, is_there = threading.Barrier(2, timeout=60), threading.Barrier(3, timeout=60)

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
        has_left.wait(60)
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


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_run_whose_last_node_goes_waits_for_another_as_long_as_it_was_told(run, patience):  # noqa: F811
    def leave_once(agent: Agent) -> str:
        agent.ready()
        if agent.leaving or has_left.is_set():
            return work(agent)
        has_left.set()
        agent.leaving.add(agent.name)
        list(agent.orders())
        # the engine has another one in its place a while later
        threading.Timer(0.2, agent.leaving.clear).start()
        return "exit code 0"

    has_left = threading.Event()
    summary, listener, _ = run([fake_cell()], {"only": leave_once}, node_seconds=patience)
    assert summary.exit_code == (0 if patience else 3), listener.notes
    assert summary.stopped == (None if patience else "no node of the cluster is left that could run cells")


def test_an_engine_is_told_what_the_cells_that_are_left_need(tmp_path, target):
    cells = [fake_cell(seed=0), fake_cell(seed=1), fake_cell(seed=2, threads=4), fake_cell(seed=3, device="gpu")]
    options = Place(tmp_path).options()
    assert set(demands_of(cells, options)) == {Demand(2, 1, 0), Demand(1, 4, 0), Demand(1, 1, 1)}
    assert sum(demand.count for demand in demands_of(cells, Place(tmp_path).options(jobs=2))) == 2
