"""What Ray runs on a node: an actor that holds one agent there (see `agent_process.py`)."""

from __future__ import annotations

import select
from dataclasses import replace

import benchmark
from benchmark.scheduling.executors.agent_process import AgentProcess, start_agent
from benchmark.scheduling.executors.protocol import AgentCommand, Granted

_LOOK_SECONDS = 0.2


class AgentHolder:
    """Holds an agent on the node that this actor was placed on; methods run beside each other, each in a thread."""

    def __init__(self) -> None:
        self._agent: AgentProcess | None = None

    def hold(self, agent: AgentCommand, granted: Granted, version: str) -> str:
        """Starts the agent, with the GPUs that Ray has given; returns why it has ended, once it has.

        Args:
            agent: The program.
            granted: All that it gets except the GPUs.
            version: Of the package on the computer of the run.
        """
        if version != benchmark.__version__:
            here, there = f"benchmark-matrix {benchmark.__version__}", f"{version} where `bench run` was started"
            return f"this node has {here}, but {there}: install the same version on all nodes"
        import ray

        gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
        self._agent = start_agent(agent, replace(granted, gpus=tuple(map(str, gpus))))
        while (ended := self._agent.poll()) is None:
            # a short wait, so that a cancelled actor ends soon
            select.select([self._agent.fd], [], [], _LOOK_SECONDS)
        return ended

    def begun(self) -> bool:
        """True: this actor has its place."""
        return True

    def end(self) -> None:
        """Ends the agent at once."""
        if self._agent is not None:
            self._agent.kill()
