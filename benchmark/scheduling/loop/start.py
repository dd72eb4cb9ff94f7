"""Starting cells: the attempt is written down, then it gets a process; when none can be had, it waits for one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark import layout, machine
from benchmark.errors import StorageError
from benchmark.events import Job, to_line
from benchmark.matrix.cell import Cell
from benchmark.results.records import AttemptStart
from benchmark.scheduling.loop.attempt import Attempt
from benchmark.scheduling.loop.context import Desk
from benchmark.scheduling.loop.disturbance import Meter, oom_kills
from benchmark.scheduling.loop.stall import Liveness
from benchmark.scheduling.options import AttemptFacts
from benchmark.scheduling.processes.environment import worker_environment
from benchmark.scheduling.processes.launcher import Launcher, Lines
from benchmark.scheduling.processes.slots import Grant
from benchmark.scheduling.processes.worker_process import Order
from benchmark.scheduling.programs.preparation import Preparations

LAUNCHES = 3
"""How often an attempt is launched in vain before the run gives up."""

RELAUNCH_SECONDS = 0.5


@dataclass(slots=True)
class Ticket:
    """An attempt that is written down and has no process yet."""

    cell: Cell
    start: AttemptStart
    grant: Grant
    launches: int = 0


class Starter:
    """Starts what can start.

    Args:
        desk, launcher, preparations, meter: What it works with.
        weights: Kept weights of finished cells, by cell id; others add to it.
        running: Attempts with a process; others add to it and take from it.
        began: Told of each attempt that has got a process.

    Attributes:
        not_before: Monotonic seconds before which nothing is tried, because there were no processes to be had.
    """

    def __init__(
        self,
        desk: Desk,
        launcher: Launcher,
        preparations: Preparations,
        meter: Meter,
        weights: Mapping[str, tuple[Path, str]],
        running: Mapping[int, Attempt],
        began: Callable[[Attempt], None],
    ) -> None:
        self.not_before = 0.0
        self._desk = desk
        self._launcher = launcher
        self._preparations = preparations
        self._meter = meter
        self._weights = weights
        self._running = running
        self._began = began
        self._tickets: list[Ticket] = []
        self._failures = 0

    def start_what_can(self) -> None:
        """Starts preparations and cells until nothing more is free, ready, or possible."""
        if time.monotonic() < self.not_before:
            return
        desk = self._desk
        try:
            self._preparations.start(desk.slots, desk.note)
        except OSError as error:
            self._no_process(str(error))
        tickets, self._tickets = self._tickets, []
        for ticket in tickets:
            self._launch(ticket)
        while not self._tickets and desk.book.error is None:
            found = desk.graph.next(self._may_start, desk.slots.take)
            if found is None:
                break
            self._begin(*found)

    def launch_again(self, attempt: Attempt) -> None:
        """No guardian came of this attempt: its template died, or no process was left. It is not the cell's fault."""
        ticket = Ticket(attempt.cell, attempt.start, attempt.grant, attempt.launches)
        if ticket.launches < LAUNCHES:
            self._tickets.append(ticket)
        else:
            self._postpone(ticket, "its guardian ended before it began")

    def has_begun(self) -> None:
        """A guardian has reported its worker: processes can be had."""
        self._failures = 0

    def give_up(self) -> list[Ticket]:
        """The attempts that wait for a process; they will get none."""
        tickets, self._tickets = self._tickets, []
        return tickets

    def _may_start(self, cell: Cell) -> bool:
        # The template first: its imports and the preparation of data then overlap.
        return self._launcher.is_ready(cell) and self._preparations.is_ready(cell)

    def _begin(self, cell: Cell, grant: Grant) -> None:
        again = self._desk.assignment.again
        start = self._desk.book.start(
            cell,
            isolation=self._launcher.isolation_of(cell),
            cores=grant.cores,
            gpu=grant.gpu,
            neighbours=len(self._running),
            fresh=cell.cell_id in again,
        )
        if start is None:
            self._desk.slots.give(grant)
            return
        again.discard(cell.cell_id)
        self._desk.sharing.start(cell)
        self._launch(Ticket(cell, start, grant))

    def _launch(self, ticket: Ticket) -> None:
        directory = self._directory(ticket.cell, ticket.start.attempt_id)
        if not directory.resolve().is_relative_to(self._desk.options.artifacts_root.resolve()):
            self._tickets.append(ticket)
            self._desk.book.error = StorageError(
                f"{directory}: expected a folder inside the artifacts folder, found a link that leads to "
                f"{directory.resolve()}. Nothing was written there; delete the link"
            )
            return
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._tickets.append(ticket)
            self._desk.book.error = StorageError(
                f"{directory}: expected a folder that can be made, got: {error.strerror}"
            )
            return
        try:
            launched = None
            if self._launcher.is_ready(ticket.cell):
                launched = self._launcher.launch(ticket.cell, self._order(ticket, directory))
        except OSError as error:
            self._postpone(ticket, str(error))
            return
        if launched is None:
            self._tickets.append(ticket)
        else:
            self._watch(ticket, directory, *launched)

    def _watch(self, ticket: Ticket, directory: Path, lines: Lines, isolation: str) -> None:
        now = time.monotonic()
        attempt = Attempt(
            cell=ticket.cell,
            start=ticket.start,
            grant=ticket.grant,
            directory=directory,
            lines=lines,
            liveness=Liveness(self._desk.options, now),
            started=now,
            reading=self._meter.read(),
            oom_kills=oom_kills(),
            launches=ticket.launches + 1,
        )
        self._began(attempt)
        if attempt.launches == 1:
            facts = AttemptFacts(
                attempt_id=ticket.start.attempt_id,
                number=ticket.start.number,
                isolation=isolation,
                cores=ticket.grant.cores,
                gpu=ticket.grant.gpu,
                directory=directory,
                resumes=bool(ticket.start.earlier_attempt_ids),
            )
            self._desk.observer.tell("cell_started", ticket.cell, facts)

    def _order(self, ticket: Ticket, directory: Path) -> Order:
        cell = ticket.cell
        gpu = None if ticket.grant.gpu is None else machine.cuda_name(ticket.grant.gpu)
        environment = worker_environment(os.environ, cell.backend, cell.threads, gpu)
        return Order(self._job(ticket, directory), cell.backend, environment, str(directory / layout.LOG))

    def _job(self, ticket: Ticket, directory: Path) -> str:
        cell, start = ticket.cell, ticket.start
        weights = self._weights.get(cell.parent_cell_id) if cell.parent_cell_id is not None else None
        data = self._preparations.directory(cell)
        job = Job(
            attempt_id=start.attempt_id,
            cell=cell.to_dict(),
            directory=str(directory),
            earlier_directories=tuple(str(self._directory(cell, number)) for number in start.earlier_attempt_ids),
            data_directory=None if data is None else str(data),
            parent_weights=None if weights is None else str(weights[0]),
            parent_weights_sha256=None if weights is None else weights[1],
            cores=ticket.grant.cores if hasattr(os, "sched_setaffinity") else (),
            gpu=ticket.grant.gpu,
            isolation=self._launcher.isolation_of(cell),
            allow_plugins=self._desk.options.allow_plugins,
            shared_stages={str(stages): str(folder) for stages, folder in self._desk.sharing.folders(cell).items()},
            stored_stages=self._desk.sharing.to_store(cell, self._desk.graph.unfinished),
        )
        return to_line(job).decode()

    def _directory(self, cell: Cell, attempt_id: int) -> Path:
        return layout.attempt_folder(self._desk.options.artifacts_root.absolute(), cell.cell_id, attempt_id)

    def _postpone(self, ticket: Ticket, reason: str) -> None:
        """No process could be made: while others run it will be possible later; alone, only a few more tries."""
        self._tickets.append(ticket)
        self._no_process(reason)

    def _no_process(self, reason: str) -> None:
        self.not_before = time.monotonic() + RELAUNCH_SECONDS
        # one that was launched and has no guardian yet is no sign that processes can be had
        others = any(attempt.launched is not None for attempt in self._running.values())
        self._failures = 0 if others else self._failures + 1
        if self._failures >= LAUNCHES:
            self._desk.book.error = StorageError(
                f"no worker process can be started: {reason}. Raise the limits of this shell (ulimit -n, ulimit -u) "
                "or stop other programs, and run again: nothing that was recorded is lost"
            )
