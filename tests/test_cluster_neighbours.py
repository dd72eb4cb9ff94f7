"""Cells that want a computer for themselves, on clusters of which several nodes may be on one."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from scheduling_plans import fake_cell
from test_cluster_losses import Agent, run  # noqa: F401  a fixture

from benchmark.scheduling.cluster.messages import Ready, Settled

pytestmark = [pytest.mark.postgres, pytest.mark.parametrize("target", ["postgresql"], indirect=True)]


@pytest.mark.parametrize("how", ["exclusive", "retime"])
def test_each_cell_has_a_computer_for_itself_and_all_computers_work(run, how):  # noqa: F811
    lock, now, most = threading.Lock(), Counter(), Counter()
    # each cell waits for one on the other computer, which comes after both nodes of the first
    both, is_there = threading.Barrier(2, timeout=60), threading.Barrier(3, timeout=60)

    def on(computer):
        def work(agent: Agent) -> str:
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

        return work

    def alone(agent: Agent) -> str:
        agent.ready()
        for cell_id in agent.orders():
            finish(agent, cell_id)
        return "exit code 0"

    def finish(agent: Agent, cell_id: str) -> None:
        agent.finish(cell_id)
        agent.say(Settled(cell_id, "completed"))

    cells = [fake_cell(seed=seed) for seed in range(4)]
    options = {"exclusive": True}
    if how == "retime":
        assert run(cells, {"alone": alone})[0].exit_code == 0
        options = {"retime": True, "rerun_cells": frozenset(cell.cell_id for cell in cells)}
    scripts = {"first": on("one"), "second": on("one"), "other": on("two")}
    summary, listener, _ = run(cells, scripts, cores=1, **options)
    assert summary.exit_code == 0, listener.notes
    assert most == {"one": 1, "two": 1}
