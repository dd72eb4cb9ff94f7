"""The process of an engine beside a run: it makes the executor, takes orders, and says what has changed.

A library such as Ray starts threads, handles signals, writes to the terminal, blocks for a minute when its cluster does not
answer, and ends the process it lives in when the cluster is gone. A run must go on through all of this, so none of it
happens in the process of a run. Orders come as lines of JSON on the standard input, and answers go to the standard output;
`separate_executor.py` is the other end. Whatever else is written goes to a log.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark import layout
from benchmark.errors import BenchError
from benchmark.scheduling.executors.executor_registry import make_executor
from benchmark.scheduling.executors.protocol import AgentCommand, Demand, Executor, ExecutorSettings, Node
from benchmark.scheduling.processes.pipes import LineReader

_LOOK_SECONDS = 0.25


class EngineProcess:
    """Obeys the run, and tells it what the executor tells."""

    def __init__(self, executor: Executor, answers: int) -> None:
        self._executor = executor
        self._answers = answers
        self._handles: dict[str, str] = {}
        """The run's handle by the executor's."""
        self._slots: list[dict[str, Any]] | None = None

    def look(self) -> None:
        """Asks the executor, and tells what is new."""
        ended = {self._handles.pop(own): why for own, why in self._executor.poll().items() if own in self._handles}
        slots = [asdict(node) for node in self._executor.slots()]
        if ended:
            self.say({"ended": ended})
        if slots != self._slots:
            self._slots = slots
            self.say({"slots": slots})

    def obey(self, order: Mapping[str, Any]) -> None:
        """Carries out one order: `submit`, `cancel` or `want`."""
        if "submit" in order:
            try:
                own = self._executor.submit(Node(**order["node"]), AgentCommand(**order["agent"]))
            except Exception as error:  # noqa: BLE001  an engine may raise anything
                traceback.print_exc()
                self.say({"ended": {order["submit"]: f"it could not be placed: {error}"}})
            else:
                self._handles[own] = order["submit"]
        elif "cancel" in order:
            for own in [own for own, handle in self._handles.items() if handle == order["cancel"]]:
                try:
                    self._executor.cancel(own)
                except Exception:  # noqa: BLE001
                    traceback.print_exc()

        elif "want" in order and (want := getattr(self._executor, "want", None)) is not None:
            try:
                want([Demand(**demand) for demand in order["want"]])
            except Exception:  # noqa: BLE001
                traceback.print_exc()

    def say(self, said: Mapping[str, Any]) -> None:
        """One line to the run.

        Raises:
            BrokenPipeError: The run is gone.
        """
        content = json.dumps(said).encode() + b"\n"
        while content:
            content = content[os.write(self._answers, content) :]

    def serve(self, orders: LineReader) -> None:
        """Obeys and tells until the run says `close`, or is gone."""
        while not orders.closed:
            select.select([orders.fd], [], [], _LOOK_SECONDS)
            for line in orders.read():
                order = json.loads(line)
                if "close" in order:
                    self._executor.close()
                    return
                self.obey(order)
            self.look()
        # the run is gone: agents notice that their input closes, or that nobody holds the database, and save first
        let_go = getattr(self._executor, "let_go", None)
        if let_go is not None:
            let_go()


def main() -> None:
    """Makes the executor that the first line names, and serves it; exit code 0 whatever comes, the answers say it.

    Side effects: the standard output becomes the log.
    """
    answers = os.dup(1)
    os.dup2(2, 1)
    # heard and not ignored: what is ignored stays so in the processes that an engine starts
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    orders = LineReader(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    first: list[bytes] = []
    while not first and not orders.closed:
        select.select([orders.fd], [], [])
        first = orders.read()
    asked = json.loads(first[0])
    settings = ExecutorSettings(asked["argument"], Path(asked["folder"]), asked["wants_gpus"])
    process: EngineProcess | None = None
    try:
        process = EngineProcess(make_executor(asked["name"], settings), answers)
        process.look()
        process.say({"ready": True})
        process.serve(orders)
    except BrokenPipeError:
        pass
    except Exception as error:  # noqa: BLE001  the run says it
        traceback.print_exc()
        is_ours = isinstance(error, BenchError)
        text = (
            str(error) if is_ours else f"{type(error).__name__}: {error}; see {settings.folder / layout.EXECUTOR_LOG}"
        )
        said = {"error": text, "class": type(error).__name__}
        (process or EngineProcess(None, answers)).say(said)  # type: ignore[arg-type]
    sys.stdout.flush()
    sys.stderr.flush()
    # neither threads of a library nor its handlers at exit may keep or disturb the end
    os._exit(0)


if __name__ == "__main__":
    main()
