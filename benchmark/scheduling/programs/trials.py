"""Times a few steps of cells before anything is run, one cell after another or several side by side.

Workers are made, pinned and given their environment as in a run, and their data are prepared first; but nothing is
recorded, and their folders are temporary.
"""

from __future__ import annotations

import itertools
import math
import selectors
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from benchmark.events import Event, Exited, Failed, ModelBuilt, Progress, ProtocolError, Tried
from benchmark.files import temporary_folder
from benchmark.matrix.cell import Cell, Weights
from benchmark.scheduling.decisions.verdicts import signal_name
from benchmark.scheduling.processes import guardian
from benchmark.scheduling.processes.guarded_process import GuardedProcess
from benchmark.scheduling.processes.launcher import Launcher
from benchmark.scheduling.processes.slots import Grant, slots_of
from benchmark.scheduling.processes.worker_order import worker_order
from benchmark.scheduling.programs.preparation import Preparations
from benchmark.scheduling.run_options import RunOptions

LAUNCHES = 3
"""How often a worker is launched in vain before its trial is given up."""

_LONGEST_STEADY = 600.0
"""A worker that waits for others goes on stepping until it is told to stop, or for so many seconds."""

_TURN_SECONDS = 0.5


@dataclass(slots=True)
class TrialOutcome:
    """What comes of the trial of one worker: `built`, `tried` and `exited`, or a `problem` in words."""

    cell: Cell
    built: ModelBuilt | None = None
    tried: Tried | None = None
    exited: Exited | None = None
    problem: str = ""


@dataclass(slots=True)
class _RunningTrial:
    """A worker that tries a cell.

    Attributes:
        outcome: What it has told so far.
        stages: Those that it times, counted from 1.
        is_steady: Whether it has come to its steady steps.
    """

    outcome: TrialOutcome
    stages: tuple[int, ...]
    process: GuardedProcess
    is_steady: bool = False

    def hear(self) -> None:
        """Takes in what guardian and worker have said; the worker's words once more after the guardian's last one."""
        try:
            self._take_in(self.process.hear_worker())
            self.process.hear_guardian()
            if self.process.exited is not None:
                self._take_in(self.process.hear_worker())
        except ProtocolError as error:
            self.outcome.problem = f"its worker broke the protocol: {error}"
            self.process.report.closed = True
        self.process.ignore_closed()

    def _take_in(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, ModelBuilt):
                self.outcome.built = event
            elif isinstance(event, Progress):
                self.is_steady = True
            elif isinstance(event, Tried):
                # a plug-in's code runs in the worker, and what it says is kept
                timings = (event.tracing_seconds, event.step_seconds, event.predict_seconds)
                sound = all(len(seconds) == len(self.stages) for seconds in timings) and len(event.step_ends) > 1
                if not sound or not all(0 <= value < math.inf for one in (*timings, event.step_ends) for value in one):
                    raise ProtocolError("a trial reported impossible times")
                self.outcome.tried = event
            elif isinstance(event, Failed):
                self.outcome.problem = event.message or event.error_type

    def end(self) -> TrialOutcome:
        """What has come of it, when it is over."""
        outcome, exited = self.outcome, self.process.exited
        outcome.exited = exited
        end = f"was ended by {signal_name(exited.signal)}" if exited and exited.signal else "ended without an answer"
        done = outcome.built and outcome.tried and exited
        outcome.problem = "" if done else outcome.problem or f"its worker {end}"
        return outcome


