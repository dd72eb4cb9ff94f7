"""What follows when an attempt or a cell is over: the verdict, the record, the retry, the children, the breaker."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

from benchmark import machine
from benchmark.events import Failed
from benchmark.matrix.cell import Cell
from benchmark.results.records import PredictionRow
from benchmark.scheduling.decisions.reuse import blocked_reason
from benchmark.scheduling.decisions.verdicts import Breaker, Verdict, judge, retries, top_frame
from benchmark.scheduling.loop.attempt import Attempt
from benchmark.scheduling.loop.context import Desk, name_of
from benchmark.scheduling.loop.disturbance import Meter, oom_kills
from benchmark.scheduling.loop.stored_predictions import predictions_of
from benchmark.status import Cause, Status, status_of

LOST_DEVICES = 2
"""After so many losses of a GPU nothing runs on it any more in this run."""


class Outcomes:
    """Draws the consequences.

    Attributes:
        statuses: Status of each cell that was settled in this run.
        weights: Kept weights of finished cells: path and digest by cell id.
        lost_a_gpu: Whether a GPU was given up, and cells may be left that nothing can run.
        stop_reason: Why the run should stop now; None while there is no reason.
        breaker: Watches for a run in which everything fails alike.
    """

    def __init__(self, desk: Desk, meter: Meter) -> None:
        self.statuses: dict[str, str] = {}
        self.weights: dict[str, tuple[Path, str]] = dict(desk.assignment.weights)
        self.lost_a_gpu = False
        self.stop_reason: str | None = None
        cells = desk.assignment.run
        self.breaker = Breaker(
            len({(cell.dataset, cell.model, cell.strategy) for cell in cells}),
            frozenset(cell.architecture.code for cell in cells),
        )
        self._desk = desk
        self._meter = meter
        self._memory_bytes = machine.facts().memory_bytes
        self._failures: Counter[tuple[str, str]] = Counter()
        self._losses: Counter[int] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def conclude(self, attempt: Attempt, *, stopping: bool) -> None:
        """Judges an attempt that is over, writes it down, and tries the cell again or settles it."""
        cell = attempt.cell
        self._meter.count_ended(attempt.exited)
        self._desk.sharing.end(cell)
        self._seconds[cell.cell_id] += time.monotonic() - attempt.started
        verdict = judge(attempt.evidence(oom_kills(), self._memory_bytes))
        self._failures[cell.cell_id, verdict.state] += 1
        again = not stopping and retries(verdict.state, self._failures[cell.cell_id, verdict.state])
        written = self._write(attempt, verdict, again=again)
        self._desk.slots.give(attempt.grant)
        if verdict.state == Cause.DEVICE_LOST and attempt.grant.gpu is not None:
            self._count_loss(attempt.grant.gpu)
        if written is None:
            # Not written down, so not true: the next run resumes it and is told everything again.
            self.settle(cell, Status.INTERRUPTED, verdict.detail)
        elif again and self._desk.slots.possible(cell):
            self._desk.note(f"{name_of(cell)} {verdict.state} ({verdict.detail}); it goes on from its last state")
            self._desk.graph.enqueue(cell)
        else:
            if verdict.state == Status.COMPLETED:
                self._keep_weights(attempt)
                self._desk.durations.learn(cell, self._seconds[cell.cell_id])
            self.settle(cell, verdict.state, verdict.detail, attempt.error)
            if not stopping:
                self._desk.sharing.tidy(self._desk.graph.unfinished, cell)

    def settle(self, cell: Cell, state: str, detail: str | None, error: Failed | None = None) -> None:
        """The cell is through for this run."""
        status, cause = status_of(state)
        self.statuses[cell.cell_id] = status
        self._desk.observer.tell("cell_finished", cell, status, cause, self._seconds[cell.cell_id], detail)
        if status == Status.COMPLETED:
            self._desk.graph.finish(cell.cell_id)
            self._let_stand(cell)
        else:
            lost = self._desk.graph.drop(cell.cell_id)
            if status != Status.INTERRUPTED:
                self._block(cell, status, lost)
        self._look_for_a_reason_to_stop(cell, state, detail, error)

    def data_failed(self, cells: Collection[str], problem: str, isolation: str) -> None:
        """Cells whose data could not be prepared end here, each with an attempt that says so."""
        last_words = problem.splitlines()[-1]
        error = Failed(Cause.DATA_ERROR, "PreparationError", last_words, problem)
        desk = self._desk
        for cell in desk.assignment.run:
            if cell.cell_id in cells and cell.cell_id in desk.graph.unfinished:
                fresh = cell.cell_id in desk.assignment.again
                start = desk.book.start(cell, isolation=isolation, cores=(), gpu=None, neighbours=0, fresh=fresh)
                if start is not None:
                    desk.book.finish(start.attempt_id, Verdict(Cause.DATA_ERROR, last_words), error=error)
                    self.settle(cell, Cause.DATA_ERROR, last_words)

    def drop_impossible(self, busy: Collection[str] = ()) -> None:
        """Cells for which no GPU is left stay pending; `busy` ones still hold theirs."""
        self.lost_a_gpu = False
        desk = self._desk
        for cell in desk.assignment.run:
            if cell.cell_id in desk.graph.unfinished and cell.cell_id not in busy and not desk.slots.possible(cell):
                desk.graph.drop(cell.cell_id)
                desk.note(f"{name_of(cell)} stays pending: no GPU is left for it")

    def _write(self, attempt: Attempt, verdict: Verdict, *, again: bool) -> bool | None:
        return self._desk.book.finish(
            attempt.attempt_id,
            verdict,
            exited=attempt.exited,
            error=attempt.error,
            log_tail=None if verdict.state == Status.COMPLETED else attempt.log_tail(),
            disturbed=not self.is_undisturbed(attempt) or self._desk.sharing.is_disturbed(attempt.cell),
            will_retry=again,
            predictions=self._predictions(attempt) if verdict.state == Status.COMPLETED else None,
        )

    def is_undisturbed(self, attempt: Attempt) -> bool:
        """Whether nothing has disturbed the timings of an attempt so far; who may share a GPU is disturbed."""
        shares = attempt.grant.gpu is not None and self._desk.slots.gpu_share > 1
        return not shares and self._meter.disturbance(attempt.reading) is None

    def _predictions(self, attempt: Attempt) -> PredictionRow | None:
        try:
            return predictions_of(attempt)
        except OSError as error:
            # the result stands without them; the next run finds the damaged artifact and does the cell again
            self._desk.note(f"{name_of(attempt.cell)}: its test predictions cannot be read: {error}")
            return None

    def _keep_weights(self, attempt: Attempt) -> None:
        for artifact in attempt.artifacts:
            if artifact.kind == "weights":
                self.weights[attempt.cell.cell_id] = (attempt.directory / artifact.name, artifact.sha256)

    def _let_stand(self, parent: Cell) -> None:
        """Children that had finished from the very weights that their parent has come to again keep their result."""
        kept = self.weights.get(parent.cell_id)
        for cell in self._desk.graph.children(parent.cell_id):
            if kept is not None and self._desk.assignment.standing.get(cell.cell_id) == kept[1]:
                self.settle(cell, Status.COMPLETED, None)

    def _block(self, parent: Cell, status: str, cells: Collection[Cell]) -> None:
        for cell in cells:
            if cell.cell_id in self._desk.assignment.standing:
                # nothing has been shown against its result
                self.statuses[cell.cell_id] = Status.COMPLETED
                continue
            reason = blocked_reason(cell, status if cell.parent_cell_id == parent.cell_id else Status.BLOCKED)
            self._desk.book.block(cell, reason)
            self.statuses[cell.cell_id] = Status.BLOCKED
            self._desk.observer.tell("cell_finished", cell, Status.BLOCKED, Cause.PARENT, 0.0, reason)

    def _look_for_a_reason_to_stop(self, cell: Cell, state: str, detail: str | None, error: Failed | None) -> None:
        place = (top_frame(error.traceback) if error is not None else "") or (detail or "")
        self.breaker.witness(cell, state, place, time.monotonic())
        if self.breaker.tripped is not None:
            self.stop_reason = self.breaker.tripped
        elif status_of(state)[0] == Status.FAILED and self._desk.options.fail_fast:
            self.stop_reason = f"{name_of(cell)} failed, and --fail-fast was given"

    def _count_loss(self, gpu: int) -> None:
        self._losses[gpu] += 1
        if self._losses[gpu] == LOST_DEVICES:
            self._desk.slots.quarantine(gpu)
            self.lost_a_gpu = True
            self._desk.note(f"GPU {gpu} was lost {self._losses[gpu]} times; nothing more runs on it in this run")
