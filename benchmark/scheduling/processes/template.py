"""The scheduler's side of the template process: start it, hear what it says, hand it orders."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping

from benchmark import machine
from benchmark.catalog.backends import BACKENDS
from benchmark.scheduling.processes.environment import python_command
from benchmark.scheduling.processes.fork_safety import objections
from benchmark.scheduling.processes.pipes import LineReader
from benchmark.scheduling.processes.worker_process import Order

SEND_SECONDS = 5.0
_STDERR_TAIL_BYTES = 4096


def installed_versions(backend: str) -> dict[str, str]:
    """Of what a template of this backend imports, by name; nothing is imported to find out."""
    return machine.package_versions(BACKENDS[backend].modules)


class Template:
    """One template process.

    Attributes:
        state: `starting`, `ready`, `unfit` (do not fork from it, see `problem`), or `dead`.
        problem: Why it is unfit or dead, in words.
        pid: Of the process.
        started: Monotonic seconds when it was started.
        reader: Becomes readable when it says something or dies.
        versions: Of the libraries that it imports, as installed when it was started.
    """

    def __init__(self, backend: str, environment: Mapping[str, str]) -> None:
        self.backend = backend
        self.state = "starting"
        self.problem = ""
        self.started = time.monotonic()
        self.versions = installed_versions(backend)
        self._link, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        module = "benchmark.scheduling.processes.template_process"
        with theirs:
            self._process = subprocess.Popen(
                python_command(module, backend, str(theirs.fileno()), str(os.getpid())),
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(),),
                env=dict(environment),
            )
        self.pid = self._process.pid
        self.reader = LineReader(os.dup(self._link.fileno()))
        # The reader made the shared socket non-blocking; orders are sent blocking, with a time limit.
        self._link.settimeout(SEND_SECONDS)

    def hear(self) -> None:
        """Takes in what it said; called when `reader` is readable."""
        for line in self.reader.read():
            said = json.loads(line)
            if "error" in said:
                self._give_up("unfit", f"its imports failed:\n{said['error']}")
            elif reasons := objections(self.backend, said["findings"]):
                self._give_up("unfit", "; ".join(reasons))
            else:
                self.state = "ready"
        if self.reader.closed and self.state in {"starting", "ready"}:
            self._give_up("dead", self._last_words())

    def fork(self, order: Order, report: int, life: int, events: int) -> bool:
        """Asks for a guardian and its worker; False when the template is gone and the order with it."""
        try:
            line = order.encode()
            sent = socket.send_fds(self._link, [line], [report, life, events])
            if sent < len(line):
                self._link.sendall(line[sent:])
        except OSError as error:
            self._give_up("dead", f"it takes no orders: {error}")
            return False
        return True

    def close(self) -> None:
        """Ends the process and waits for it; guardians forked from it go on."""
        self._link.close()
        self.reader.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._stderr.close()

    def _give_up(self, state: str, problem: str) -> None:
        if self.state in {"starting", "ready"}:
            self.state, self.problem = state, problem

    def _last_words(self) -> str:
        code = self._process.wait(SEND_SECONDS) if self._process.poll() is None else self._process.returncode
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL_BYTES))
        words = self._stderr.read().decode(errors="replace").strip()
        return f"it ended with status {code}" + (f":\n{words}" if words else "")