class TrialRunner:
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
        self._preparations = Preparations(self._cells, options, self._selector, self._not_prepared)
        self._folder = temporary_folder()
        self._count = 0

    def __enter__(self) -> Self:
        try:
            self._prepare()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        self._preparations.close()
        self._launcher.close()
        self._selector.close()
        self._folder.cleanup()

    def try_each(self, cells: Sequence[Cell], seconds: float) -> Iterator[TrialOutcome]:
        """Times all stages of each cell for so long each, as many cells side by side as fit; in any order."""
        outcomes, waiting = self._impossible(cells)
        yield from outcomes
        while waiting:
            grants = self._grants(waiting)
            assert grants, "every core is free, and the cell is possible"
            now, waiting = waiting[: len(grants)], waiting[len(grants) :]
            tries = [(cell, tuple(range(1, len(cell.stages) + 1))) for cell in now]
            yield from self._side_by_side(tries, grants, seconds, together=False)

    def try_together(self, cell: Cell, stage: int, seconds: float) -> list[TrialOutcome]:
        """Times one stage (counted from 1) of as many copies of the cell as fit on the machine, all at once.

        They are told to stop when all of them have been at their steady steps for so many seconds.
        """
        outcomes, possible = self._impossible([cell])
        if not possible:
            return outcomes
        grants = self._grants(itertools.repeat(cell))
        return self._side_by_side([(cell, (stage,))] * len(grants), grants, seconds, together=True)

    def _grants(self, cells: Iterable[Cell]) -> list[Grant]:
        """What as many of the first cells run on as can be tried at once: at least one of them."""
        grants: list[Grant] = []
        for grant in map(self._slots.take, cells):
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

    def _impossible(self, cells: Sequence[Cell]) -> tuple[list[TrialOutcome], list[Cell]]:
        """The cells that cannot be tried, for want of data or of a device, and the others."""
        outcomes: list[TrialOutcome] = []
        possible: list[Cell] = []
        for cell in cells:
            no_device = "" if self._slots.possible(cell) else "there is no device for it"
            if problem := self._problems.get(cell.cell_id, no_device):
                outcomes.append(TrialOutcome(cell, problem=problem))
            else:
                possible.append(cell)
        return outcomes, possible

    def _not_prepared(self, cells: set[str], problem: str) -> None:
        self._problems.update(dict.fromkeys(cells, problem))

    # ---- processes

    def _side_by_side(
        self, tries: Sequence[tuple[Cell, tuple[int, ...]]], grants: Sequence[Grant], seconds: float, *, together: bool
    ) -> list[TrialOutcome]:
        trials: list[_RunningTrial] = []
        try:
            for cell, _ in tries:
                self._await_template(cell)
            steady = _LONGEST_STEADY if together else seconds
            for (cell, stages), grant in zip(tries, grants, strict=True):
                trials.append(self._start(cell, stages, grant, steady))
            self._watch(trials, seconds if together else None)
        finally:
            for trial in trials:
                trial.process.close()
            for grant in grants:
                self._slots.give(grant)
        return [trial.end() for trial in trials]

    def _await_template(self, cell: Cell) -> None:
        while not self._launcher.is_ready(cell):
            self._turn()

    def _start(self, cell: Cell, stages: tuple[int, ...], grant: Grant, seconds: float) -> _RunningTrial:
        self._count += 1
        directory = Path(self._folder.name) / str(self._count)
        directory.mkdir()
        order = worker_order(
            orphaned(cell),
            grant,
            directory,
            data_directory=self._preparations.directory(cell),
            isolation=self._launcher.isolation_of(cell),
            allow_plugins=self._options.allow_plugins,
            trial_seconds=seconds,
            trial_stages=stages,
        )
        for _ in range(LAUNCHES):
            self._await_template(cell)
            process = self._launcher.launch(cell, order)
            if process is not None:
                trial = _RunningTrial(TrialOutcome(cell), stages, process)
                process.listen(self._selector, trial.hear)
                return trial
        raise OSError("no worker process can be started: the template process took no order")

    def _watch(self, trials: Sequence[_RunningTrial], together_seconds: float | None) -> None:
        """Waits until all workers are gone; those that work together are told to stop after so many steady seconds."""
        until = time.monotonic() + self._options.first_batch_seconds
        stop_at, stopped = math.inf, False
        while not all(trial.process.is_over for trial in trials):
            self._turn(min(_TURN_SECONDS, max(stop_at - time.monotonic(), 0.0)))
            now = time.monotonic()
            if now > until:
                for trial in trials:
                    if not trial.process.is_over:
                        trial.outcome.problem = f"it took longer than {self._options.first_batch_seconds:.0f} s"
                return
            steady = all(trial.is_steady or trial.process.is_over for trial in trials)
            if together_seconds is not None and not stopped and stop_at == math.inf and steady:
                stop_at = now + together_seconds
            if now >= stop_at:
                stop_at, stopped = math.inf, True
                for trial in trials:
                    trial.process.order(guardian.TERMINATE)

    def _turn(self, seconds: float = _TURN_SECONDS) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()
        self._launcher.enforce(time.monotonic())


def orphaned(cell: Cell) -> Cell:
    """The cell without the weights of a parent, which are not there yet and cost no time that a trial measures."""
    return replace(cell, weights=Weights("none")) if cell.weights.origin == "parent" else cell
