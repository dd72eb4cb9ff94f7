"""The keeper of one agent: a small process on its node that starts it, reports its end, and leaves nobody behind.

An engine ends the process that holds an agent as it likes, by SIGKILL and together with its children. So the keeper is
nobody's child and has a session of its own: when its standard input closes, because the holder is gone however it went, it
closes that of the agent, which then saves the states of its cells and ends; after `SAVING_SECONDS` it is killed.

    keeper.py < ORDER, then orders of one byte    > REPORTS, as lines of JSON
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

from benchmark.scheduling.executors.protocol import Granted
from benchmark.scheduling.processes.environment import THREAD_VARIABLES, base_environment, python_command
from benchmark.scheduling.processes.module_runner import IMPORT_PATH

KILL = b"K"
"""The order to end the agent at once."""

SAVING_SECONDS = 15.0
"""How long an agent may take to save and end when its holder is gone."""

_LOOK_SECONDS = 0.2
_TAIL_BYTES = 4096
_ENGINES_OWN = ("RAY_", "SUBMITIT_")
"""Beginnings of the names of variables that engines set for what they start, a token among them."""
_KEPT_BACK = {*THREAD_VARIABLES, "BENCH_DB"}
"""The database of an agent stands in its order."""


def agent_environment(inherited: Mapping[str, str], extra: Mapping[str, str], granted: Granted) -> dict[str, str]:
    """The node's own variables, without what the engine has set for what it starts: threads, GPUs, its own affairs.

    Args:
        inherited: Variables of the process that the engine has started.
        extra: Those that the agent gets beside them.
        granted: The GPUs that the agent sees.
    """
    own = {
        name: value for name, value in inherited.items() if name not in _KEPT_BACK and not name.startswith(_ENGINES_OWN)
    }
    path = {IMPORT_PATH: base_environment(inherited, "script")[IMPORT_PATH]}
    return {**own, **extra, **path, "CUDA_VISIBLE_DEVICES": ",".join(granted.gpus) or "-1"}


class Keeper:
    """Starts the agent of an order and watches over it.

    Side effects: starts a process in a session of its own.
    """

    def __init__(self, order: Mapping[str, Any]) -> None:
        granted = Granted.from_line(order["granted"])
        environment = agent_environment(os.environ, order["environment"], granted)
        self._output = bytearray()
        self._deadline: float | None = None
        self._agent = subprocess.Popen(
            python_command(order["module"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        assert self._agent.stdin is not None
        assert self._agent.stdout is not None
        self._input, self._said = self._agent.stdin, self._agent.stdout
        os.set_blocking(self._said.fileno(), False)
        with contextlib.suppress(BrokenPipeError):
            self._input.write(f"{order['order']}\n{granted.to_line()}\n".encode())
            self._input.flush()
        report({"keeper": os.getpid(), "agent": self._agent.pid})

    def let_go(self, *_: int | FrameType | None) -> None:
        """Closes the agent's input: it has `SAVING_SECONDS` from now."""
        if self._deadline is None:
            self._deadline = time.monotonic() + SAVING_SECONDS
            with contextlib.suppress(OSError):
                self._input.close()

    def watch(self) -> str:
        """Obeys the holder until the agent has ended; returns why it has, in words."""
        holder, output = [0], self._said.fileno()
        while self._agent.poll() is None:
            ready, _, _ = select.select([*holder, output], [], [], _LOOK_SECONDS)
            if output in ready and not self._hear():
                time.sleep(_LOOK_SECONDS)  # it has closed its output; a few more looks for its end
            if 0 in ready:
                orders = os.read(0, 64)
                if KILL in orders:
                    self._kill()
                elif not orders:
                    holder.clear()
                    self.let_go()
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._kill()
        self._hear()
        # whoever it has left in its session
        self._kill()
        return self._reason()

    def _hear(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._said.fileno(), 1 << 16):
                self._output = (self._output + chunk)[-_TAIL_BYTES:]
            return False
        return True

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._agent.pid, signal.SIGKILL)

    def _reason(self) -> str:
        code = self._agent.returncode
        if code < 0:
            return f"it was killed by {signal.Signals(-code).name}"
        lines = self._output.decode(errors="replace").strip().splitlines()
        last = f": {lines[-1][:500]}" if code and lines else ""
        return f"it ended with exit code {code}{last}"


def report(said: Mapping[str, Any]) -> None:
    """Tells the holder; it may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(said).encode() + b"\n")


def _read_line(descriptor: int) -> bytes:
    """A line, without what follows it: that is for `select`."""
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in {b"", b"\n"}:
        line += byte
    return bytes(line)


def main() -> None:
    """Becomes nobody's child, takes the order, and keeps the agent to its end."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # heard and not ignored: what is ignored stays so in the agent
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)
    order = _read_line(0)
    if not order:
        return
    try:
        kept = Keeper(json.loads(order))
    except OSError as error:
        report({"ended": f"it could not be started: {error}"})
        return
    signal.signal(signal.SIGTERM, kept.let_go)
    report({"ended": kept.watch()})


if __name__ == "__main__":
    main()
    sys.exit(0)
