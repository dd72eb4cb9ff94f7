"""Holds one agent for an engine that reaches a computer through a pipe alone, such as that of `ssh`.

    python -m benchmark.scheduling.executors.agent_over_pipe < COMMAND, GRANTED    > why it has ended

The first line is an `AgentCommand` and the second one what is `Granted`, both as JSON. The input then stays open: when it
closes, because the engine is gone, the agent saves and ends. `KILL` as a third line ends it at once.
"""

from __future__ import annotations

import json
import select
import sys

from benchmark.scheduling.executors.agent_process import start_agent
from benchmark.scheduling.executors.protocol import AgentCommand, Granted

KILL = "KILL"


def main() -> None:
    """Starts the agent, and writes why it has ended once it has."""
    command, granted = sys.stdin.readline(), sys.stdin.readline()
    agent = start_agent(AgentCommand(**json.loads(command)), Granted.from_line(granted))
    holder = [sys.stdin]
    while (ended := agent.poll()) is None:
        if sys.stdin in select.select([*holder, agent.fd], [], [])[0]:
            holder.clear()
            if sys.stdin.readline().strip() == KILL:
                agent.kill()
            else:
                agent.let_go()
    sys.stdout.write(f"{ended}\n")


if __name__ == "__main__":
    main()
