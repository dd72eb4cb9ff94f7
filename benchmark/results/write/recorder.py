"""The recorder: the only writer of the database. Each call is one transaction, durable when the call returns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from benchmark import events
from benchmark.matrix.cell import Cell
from benchmark.matrix.plan import LeftOut
from benchmark.results.cluster.mailbox import Outbox
from benchmark.results.cluster.nodes import Member, require_member
from benchmark.results.records import AttemptStart, PredictionRow, StaleAttempt
from benchmark.results.schema.tables import node, run
from benchmark.results.store.database import Database
from benchmark.results.write import attempts, outcome, registration, running_attempt
from benchmark.status import Status

log = logging.getLogger(__name__)

SHORT_EPOCH_SECONDS = 0.05
"""Epochs shorter than this are written in batches, so that recording takes less than a hundredth of the time."""

WAIT_SECONDS = 0.1
WAIT_ROWS = 256
"""A batch is written when its oldest epoch has waited so long, or it has so many."""


def utc_now() -> str:
    """The wall time as recorded: ISO 8601 in UTC with milliseconds, such as `2026-03-04T05:06:07.089Z`.

    It dates rows for readers; durations are differences of a monotonic clock.
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Recorder:
    """Records a run while it goes on.

    Belongs to the process and thread that opened the database; one recorder for each database. Events of a worker are
    recorded only while its attempt is the running one: a late event of a replaced worker changes no row and is logged.

    On a node of a cluster it is that of a `member`: the node and its lease are recorded with each attempt, and once the
    node was declared lost every method that writes raises `NodeLostError` and changes nothing.

    Every method raises `StorageError` when the disk, the file or the server fails. What could not be written is kept in
    memory, so that the same call, or `flush`, may be tried again.
    """

    def __init__(
        self,
        database: Database,
        *,
        member: Member | None = None,
        now: Callable[[], str] = utc_now,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._database = database
        self._member = member
        self._outbox = Outbox("report")
        self._now = now
        self._monotonic = monotonic
        self._running: dict[int, running_attempt.RunningAttempt] = {}
        self._own_runs: set[int] = set()

    def begin_run(self, facts: Mapping[str, Any]) -> int:
        """Inserts a run as running; returns its id.

        `facts` are the columns of `run` that are known when a run begins; `schema/tables.py` says what each means.
        """
        values = {"executor": "local", **facts, "state": Status.RUNNING, "started_utc": self._now()}
        with self._writing() as connection:
            run_id = registration.inserted_id(connection, run.insert().values(**values))
        self._own_runs.add(run_id)
        return run_id

    def sweep(self) -> list[StaleAttempt]:
        """Ends what killed runs left open: attempts and runs become `abandoned`, executions `interrupted`.

        The caller holds `lock_database`, so that no other run is alive.

        Returns:
            The attempts that were left running, so that the caller can end their processes.
        """
        with self._writing() as connection:
            return attempts.sweep(connection, self._own_runs)

    def register(
        self, run_id: int, cells: Sequence[Cell], left_out: Sequence[LeftOut], reused: Collection[str]
    ) -> None:
        """Inserts the cells of a run, and the impossible combinations; `reused` are ids of cells that need no work."""
        with self._writing() as connection:
            registration.insert_cells(connection, run_id, cells, left_out, reused)

    def start_attempt(
        self,
        run_id: int,
        cell_id: str,
        machine: str,
        *,
        isolation: str | None = None,
        cores: Sequence[int] = (),
        gpu: int | None = None,
        neighbours: int = 0,
        boot_id: str | None = None,
        fresh: bool = False,
    ) -> AttemptStart:
        """Inserts an attempt as running.

        It continues the cell's newest execution on this machine, unless that is final (completed or diverged) or
        `fresh` asks for a new one.

        Args:
            run_id: The run that makes it.
            cell_id: The cell.
            machine: Name of the computer that timings belong to.
            isolation: `fork` or `spawn`.
            cores: Processors that the worker is pinned to; empty when it is not.
            gpu: Index of the GPU that the worker sees.
            neighbours: Number of cells that run at the same time.
            boot_id: The start of the computer that process ids belong to.
            fresh: Whether to begin a new execution.
        """
        facts: dict[str, Any] = {
            "isolation": isolation,
            "cores": " ".join(map(str, cores)) or None,
            "gpu": gpu,
            "neighbours": neighbours,
            "boot_id": boot_id,
        }
        if self._member is not None:
            lease = sa.select(node.c.lease_until_utc).where(node.c.node_id == self._member.node_id).scalar_subquery()
            facts |= {"node": self._member.name, "lease_until_utc": lease}
        with self._writing() as connection:
            start, running = attempts.start(
                *(connection, run_id, cell_id, machine, facts),
                fresh=fresh,
                now=self._now(),
                began=self._monotonic(),
                known=self._running,
            )
        self._running[start.attempt_id] = running
        return start

    @staticmethod
    def check(event: events.Event) -> None:
        """Refuses an event that cannot be recorded.

        Raises:
            ProtocolError: It names a file outside of the attempt's folder.
        """
        if isinstance(event, events.ArtifactWritten):
            attempts.check_artifact(event)

    def record(self, attempt_id: int, event: events.Event, *, hold: bool = False) -> None:
        """Enter what a worker told. Epochs are in the database on return unless they are very short (see `flush`).

        Args:
            attempt_id: From `start_attempt`.
            event: The event.
            hold: Whether an epoch waits for the next write in any case.

        Raises:
            ProtocolError: As `check`.
        """
        self.check(event)
        running = self._running.get(attempt_id)
        if running is None:
            log.warning("attempt %d has ended; its late %s was not recorded", attempt_id, type(event).__name__)
            return
        match event:
            case events.EpochFinished():
                self._record_epoch(running, event, hold=hold)
            case events.Evaluated():
                running.kept.update({name: getattr(event, name) for name in outcome.TEST_METRICS})
                running.kept["best_epoch"] = event.best_epoch
                self._update(running, {}, {"evaluate_seconds": event.seconds, **running.execution_columns()})
            case events.ArtifactWritten():
                with self._writing() as connection:
                    attempts.insert_artifact(connection, running, event)
            case events.StageStarted():
                running.features_seconds = event.features_seconds
                self._record_facts(running, event)
            case events.Completed():
                running.completed = event
            case events.Diverged():
                running.diverged = event
            case events.Failed():
                running.failed = event
            case _:
                self._record_facts(running, event)

    def post(self, bodies: Iterable[Any]) -> None:
        """Reports to the scheduler of the run, in one transaction with the next write or `flush`.

        Args:
            bodies: The messages, in their order: values that JSON can hold.
        """
        assert self._member is not None, "only a node reports"
        self._outbox.add(self._member.node_id, bodies)

    def flush(self, *, due_only: bool = False) -> None:
        """Writes pending epochs and messages; with `due_only` only when one has waited for `WAIT_SECONDS`."""
        wait = self.seconds_to_flush()
        if wait is not None and (wait <= 0 or not due_only):
            with self._writing():
                pass

    @property
    def pending_epochs(self) -> int:
        """How many epochs are not in the database yet."""
        return sum(len(running.pending) for running in self._running.values())

    def seconds_to_flush(self) -> float | None:
        """Returns in how many seconds `flush` is due; None when nothing is pending. Messages do not wait."""
        if self._outbox:
            return 0.0
        oldest = min((running.pending_since for running in self._running.values() if running.pending), default=None)
        return None if oldest is None else oldest + WAIT_SECONDS - self._monotonic()

    def finish_attempt(
        self,
        attempt_id: int,
        *,
        state: str,
        detail: str | None = None,
        exited: events.Exited | None = None,
        log_tail: str | None = None,
        error: events.Failed | None = None,
        disturbed: bool | None = None,
        disturbed_epochs: Collection[int] | None = None,
        will_retry: bool = False,
        predictions: Collection[PredictionRow] = (),
    ) -> bool:
        """Ends an attempt and computes its execution's status, cause, results, timings and digest.

        Args:
            attempt_id: From `start_attempt`.
            state: How it ended: `completed`, or the cause.
            detail: Description of the cause, when the scheduler knows better than the worker.
            exited: How the worker's process ended, from the guardian.
            log_tail: The end of the worker's output.
            error: The exception that ended it; by default the last `Failed` event.
            disturbed: Whether other load disturbed its timings; None when unknown.
            disturbed_epochs: Those that it touched; None for all.
            will_retry: Whether the scheduler will try again, so that the cell has not failed yet.
            predictions: Its predictions for test and validation images; stored when it completed.

        Returns:
            Whether this call ended it; False when it had ended before.
        """
        running = self._running.get(attempt_id)
        if running is None:
            log.warning("attempt %d has ended already; its end as %s was not recorded", attempt_id, state)
            return False
        columns = outcome.attempt_columns(running, exited, error, detail, self._monotonic() - running.began)
        columns |= {"state": state, "log_tail": log_tail, "disturbed": disturbed}
        running.disturbed_epochs = disturbed_epochs
        with self._writing() as connection:
            ended = attempts.finish(
                connection, running, columns, now=self._now(), will_retry=will_retry, predictions=predictions
            )
        del self._running[attempt_id]
        return ended

    def block(self, run_id: int, cell: Cell, machine: str, reason: str) -> None:
        """Records that a cell cannot run because its parent has no weights."""
        with self._writing() as connection:
            attempts.block(connection, run_id, cell.cell_id, machine, reason)

    def give_up(self, run_id: int, cell: Cell, machine: str, cause: str, reason: str) -> None:
        """Records that a cell has failed whose attempts were all ended from outside."""
        with self._writing() as connection:
            attempts.give_up(connection, run_id, cell.cell_id, machine, cause, reason)

    def finish_run(self, run_id: int, state: str, exit_code: int) -> None:
        """Ends a run; executions that were to be tried again become `interrupted`."""
        with self._writing() as connection:
            attempts.finish_run(connection, run_id, state, exit_code, self._now())
        self._own_runs.discard(run_id)

    def _record_epoch(
        self, running: running_attempt.RunningAttempt, event: events.EpochFinished, *, hold: bool
    ) -> None:
        if not running.pending:
            running.pending_since = self._monotonic()
        warning = running.add_epoch(event)
        if warning:
            log.warning("cell %s, attempt %d: %s", running.cell_id, running.attempt_id, warning)
        waited = self._monotonic() - running.pending_since
        may_wait = event.seconds < SHORT_EPOCH_SECONDS and waited < WAIT_SECONDS and len(running.pending) < WAIT_ROWS
        if running.pending and not may_wait and not hold:
            with self._writing():
                pass

    def _record_facts(self, running: running_attempt.RunningAttempt, event: events.Event) -> None:
        if isinstance(event, events.CheckpointFailed):
            note = f"checkpoint_failed at epoch {event.epoch}: {event.reason}"
            log.warning("cell %s, attempt %d: %s", running.cell_id, running.attempt_id, note)
            running.notes.append(note)
        columns = running_attempt.columns_of(event)
        if columns:
            self._update(running, *columns)

    def _update(
        self, running: running_attempt.RunningAttempt, attempt: dict[str, Any], execution: dict[str, Any]
    ) -> None:
        with self._writing() as connection:
            updated = not attempt or running_attempt.update_attempt(connection, running, attempt)
            updated = updated and (not execution or running_attempt.update_execution(connection, running, execution))
        if not updated:
            log.warning("attempt %d is no longer the running one; a late message was not recorded", running.attempt_id)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Gives a transaction that first writes the pending epochs, so that the order of events is kept."""
        with_pending = [running for running in self._running.values() if running.pending]
        with self._database.transaction() as connection:
            own_run = None if self._member is None else require_member(connection, self._member)
            for running in with_pending:
                if not running_attempt.write_epochs(connection, running):
                    log.warning(
                        "attempt %d is no longer the running one; %d late epochs were not recorded",
                        running.attempt_id,
                        len(running.pending),
                    )
            yield connection
            if own_run is not None:
                self._outbox.write(connection, own_run)
        # only after the commit: when the disk was full, they stay pending
        for running in with_pending:
            running.pending = []
        self._outbox.clear()
