"""An agent on this computer, from the side of whoever holds it for an engine: started, looked after, ended.

Between holder and agent stands a keeper (`keeper.py`), which outlives the holder by as long as the agent may take to save.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict

from benchmark.scheduling.executors import keeper
from benchmark.scheduling.executors.protocol import AgentCommand, Granted
from benchmark.scheduling.processes import module_runner
from benchmark.scheduling.processes.environment import python_command
from benchmark.scheduling.processes.pipes import LineReader

_SAID_CHARACTERS = 500


def start_agent(agent: AgentCommand, granted: Granted) -> AgentProcess:
    """Starts an agent on this computer, and does not wait for it.

    Raises:
        OSError: No process can be made.
    """
    return AgentProcess(agent, granted)


class AgentProcess:
    """An agent that this process holds: while this object lives, and is not killed, the agent's input is open.

    Attributes:
        fd: Becomes readable when there is news.
        keeper_pid: Of the process that holds the agent; None until it is heard of.
        agent_pid: Of the agent; None until it is heard of.
        has_vanished: Whether the keeper was killed, as when the computer dies, and has reported nothing.
    """

    def __init__(self, agent: AgentCommand, granted: Granted) -> None:
        self.keeper_pid: int | None = None
        self.agent_pid: int | None = None
        self.has_vanished = False
        self._ended: str | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        theirs, self._life = os.pipe()
        report, reports = os.pipe()
        try:
            starter = subprocess.Popen(
                _keeper_command(), stdin=theirs, stdout=reports, stderr=self._errors, start_new_session=True, cwd="/"
            )
        finally:
            os.close(theirs)
            os.close(reports)
        self.fd = report
        self._reader = LineReader(report)
        order = {**asdict(agent), "environment": dict(agent.environment), "granted": granted.to_line()}
        # where it could not begin `poll` says why
        with contextlib.suppress(BrokenPipeError):
            _write_whole(self._life, json.dumps(order).encode() + b"\n")
        # it has forked the keeper and ended, or could not begin
        self._start_code = starter.wait()

    def poll(self) -> str | None:
        """Why the agent has ended, in words; None while it runs. Does not wait."""
        if self._ended is None:
            for line in self._reader.read():
                said = json.loads(line)
                self.keeper_pid, self.agent_pid = said.get("keeper", self.keeper_pid), said.get("agent", self.agent_pid)
                self._ended = said.get("ended")
            if self._ended is None and self._reader.closed:
                self.has_vanished = self._start_code == 0
                self._ended = "the process that held it there was killed" if self.has_vanished else self._failure()
            if self._ended is not None:
                self.let_go()
                self._reader.close()
                self._errors.close()
        return self._ended

    def kill(self) -> None:
        """Ends the agent at once; `poll` will say so."""
        if self._life >= 0:
            # it may have ended already
            with contextlib.suppress(OSError):
                os.write(self._life, keeper.KILL)

    def let_go(self) -> None:
        """Closes the agent's input: it has `keeper.SAVING_SECONDS` to save and end, and `poll` still tells of it."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def _failure(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines() or [f"status {self._start_code}"]
        return f"it could not be started: {lines[-1][:_SAID_CHARACTERS]}"


def _keeper_command() -> list[str]:
    """With the import path of bench where an ancestor has set it; elsewhere, as on a node, with that of the installation.

    That of this process is not taken over: an engine puts folders of its own, and the working folder, in front.
    """
    if module_runner.IMPORT_PATH in os.environ:
        return python_command(keeper.__name__)
    # the user's own site-packages, too: on a cluster they are often all that a user may install into
    return [sys.executable, "-P", "-m", keeper.__name__]


def _write_whole(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
