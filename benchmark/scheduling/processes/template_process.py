"""The template: an interpreter with Keras imported but never initialised, from which each attempt is forked.

    module_runner.py benchmark.scheduling.processes.template_process BACKEND SOCKET_FD SCHEDULER_PID

It is started by exec, so it holds nothing of the scheduler's: no database, no thread, no handler. It runs no operation
and asks for no device, and stays single-threaded, because only then is a fork of it a sound process. It says `ready`
with the findings of a first child (see `fork_safety.py`), and then forks a guardian for each order that arrives with three
descriptors: report, life, events. When the scheduler is gone, so is it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
import warnings

from benchmark import faults
from benchmark.catalog.backends import BACKENDS
from benchmark.scheduling.processes.fork_safety import settled_findings
from benchmark.scheduling.processes.guardian import die_with_parent
from benchmark.scheduling.processes.worker_process import Order, guard_and_work

ORDER_LIMIT_BYTES = 1 << 20


def serve(backend: str, link: socket.socket) -> None:
    """Imports, reports, and forks until the scheduler closes the link."""
    try:
        faults.point("template.preload")
        for name in (*BACKENDS[backend].modules, BACKENDS[backend].entry):
            importlib.import_module(name)
    except Exception:  # noqa: BLE001  a broken installation is said, not died of
        _say(link, {"error": traceback.format_exc()})
        return
    # Objects of the imports are never collected: the collector would touch, and so copy, every page in each child.
    gc.collect()
    gc.freeze()
    _say(link, {"ready": True, "findings": settled_findings(backend)})
    # Nobody waits for guardians here; their end is read from their pipes.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while (received := _receive(link)) is not None:
        order, descriptors = received
        faults.point("template.fork")
        _fork(order, link, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork(order: Order, link: socket.socket, descriptors: list[int]) -> None:
    try:
        child = os.fork()
    except OSError:
        # No process left for us: the closed pipes tell the scheduler, which tries again later.
        traceback.print_exc()
        return
    if child == 0:
        try:
            link.close()
            guard_and_work(order, *descriptors)
        except BaseException:  # noqa: BLE001  a child must never return into the template's loop
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(1)


def _receive(link: socket.socket) -> tuple[Order, list[int]] | None:
    line, descriptors = b"", []
    while not line.endswith(b"\n"):
        chunk, arrived, _, _ = socket.recv_fds(link, ORDER_LIMIT_BYTES, 3)
        if not chunk:
            return None
        line += chunk
        descriptors += arrived
    return Order.decode(line), descriptors


def _say(link: socket.socket, record: dict[str, object]) -> None:
    link.sendall(json.dumps(record).encode() + b"\n")


def main() -> None:
    backend, number, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    die_with_parent(parent)
    # Ctrl-C reaches the whole foreground group of the terminal; stopping is the scheduler's decision.
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)
    # From Python 3.12 on a fork beside any thread is warned of; the probe has looked at the only ones there are.
    warnings.filterwarnings("ignore", message=r".*multi-threaded, use of fork", category=DeprecationWarning)
    with socket.socket(fileno=number) as link:
        serve(backend, link)


if __name__ == "__main__":
    main()
