"""Trials: cells whose workers only time a few steps, one after another or several side by side, before anything is run.

Workers are made, pinned and given their environment as in a run, and their data are prepared first; but nothing is
recorded, and their folders are temporary.
"""

from __future__ import annotations

import math
import os
import selectors
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmark import layout, machine
from benchmark.events import Exited, Failed, Job, ModelBuilt, Progress, ProtocolError, Tried, from_line, to_line
from benchmark.matrix.cell import Cell, Weights
from benchmark.scheduling.decisions.verdicts import signal_name
from benchmark.scheduling.loop.attempt import worker_event
from benchmark.scheduling.loop.context import slots_of
from benchmark.scheduling.options import RunOptions
from benchmark.scheduling.processes import guardian
from benchmark.scheduling.processes.environment import worker_environment
from benchmark.scheduling.processes.launcher import Launcher, Lines
from benchmark.scheduling.processes.slots import Grant
from benchmark.scheduling.processes.worker_process import Order
from benchmark.scheduling.programs.preparation import Preparations

LAUNCHES = 3
"""How often a worker is launched in vain before its trial is given up."""

_LONGEST_STEADY = 600.0
"""A worker that waits for others goes on stepping until it is told to stop, or for so many seconds."""

_TURN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the trial of one worker: `built`, `tried` and `exited`, or a `problem` in words."""

    cell: Cell
    built: ModelBuilt | None = None
    tried: Tried | None = None
    exited: Exited | None = None
    problem: str = ""


@dataclass(slots=True)
class _Going:
    """A worker that tries a cell, as it is heard."""

    cell: Cell
    stages: tuple[int, ...]
    lines: Lines
    ready: bool = False
    built: ModelBuilt | None = None
    tried: Tried | None = None
    exited: Exited | None = None
    problem: str = ""
    fds: list[int] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.exited is not None or self.lines.report.closed

    def hear(self) -> None:
        """Takes in what guardian and worker have said; the worker's words first, for the guardian has the last one."""
        try:
            for line in self.lines.events.read():
                self._take_in(worker_event(line))
            for line in self.lines.report.read():
                event = from_line(line)
                self.exited = event if isinstance(event, Exited) else self.exited
            if self.exited is not None:
                for line in self.lines.events.read():
                    self._take_in(worker_event(line))
        except ProtocolError as error:
            self.problem = f"its worker broke the protocol: {error}"
            self.lines.report.closed = True

    def _take_in(self, event: object) -> None:
        if isinstance(event, ModelBuilt):
            self.built = event
        elif isinstance(event, Progress):
            self.ready = True
        elif isinstance(event, Tried):
            if not _is_sound(event, len(self.stages)):
                raise ProtocolError("a trial took no time that can be")
            self.tried = event
        elif isinstance(event, Failed):
            self.problem = event.message or event.error_type

    def outcome(self) -> Outcome:
        done = None not in {self.built, self.tried, self.exited}
        problem = "" if done else self.problem or self._end()
        return Outcome(self.cell, self.built, self.tried, self.exited, problem)

    def _end(self) -> str:
        if self.exited is not None and self.exited.signal:
            return f"its worker was ended by {signal_name(self.exited.signal)}"
        return "its worker ended without an answer"


