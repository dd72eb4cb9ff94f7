"""The loop of a run: one thread that starts cells, hears workers, enforces limits, and writes everything down."""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Iterator

from benchmark import units
from benchmark.events import EpochFinished, Event, Launched, Progress, ProtocolError
from benchmark.forecast.running import Remaining
from benchmark.matrix.cell import Cell
from benchmark.scheduling.decisions.verdicts import Verdict
from benchmark.scheduling.loop.attempt import Attempt
from benchmark.scheduling.loop.context import Desk
from benchmark.scheduling.loop.disturbance import Meter
from benchmark.scheduling.loop.finish import Outcomes
from benchmark.scheduling.loop.start import Starter
from benchmark.scheduling.processes.launcher import Launcher
from benchmark.scheduling.processes.signals import StopSignals
from benchmark.scheduling.programs.preparation import Preparations
from benchmark.status import Cause, Status

IDLE_SECONDS = 30.0

LAUNCH_SECONDS = 60.0
"""How long a template may take from an order to a guardian."""


class Dispatcher:
    """Runs the cells that lie on the desk.

    Attributes:
        outcomes: How the cells ended.
        forecast: Seconds that are left, whenever it is called.
        stopped: Why no more cells are started; None while they are.
    """

    def __init__(self, desk: Desk, signals: StopSignals) -> None:
        self.stopped: str | None = None
        self._desk = desk
        self._signals = signals
        self._killed = False
        self._running: dict[int, Attempt] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals.fd, selectors.EVENT_READ, signals.drain)
        self._launcher = Launcher(desk.options.isolation, self._selector, desk.note)
        cells = desk.assignment.run
        self._preparations = Preparations(cells, desk.options, self._selector, self._prepared)
        cores = len(desk.slots.cores)
        meter = Meter(self._pids, cores)
        self.outcomes = Outcomes(desk, meter)
        self._starter = Starter(
            desk, self._launcher, self._preparations, meter, self.outcomes.weights, self._running, self._began
        )
        self.forecast = Remaining(desk.durations, self._work, lambda: desk.slots.room)

    def run(self) -> None:
        """Goes round until every cell is settled, or until the run was stopped and all workers are gone.

        Side effects: starts and kills processes, writes the database, calls the observer.
        """
        self.outcomes.drop_impossible()
        while not self._is_over():
            if self.stopped is None:
                self._starter.start_what_can()
            for key, _ in self._selector.select(self._timeout()):
                key.data()
            self._obey_signals()
            if not self._desk.book.has_paused():
                self._enforce()
            self._desk.book.flush()
            self._stop_for_a_reason()
        if self.stopped is None:
            self._desk.sharing.tidy(self._desk.graph.unfinished)

    def close(self) -> None:
        """Ends everything that still runs; nothing of this run is alive afterwards."""
        for attempt in list(self._running.values()):
            self._forget(attempt)
        self._preparations.close()
        self._launcher.close()
        self._selector.close()

    def _is_over(self) -> bool:
        return not self._running and (self.stopped is not None or not self._desk.graph.unfinished)

    def _timeout(self) -> float:
        if self._desk.book.error is not None and self.stopped is None:
            # found while starting cells: nobody is going to say anything before the run stops for it
            return 0.0
        now = time.monotonic()
        ends = [
            now + IDLE_SECONDS,
            *(
                attempt.deadline() if attempt.launched else attempt.started + LAUNCH_SECONDS
                for attempt in self._running.values()
            ),
        ]
        if (wait := self._desk.book.seconds_to_flush()) is not None:
            ends.append(now + wait)
        if self._starter.not_before > now:
            ends.append(self._starter.not_before)
        return max(0.0, min(ends) - now)

    # ---- hearing

    def _began(self, attempt: Attempt) -> None:
        self._running[attempt.attempt_id] = attempt
        self.outcomes.breaker.started = self.outcomes.breaker.started or attempt.started
        for reader in (attempt.lines.report, attempt.lines.events):
            self._selector.register(reader.fd, selectors.EVENT_READ, lambda: self._hear(attempt))

    def _hear(self, attempt: Attempt) -> None:
        # The selector may hold calls for an attempt that an earlier call of the same round has concluded.
        if attempt.attempt_id not in self._running:
            return
        for event in attempt.hear_guardian():
            if isinstance(event, Launched):
                self._starter.has_begun()
                self._desk.book.record(attempt.attempt_id, event)
                attempt.liveness.note(event, time.monotonic())
        self._take_in(attempt)
        if attempt.is_over:
            self._conclude(attempt)
        elif attempt.lines.events.closed:
            self._unregister(attempt.lines.events.fd)

    def _take_in(self, attempt: Attempt) -> bool:
        """Writes down what the worker has said; whether it said anything."""
        said = attempt.hear_worker(time.monotonic())
        for event in said:
            try:
                self._desk.book.record(attempt.attempt_id, event)
            except ProtocolError as error:
                attempt.break_off(str(error), time.monotonic())
                break
            self._desk.sharing.hear(attempt.cell, event, lambda: self._is_clean(attempt))
            self._show(attempt, event)
        return bool(said)

    def _is_clean(self, attempt: Attempt) -> bool:
        return not attempt.start.earlier_attempt_ids and self.outcomes.is_undisturbed(attempt)

    def _show(self, attempt: Attempt, event: Event) -> None:
        if isinstance(event, Progress):
            self._desk.observer.tell("progress", attempt.cell, event)
        elif isinstance(event, EpochFinished):
            self._desk.durations.follow(attempt.cell, event, time.monotonic() - attempt.started)
            self._desk.observer.tell("epoch", attempt.cell, event)

    def _conclude(self, attempt: Attempt) -> None:
        """The attempt is over: what it still said is heard before its end is judged."""
        while self._take_in(attempt):
            continue
        self._forget(attempt)
        if attempt.launched is None and self.stopped is None:
            self._starter.launch_again(attempt)
        else:
            self.outcomes.conclude(attempt, stopping=self.stopped is not None)
            self._desk.durations.forget(attempt.cell)
            if self.outcomes.lost_a_gpu:
                self.outcomes.drop_impossible({running.cell.cell_id for running in self._running.values()})

    def _forget(self, attempt: Attempt) -> None:
        for reader in (attempt.lines.report, attempt.lines.events):
            self._unregister(reader.fd)
        attempt.close()
        del self._running[attempt.attempt_id]

    def _unregister(self, fd: int) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def _prepared(self, cells: set[str], problem: str) -> None:
        if problem and self.stopped is None:
            self.outcomes.data_failed(cells, problem, self._launcher.isolation)

    # ---- limits and ends

    def _enforce(self) -> None:
        now = time.monotonic()
        self._launcher.enforce(now)
        for attempt in list(self._running.values()):
            if attempt.launched is None and now > attempt.started + LAUNCH_SECONDS:
                self._launcher.distrust(attempt.cell.backend)
                attempt.lines.report.closed = True
            attempt.enforce(now)
            if attempt.is_over:
                self._conclude(attempt)

    def _obey_signals(self) -> None:
        if self._signals.count >= 1:
            self._stop(f"interrupted by {signal.Signals(self._signals.first or signal.SIGTERM).name}")
        if self._signals.count >= 2 and not self._killed:
            self._killed = True
            self._desk.note("killing what still runs")
            for attempt in self._running.values():
                attempt.kill(time.monotonic())

    def _stop_for_a_reason(self) -> None:
        if self._desk.book.error is not None:
            self._stop(str(self._desk.book.error))
        elif self.outcomes.stop_reason is not None:
            self._stop(self.outcomes.stop_reason)

    def _stop(self, reason: str) -> None:
        """Starts nothing more, and asks what runs to save its state."""
        if self.stopped is not None:
            return
        self.stopped = reason
        self._preparations.close()
        for ticket in self._starter.give_up():
            self._desk.book.finish(ticket.start.attempt_id, Verdict(Cause.INTERRUPTED, "the run ended before it began"))
            self.outcomes.settle(ticket.cell, Status.INTERRUPTED, None)
        if self._running:
            count = len(self._running)
            self._desk.note(f"{reason}: waiting for {units.plural(count, 'running cell')} to save their state")
        for attempt in self._running.values():
            attempt.stop(time.monotonic(), self._desk.options.grace_seconds)

    # ---- facts

    def _pids(self) -> Iterator[int]:
        yield from self._launcher.pids
        yield from self._preparations.pids
        for attempt in self._running.values():
            if attempt.launched is not None:
                yield from (attempt.launched.guardian_pid, attempt.launched.worker_pid)

    def _work(self) -> Iterator[tuple[Cell, float | None]]:
        now = time.monotonic()
        spent = {attempt.cell.cell_id: now - attempt.started for attempt in self._running.values()}
        for cell in self._desk.assignment.run:
            if cell.cell_id in self._desk.graph.unfinished:
                yield cell, spent.get(cell.cell_id)
