"""Stand-in nodes on this computer, for tests: `--executor simulated:NODESxCPUS`, or `NODESxCPUSxGPUS`.

Each holds an agent in a process of its own. A stand-in dies as a computer does when its keeper is killed by SIGKILL: it is
not there any more. When its agent alone is killed it takes another one. It hangs when both are stopped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.errors import UserError
from benchmark.scheduling.executors.agent_process import AgentProcess, start_agent
from benchmark.scheduling.executors.protocol import AgentCommand, ExecutorSettings, Granted, Node


class SimulatedExecutor:
    """An engine of stand-in nodes."""

    def __init__(self, settings: ExecutorSettings) -> None:
        asked = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})(?:x(\d{1,2}))?", settings.argument)
        if asked is None:
            raise UserError(f"expected NODESxCPUS, such as simulated:2x4, got {settings.argument!r}")
        count, cores, gpus = (int(number or 0) for number in asked.groups())
        self._gpus = gpus
        self._nodes = {f"node-{number}": Node(f"node-{number}", cores, gpus) for number in range(1, count + 1)}
        self._agents: dict[str, tuple[str, AgentProcess]] = {}
        self._placed = 0

    def slots(self) -> Sequence[Node]:
        """All stand-ins that have not died."""
        return list(self._nodes.values())

    def submit(self, node: Node, agent: AgentCommand) -> str:
        """Starts the agent here."""
        self._placed += 1
        own = self._nodes[node.name]
        names = tuple(f"{own.name}-gpu-{number}" for number in range(self._gpus))
        simulated = {"BENCH_TEST_GPUS": ",".join(names)} if self._gpus or "BENCH_TEST_GPUS" in os.environ else {}
        agent = replace(agent, environment={**agent.environment, **simulated})
        handle = f"{node.name}/{self._placed}"
        self._agents[handle] = own.name, start_agent(agent, Granted(own.cores, names))
        return handle

    def poll(self) -> Mapping[str, str]:
        """Agents that have ended; a stand-in whose keeper was killed is gone with its agent."""
        ended = {handle: why for handle, (_, agent) in self._agents.items() if (why := agent.poll()) is not None}
        for handle in ended:
            name, agent = self._agents.pop(handle)
            if agent.has_vanished:
                del self._nodes[name]
        return ended

    def cancel(self, handle: str) -> None:
        """Kills the agent."""
        if handle in self._agents:
            self._agents[handle][1].kill()

    def close(self) -> None:
        """Kills all agents."""
        for _, agent in self._agents.values():
            agent.kill()