class Workshop:
    """Tries cells, inside `with`, which prepares what they need; nothing that it started is alive afterwards.

    Args:
        cells: All that may be tried.
        options: As for a run: jobs, isolation, where the cache lies, whether plug-ins may run.
        note: Told what is prepared, and what is wrong with processes.
    """

    def __init__(self, cells: Iterable[Cell], options: RunOptions, note: Callable[[str], None]) -> None:
        self._options = options
        self._note = note
        self._slots = slots_of(options)
        self._selector = selectors.DefaultSelector()
        self._launcher = Launcher(options.isolation, self._selector, note)
        self._problems: dict[str, str] = {}
        self._cells = [orphaned(cell) for cell in cells]
        self._preparations = Preparations(self._cells, options, self._selector, self._prepared)
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self._count = 0

    def __enter__(self) -> Self:
        try:
            self._prepare()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._preparations.close()
        self._launcher.close()
        self._selector.close()
        self._folder.cleanup()

    def try_each(self, cells: Sequence[Cell], seconds: float) -> Iterator[Outcome]:
        """Times all stages of each cell for so long each, as many cells side by side as fit; in any order."""
        outcomes, waiting = self._impossible(cells)
        yield from outcomes
        while waiting:
            grants = self._grants(waiting)
            assert grants, "every core is free, and the cell is possible"
            now, waiting = waiting[: len(grants)], waiting[len(grants) :]
            tries = [(cell, tuple(range(1, len(cell.stages) + 1))) for cell in now]
            yield from self._side_by_side(tries, grants, seconds, together=False)

    def try_together(self, cell: Cell, stage: int, seconds: float) -> list[Outcome]:
        """Times one stage (counted from 1) of as many copies of the cell as fit on the machine, all at once.

        They are told to stop when all of them have been at their steady steps for so many seconds.
        """
        outcomes, there = self._impossible([cell])
        if not there:
            return outcomes
        grants: list[Grant] = []
        while (grant := self._slots.take(cell)) is not None:
            grants.append(grant)
        return self._side_by_side([(cell, (stage,))] * len(grants), grants, seconds, together=True)

    def _grants(self, cells: Sequence[Cell]) -> list[Grant]:
        """For as many of the first cells as can be tried at once, at least for one."""
        grants: list[Grant] = []
        for cell in cells:
            grant = self._slots.take(cell)
            if grant is None:
                break
            grants.append(grant)
        return grants

    # ---- data

    def _prepare(self) -> None:
        """Data and weights of all cells, and meanwhile the template; all cores are free again afterwards."""
        for cell in self._cells:
            self._launcher.is_ready(cell)
        self._preparations.start(self._slots, self._note)
        while not all(cell.cell_id in self._problems or self._preparations.is_ready(cell) for cell in self._cells):
            self._turn()
            self._preparations.start(self._slots, self._note)

    def _impossible(self, cells: Sequence[Cell]) -> tuple[list[Outcome], list[Cell]]:
        """The cells that cannot be tried, for want of data or of a device, and the others."""
        there = [cell for cell in cells if cell.cell_id not in self._problems and self._slots.possible(cell)]
        kept = {cell.cell_id for cell in there}
        missing = [cell for cell in cells if cell.cell_id not in kept]
        words = {cell.cell_id: self._problems.get(cell.cell_id, "there is no device for it") for cell in missing}
        return [Outcome(cell, problem=words[cell.cell_id]) for cell in missing], there

    def _prepared(self, cells: set[str], problem: str) -> None:
        if problem:
            self._problems.update(dict.fromkeys(cells, problem))

    # ---- processes

    def _side_by_side(
        self, tries: Sequence[tuple[Cell, tuple[int, ...]]], grants: Sequence[Grant], seconds: float, *, together: bool
    ) -> list[Outcome]:
        going: list[_Going] = []
        try:
            for cell, _ in tries:
                self._await_template(cell)
            steady = _LONGEST_STEADY if together else seconds
            for (cell, stages), grant in zip(tries, grants, strict=True):
                going.append(self._start(cell, stages, grant, steady))
            self._watch(going, seconds if together else None)
        finally:
            for one in going:
                self._let_go(one)
            for grant in grants:
                self._slots.give(grant)
        return [one.outcome() for one in going]

    def _await_template(self, cell: Cell) -> None:
        while not self._launcher.is_ready(cell):
            self._turn()

    def _start(self, cell: Cell, stages: tuple[int, ...], grant: Grant, seconds: float) -> _Going:
        self._count += 1
        directory = Path(self._folder.name) / str(self._count)
        directory.mkdir()
        gpu = None if grant.gpu is None else machine.cuda_name(grant.gpu)
        environment = worker_environment(os.environ, cell.backend, cell.threads, gpu)
        data = self._preparations.directory(cell)
        job = Job(
            attempt_id=0,
            cell=orphaned(cell).to_dict(),
            directory=str(directory),
            earlier_directories=(),
            data_directory=None if data is None else str(data),
            parent_weights=None,
            parent_weights_sha256=None,
            cores=grant.cores if hasattr(os, "sched_setaffinity") else (),
            gpu=grant.gpu,
            isolation=self._launcher.isolation_of(cell),
            allow_plugins=self._options.allow_plugins,
            trial_seconds=seconds,
            trial_stages=stages,
        )
        order = Order(to_line(job).decode(), cell.backend, environment, str(directory / layout.LOG))
        for _ in range(LAUNCHES):
            self._await_template(cell)
            launched = self._launcher.launch(cell, order)
            if launched is not None:
                return self._listen(_Going(cell, stages, launched[0]))
        raise OSError("no worker process can be started: the template process took no order")

    def _listen(self, one: _Going) -> _Going:
        one.fds = [one.lines.report.fd, one.lines.events.fd]
        for fd in one.fds:
            self._selector.register(fd, selectors.EVENT_READ, lambda: self._hear(one))
        return one

    def _hear(self, one: _Going) -> None:
        one.hear()
        for reader in (one.lines.report, one.lines.events):
            if reader.closed:
                self._unregister(one, reader.fd)

    def _watch(self, going: Sequence[_Going], together_seconds: float | None) -> None:
        """Until all workers are gone; those that work together are told to stop when they have been at it for long."""
        until = time.monotonic() + self._options.first_batch_seconds
        stop_at, stopped = math.inf, False
        while not all(one.is_over for one in going):
            self._turn(min(_TURN_SECONDS, max(stop_at - time.monotonic(), 0.0)))
            now = time.monotonic()
            if now > until:
                self._give_up(going)
                return
            if together_seconds is not None and not stopped and stop_at == math.inf and _all_at_it(going):
                stop_at = now + together_seconds
            if now >= stop_at:
                stop_at, stopped = math.inf, True
                for one in going:
                    one.lines.order(guardian.TERMINATE)

    def _give_up(self, going: Iterable[_Going]) -> None:
        for one in going:
            if not one.is_over:
                one.problem = f"it took longer than {self._options.first_batch_seconds:.0f} s"

    def _turn(self, seconds: float = _TURN_SECONDS) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()
        self._launcher.enforce(time.monotonic())

    def _let_go(self, one: _Going) -> None:
        for fd in list(one.fds):
            self._unregister(one, fd)
        one.lines.close()

    def _unregister(self, one: _Going, fd: int) -> None:
        if fd in one.fds:
            one.fds.remove(fd)
            self._selector.unregister(fd)


def _is_sound(tried: Tried, stages: int) -> bool:
    """Whether what a worker says can be: a plug-in's code runs in it, and what it says is kept."""
    told = (tried.tracing_seconds, tried.step_seconds, tried.predict_seconds)
    counted = all(len(seconds) == stages for seconds in told) and len(tried.step_ends) > 1
    return counted and all(0 <= value < math.inf for one in (*told, tried.step_ends) for value in one)


def _all_at_it(going: Iterable[_Going]) -> bool:
    return all(one.ready or one.is_over for one in going)


def orphaned(cell: Cell) -> Cell:
    """The cell without the weights of a parent, which are not there yet and cost no time that a trial measures."""
    return replace(cell, weights=Weights("none")) if cell.weights.origin == "parent" else cell
