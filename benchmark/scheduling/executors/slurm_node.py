"""What a job of Slurm runs on its node: it holds one agent there (see `agent_process.py`)."""

from __future__ import annotations

import os
import select
import signal
import socket
from dataclasses import replace

from benchmark.scheduling.executors.agent_process import start_agent
from benchmark.scheduling.executors.protocol import AgentCommand, Granted

_LOOK_SECONDS = 0.2


def hold(agent: AgentCommand, granted: Granted, gpus: int) -> str:
    """Starts the agent, with the GPUs that Slurm has given; returns why it has ended, once it has.

    SIGTERM (`scancel`, preemption) and SIGUSR2 (the time limit is near) let it save and end; Ctrl-C ends it at once.

    Args:
        agent: The program.
        granted: All that it gets except the GPUs and the host.
        gpus: How many GPUs were asked for.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpus else []
    granted = replace(granted, gpus=tuple(filter(None, visible)), host=socket.gethostname())
    held = start_agent(agent, granted)
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: held.let_go())
    while (ended := held.poll()) is None:
        try:
            select.select([held.fd], [], [], _LOOK_SECONDS)
        except KeyboardInterrupt:
            held.kill()
    return ended
