"""Entry point of a node agent: runs the cells that a run gives to one node, with template, guardian and worker as at home.

    module_runner.py benchmark.scheduling.cluster.agent < order

Its standard input begins with two lines of JSON: an `AgentOrder`, and what the engine has granted on this node. It stays
open as long as the engine's own process for the agent lives. What workers tell is recorded by the agent itself; how cells
end is reported to the run through the mailbox of the database.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from benchmark import machine
from benchmark.catalog.cache import fingerprint
from benchmark.errors import BenchError, ServerError, StorageError, exhaustion
from benchmark.files import make_own_folder
from benchmark.matrix.cell import Cell
from benchmark.results.cluster import mailbox, nodes
from benchmark.results.cluster.nodes import Member
from benchmark.results.cluster.shared_listener import SharedListener
from benchmark.results.store.database import Database, open_database
from benchmark.results.store.server_lock import is_held
from benchmark.results.write.recorder import Recorder
from benchmark.scheduling.cluster.agent_order import AgentOrder, own_scratch
from benchmark.scheduling.cluster.lease_renewal import LeaseRenewal
from benchmark.scheduling.cluster.messages import (
    Kill,
    Message,
    Ready,
    Refuse,
    RunCell,
    Stop,
    Unfit,
    body_of,
    message_of,
)
from benchmark.scheduling.cluster.ordered_cells import OrderedCells
from benchmark.scheduling.cluster.reporting_observer import ReportingObserver
from benchmark.scheduling.executors.protocol import Granted
from benchmark.scheduling.loop.context import RunContext
from benchmark.scheduling.loop.loop import go_round, stop
from benchmark.scheduling.loop.retrying_recorder import LONGEST_PAUSE_SECONDS, RetryingRecorder
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.processes.slots import Slots
from benchmark.scheduling.run_options import GuardedObserver, RunOptions

T = TypeVar("T")

TURN_SECONDS = 1.0
"""How often the agent checks its lease when nothing happens."""

LOOK_SECONDS = 2.5
"""How often it looks for orders, and whether its run lives, when nothing wakes it."""

DRIVER_SECONDS = 10.0
"""How long the lock of the run may be free before the run counts as dead."""

BEGINNING_SECONDS = 20.0
"""How long an agent that begins waits for a server that is away; then it says so, for its address may be of no use there."""

LEAVING_SECONDS = 5.0
"""How long an agent whose cells have ended waits for a server that is away, to say so."""


_OF_ITSELF = "on a node localhost is the node itself: name the server by an address that all nodes reach; "


def main(stdin: BinaryIO) -> int:
    """Reads the order, joins the run, and serves it until it ends.

    Returns:
        The exit code of the process: 0 when it left in good order.
    """
    given = json.loads(stdin.readline())
    order = AgentOrder(**{each.name: given[each.name] for each in fields(AgentOrder) if each.name in given})
    order = replace(order, database=nodes.address_for_node(order.database, order.lease_seconds))
    grant = Granted.from_line(stdin.readline().decode())
    with contextlib.suppress(OSError):
        os.chdir(order.folder)
    for name, value in order.environment.items():
        os.environ.setdefault(name, value)
    try:
        opened = patiently(partial(open_database, order.database, mode="write"), stdin.fileno())
        with opened as database, own_scratch(order) as own:
            return _serve(own, grant, database, stdin.fileno())
    except BenchError as error:
        is_own = isinstance(error, ServerError) and nodes.is_of_each_computer(order.database)
        sys.stderr.write(f"{_OF_ITSELF if is_own else ''}{error}\n")
        return error.exit_code


def patiently(action: Callable[[], T], stdin: int) -> T:
    """Does something with the database, and tries again while its server is away, as a node that has begun does.

    Raises:
        ServerError: It was away for `BEGINNING_SECONDS`, or until the engine's process was gone.
    """
    until = time.monotonic() + BEGINNING_SECONDS
    while True:
        try:
            return action()
        except ServerError:
            if time.monotonic() > until or select.select([stdin], [], [], LONGEST_PAUSE_SECONDS)[0]:
                raise


def _serve(order: AgentOrder, grant: Granted, database: Database, stdin: int) -> int:
    cores = machine.available_cores()
    count = grant.cores
    # an engine may count more cores than there are, or than are left to this process: then nothing is pinned
    pinned = count <= len(cores)
    cores = cores[:count] if count <= len(cores) else tuple(range(count))
    gpus = range(len(grant.gpus))
    facts = machine.facts()
    known = {
        "host": grant.host or socket.gethostname(),
        **{name: getattr(facts, name) for name in ("boot_id", "os", "cpu_model", "memory_bytes", "gpu_driver")},
        "python_version": facts.python_version,
        "cpu_cores": count,
        "gpu_names": ", ".join(gpu.name for gpu in facts.gpus if gpu.index in gpus) or None,
    }
    join = partial(nodes.join, database, order.run_id, order.node, known, order.lease_seconds)
    node_id = patiently(join, stdin)
    recorder = Recorder(database, member=Member(node_id, order.node, order.lease_seconds))
    agent = _Agent(order, database, node_id, recorder)
    try:
        agent.check_artifacts()
        agent.post(Ready(order.node, count, len(gpus), facts.boot_id or str(known["host"])))
        patiently(recorder.flush, stdin)
        agent.serve(Slots(cores, gpus, None, agent.options.gpu_share), stdin, pinned=pinned)
    except (BenchError, OSError, MemoryError) as error:
        named = error if isinstance(error, BenchError) else exhaustion(error)
        if named is None:
            raise
        agent.post(Unfit(order.node, str(error) if named is error else f"node {order.node}: {named}"))
        raise named from error
    finally:
        with contextlib.suppress(BenchError):
            recorder.flush()
            nodes.leave(database, node_id, agent.reason)
    return 0


class _Agent:
    """One agent between joining a run and leaving it."""

    def __init__(self, order: AgentOrder, database: Database, node_id: int, recorder: Recorder) -> None:
        values = dict(order.options)
        for name in ("artifacts_root", "manual_directory"):
            values[name] = None if values[name] is None else Path(values[name])
        self.options = RunOptions(cache_root=order.root_of_cache, **values)
        self.reason = "the run has ended"
        self._order = order
        self._database = database
        self._node_id = node_id
        self._recorder = recorder
        self._orders = OrderedCells(self.post, self.options.artifacts_root.absolute(), self._fingerprint_of)
        self._held = time.monotonic()
        self._looked = 0.0

    def post(self, message: Message) -> None:
        """Reports something to the run, with the next that is written."""
        self._recorder.post([body_of(message)])

    def check_artifacts(self) -> None:
        """Tries whether files of cells can be written here.

        Raises:
            StorageError: The folder of artifacts cannot be made or written on this node, or the URL not be used from it.
        """
        folder, store = self.options.artifacts_root, self.options.store
        if store is not None:
            try:
                store.check()
            except StorageError as error:
                raise StorageError(f"node {self._order.node}: {error}") from error
            return
        try:
            make_own_folder(folder, adopt=True)
            writable = os.access(folder, os.W_OK | os.X_OK)
        except OSError as error:
            raise StorageError(f"node {self._order.node}: {folder}: {_SHARED}, got: {error.strerror}") from error
        if not writable:
            raise StorageError(f"node {self._order.node}: {folder}: {_SHARED}; change its permissions")

    def serve(self, slots: Slots, stdin: int, *, pinned: bool) -> None:
        """Runs what the run orders, until it ends, dies, or will not have this node any more."""
        order = self._order
        observer = GuardedObserver(ReportingObserver(order.node, self.post))
        with StopSignals() as signals, contextlib.ExitStack() as stack:
            box = mailbox.Mailbox(self._database, order.run_id, self._node_id)
            retrying = RetryingRecorder(self._recorder, order.run_id, self.options.machine, observer.note, signals.wait)
            run = RunContext(self._orders, [], self.options, observer, signals, retrying, slots, pins_cores=pinned)
            stack.enter_context(contextlib.closing(run))
            listener = SharedListener(self._database, run.selector, order.run_id, self._node_id)
            stack.callback(listener.close)
            renewal = stack.enter_context(LeaseRenewal(order.database, self._node_id, order.lease_seconds))
            run.selector.register(stdin, selectors.EVENT_READ, lambda: self._hear_engine(run, stdin))
            ended = time.monotonic()
            while True:
                self._take_orders(run, box, listener)
                self._check(run, renewal)
                if run.stopped is None or run.is_busy:
                    ended = time.monotonic()
                elif not run.recorder.is_waiting or time.monotonic() - ended > LEAVING_SECONDS:
                    break
                go_round(run, TURN_SECONDS)
            self.reason = run.stopped

    def _hear_engine(self, run: RunContext, stdin: int) -> None:
        if not os.read(stdin, 1 << 12):
            run.selector.unregister(stdin)
            stop(run, "the engine has ended this agent")

    def _take_orders(self, run: RunContext, box: mailbox.Mailbox, listener: SharedListener) -> None:
        now = time.monotonic()
        if run.recorder.error is not None:
            return
        if run.recorder.is_waiting:
            # it tries again by itself: one who waits for a server that is away is enough
            self._held = now
            return
        try:
            if not listener.was_woken() and now - self._looked < LOOK_SECONDS:
                return
            self._looked = now
            orders = box.take()
            with self._database.reading() as connection:
                is_driven = is_held(connection)
        except StorageError:
            # while the server is away nobody knows whether the run is
            self._held = now
            return
        self._held = now if is_driven else self._held
        for order in orders:
            self._obey(run, message_of(order.body))
        if now - self._held > DRIVER_SECONDS:
            stop(run, "the run that gave the orders has died")

    def _obey(self, run: RunContext, message: Message) -> None:
        match message:
            case RunCell() if run.stopped is None:
                run.preparations.add(self._orders.add(message))
            case Refuse():
                for attempt in run.running.values():
                    if attempt.cell.cell_id == message.cell_id:
                        attempt.refuse(message.reason, time.monotonic())
            case Stop():
                stop(run, message.reason, message.grace_seconds)
            case Kill():
                self._kill(run, "the run was ended by a second signal")
            case _:
                pass

    def _check(self, run: RunContext, renewal: LeaseRenewal) -> None:
        """Ends what runs when the run has given this node up, or this node itself."""
        if renewal.is_fenced:
            self._kill(run, "the run has given this node up")
        elif renewal.is_expired:
            stop(run, "the lease of this node could not be renewed")
        elif self._orders.without_room is not None and run.stopped is None:
            cell_id, reason = self._orders.without_room
            self.post(Unfit(self._order.node, f"node {self._order.node} leaves: {reason}. Make room on it", cell_id))
            stop(run, f"a disk of this node is full: {reason}")

    def _kill(self, run: RunContext, reason: str) -> None:
        stop(run, reason)
        for attempt in run.running.values():
            if attempt.force_at is None:
                attempt.kill(time.monotonic())
        run.abandon_copies()

    def _fingerprint_of(self, cell: Cell) -> str | None:
        return fingerprint(self.options.directories.of(cell.data))


_SHARED = "expected a folder for artifacts that all nodes can write; name a shared one with --artifacts"


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer))
