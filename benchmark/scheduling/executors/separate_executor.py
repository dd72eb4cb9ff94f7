"""An executor that lives in a process of its own (`engine_process.py`), from the side of the run: no verb ever waits."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmark import errors, layout
from benchmark.errors import BenchError, StorageError, UserError
from benchmark.scheduling.executors.executor_registry import require_executor, split_name
from benchmark.scheduling.executors.protocol import AgentCommand, Demand, ExecutorSettings, Node
from benchmark.scheduling.processes.environment import base_environment, python_command
from benchmark.scheduling.processes.module_runner import IMPORT_PATH
from benchmark.scheduling.processes.pipes import LineReader

OPEN_SECONDS = 120.0
CLOSE_SECONDS = 10.0
_OF_THIS_COMPUTER = {"BENCH_DB", "BENCH_CACHE", "BENCH_RAY_NODE_IP", IMPORT_PATH}
"""Variables of bench that say nothing about other computers; the order of an agent has what it needs of them."""
_MODULE = "benchmark.scheduling.executors.engine_process"


def open_executor(executor: str, folder: Path, *, wants_gpus: bool = False) -> SeparateExecutor:
    """Opens the engine that `--executor` names, for one run, and waits until it knows its nodes.

    Args:
        executor: `NAME` or `NAME:ARGUMENT`; not `local`.
        folder: For files of the engine, its log among them; see `ExecutorSettings`.
        wants_gpus: Whether any cell trains on a GPU.

    Raises:
        UserError: It is unknown or not installed, its argument is wrong, or there is no such cluster.
    """
    name, (_, argument) = require_executor(executor), split_name(executor)
    opened = SeparateExecutor(name, ExecutorSettings(argument, folder, wants_gpus))
    try:
        opened.wait_until_ready(OPEN_SECONDS)
    except BaseException:
        opened.close()
        raise
    return opened


class SeparateExecutor:
    """An `Executor` whose engine is asked and told through pipes.

    Attributes:
        name: The engine's.
        fd: Becomes readable when there is news.
    """

    def __init__(self, name: str, settings: ExecutorSettings) -> None:
        self.name = name
        self._log = settings.folder / layout.EXECUTOR_LOG
        self._slots: tuple[Node, ...] = ()
        self._ended: dict[str, str] = {}
        self._alive: set[str] = set()
        self._last_handle = 0
        self._wanted: tuple[Demand, ...] = ()
        self._is_ready = False
        self._is_lost = False
        self._problem: BenchError | None = None
        settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = {IMPORT_PATH: base_environment(os.environ, "script")[IMPORT_PATH]}
        # an engine such as Slurm hands its environment on and keeps it in files; the order of an agent has the address
        own = {name: value for name, value in os.environ.items() if name != "BENCH_DB"}
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(
                python_command(_MODULE),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**own, **path},
                start_new_session=True,
                # engines hand the working folder on to nodes, as a place of modules
                cwd="/",
            )
        finally:
            os.close(log)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders = self._process.stdin
        self._reader = LineReader(os.dup(self._process.stdout.fileno()))
        self.fd = self._reader.fd
        self._send({**asdict(settings), "folder": str(settings.folder), "name": name})

    def wait_until_ready(self, seconds: float) -> None:
        """Waits until the engine knows its nodes.

        Raises:
            UserError: There is no such cluster, or it does not answer in time.
        """
        until = time.monotonic() + seconds
        while not self._is_ready:
            select.select([self.fd], [], [], min(1.0, max(0.0, until - time.monotonic())))
            self._hear()
            if self._problem is not None:
                raise self._problem
            if time.monotonic() > until:
                raise UserError(f"--executor {self.name}: no answer within {seconds:.0f} s; see {self._log}")

    def slots(self) -> Sequence[Node]:
        """Nodes that could take an agent, or hold one, as the engine has last told."""
        self._hear()
        return self._slots

    def submit(self, node: Node, agent: AgentCommand) -> str:
        """Orders an agent; if it cannot be placed, `poll` says so. Variables of bench that hold here hold there, too."""
        agent = replace(agent, environment={**_variables_of_run(), **agent.environment})
        self._last_handle += 1
        handle = str(self._last_handle)
        self._alive.add(handle)
        self._send({"submit": handle, "node": asdict(node), "agent": asdict(agent)})
        return handle

    def poll(self) -> Mapping[str, str]:
        """Agents that have ended since the last call; all of them when the engine's process has.

        Raises:
            BenchError: The engine is gone (`StorageError`) or broken, and no agent was left to say it of.
        """
        self._hear()
        if self._problem is not None and not self._ended and not self._alive:
            raise self._problem
        ended, self._ended = self._ended, {}
        return ended

    def cancel(self, handle: str) -> None:
        """Orders the end of an agent."""
        self._send({"cancel": handle})

    def want(self, demands: Sequence[Demand]) -> None:
        """Tells an engine that can get more nodes what they are needed for."""
        if tuple(demands) != self._wanted:
            self._wanted = tuple(demands)
            self._send({"want": [asdict(demand) for demand in demands]})

    def close(self) -> None:
        """Ends all agents and the engine's process; waits a few seconds for both."""
        self._send({"close": True})
        with contextlib.suppress(OSError):
            self._orders.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.close()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send(self, order: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()

    def _hear(self) -> None:
        for line in [] if self._is_lost else self._reader.read():
            said = json.loads(line)
            if "slots" in said:
                self._slots = tuple(Node(**node) for node in said["slots"])
            for handle, why in said.get("ended", {}).items():
                self._end(handle, why)
            if "error" in said:
                self._problem = _as_error(said["class"], f"--executor {self.name}: {said['error']}")
            self._is_ready = self._is_ready or "ready" in said
        if self._reader.closed and not self._is_lost:
            self._is_lost = True
            self._problem = self._problem or StorageError(
                f"--executor {self.name}: the engine is gone; nothing that was recorded is lost, and the same command goes on "
                f"once it is there again; see {self._log}"
            )
            self._slots = ()
            for handle in sorted(self._alive):
                self._end(handle, str(self._problem))

    def _end(self, handle: str, why: str) -> None:
        if handle in self._alive:
            self._alive.discard(handle)
            self._ended[handle] = why


def _variables_of_run() -> dict[str, str]:
    """Those of bench, which the user has set for the whole run."""
    names = (name for name in os.environ if name.startswith("BENCH_") and name not in _OF_THIS_COMPUTER)
    return {name: os.environ[name] for name in names}


def _as_error(name: str, text: str) -> BenchError:
    """The error of `benchmark.errors` with this name, or one that stands for a defect."""
    kind = getattr(errors, name, BenchError)
    return kind(text) if isinstance(kind, type) and issubclass(kind, BenchError) else BenchError(text)
