"""How an agent begins on a node whose server does not answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark.errors import ServerError
from benchmark.scheduling.cluster.agent import main, patiently
from benchmark.scheduling.cluster.agent_order import AgentOrder
from benchmark.scheduling.executors.protocol import Granted

pytest.importorskip("psycopg")


def test_an_agent_that_begins_waits_for_a_server_that_is_away_as_long_as_the_engine_holds_it(monkeypatch):
    monkeypatch.setattr("benchmark.scheduling.cluster.agent.LONGEST_PAUSE_SECONDS", 0.01)
    engine, life = os.pipe()
    tries = []

    def reach_the_server() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ServerError("it is started anew")
        return "joined"

    assert patiently(reach_the_server, engine) == "joined"
    os.close(life)
    tries.clear()
    with pytest.raises(ServerError):
        patiently(reach_the_server, engine)
    assert len(tries) == 1
    os.close(engine)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_an_agent_that_never_reaches_the_server_says_what_localhost_is_on_a_node(host, monkeypatch, capsys):
    monkeypatch.setattr("benchmark.scheduling.cluster.agent.BEGINNING_SECONDS", 0.0)
    monkeypatch.setattr("benchmark.scheduling.cluster.agent.LONGEST_PAUSE_SECONDS", 0.0)
    address = f"postgresql://me:canary@{host}:1/db"
    order = AgentOrder(1, address, "n", 60.0, {"artifacts_url": None}, None, str(Path.cwd()))
    engine, life = os.pipe()
    os.write(life, f"{order.encode()}\n{Granted(1).to_line()}\n".encode())
    with os.fdopen(engine, "rb", buffering=0) as stdin:
        assert main(stdin) == ServerError.exit_code
    os.close(life)
    said = capsys.readouterr().err
    assert f"postgresql://me:***@{host}:1/db: the server does not answer" in said
    assert ("localhost is the node itself" in said) == (host == "localhost")
