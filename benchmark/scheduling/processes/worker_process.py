"""Entry point of every worker process: set environment, affinity and handlers, do the job, exit.

fork    `work(order, events)` is called in the process that the guardian forked from the template
spawn   module_runner.py benchmark.scheduling.processes.worker_process EVENTS_FD < order
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import NoReturn

from benchmark.catalog.backends import BACKENDS
from benchmark.events import Event, Failed, Job, job_from_line, to_line
from benchmark.scheduling.processes.guardian import close_all_but, guard
from benchmark.status import Cause

_TRACEBACK_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class Order:
    """What one worker process is told: its job as a line, its whole environment, and where its output goes."""

    job: str
    backend: str
    environment: Mapping[str, str]
    log_path: str

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Order:
        return cls(**json.loads(line))


def guard_and_work(order: Order, report: int, life: int, events: int) -> NoReturn:
    """What a process forked from the template does: it becomes the guardian, and its child the worker."""
    guard(report, life, order.log_path, lambda: work(order, events))


def work(order: Order, events: int) -> NoReturn:
    """Does the job of `order` and ends this process at once: the interpreter's own shutdown takes 0.9 s with TensorFlow."""
    close_all_but({0, 1, 2, events})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(order.environment)
    job = job_from_line(order.job.encode())
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.cores)
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    code = _attempt(job, order.backend, lambda event: _write(events, to_line(event)))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _attempt(job: Job, backend: str, emit: Callable[[Event], None]) -> int:
    try:
        entry = importlib.import_module(BACKENDS[backend].entry)
        # as in the template: what the imports left stays to the end, and Keras has it looked through once an attempt
        gc.freeze()
        code: int = entry.main(job, emit)
    except BaseException as error:  # noqa: BLE001  the last place where anything can be said about it
        text = traceback.format_exc()
        sys.stderr.write(text)
        cause = Cause.OOM if isinstance(error, MemoryError) else Cause.FAILED
        emit(Failed(cause, type(error).__name__, str(error)[:_TRACEBACK_LIMIT], text[-_TRACEBACK_LIMIT:]))
        return 1
    return code


def _write(events: int, line: bytes) -> None:
    try:
        while line:
            line = line[os.write(events, line) :]
    except BrokenPipeError:
        # The scheduler has gone, and with it whoever could want this result; the guardian is about to say so.
        os._exit(1)


if __name__ == "__main__":
    work(Order.decode(sys.stdin.buffer.read()), int(sys.argv[1]))
