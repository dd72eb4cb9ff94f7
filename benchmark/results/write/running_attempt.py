"""The state of a running attempt between its events, and the columns that events fill."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from benchmark import events
from benchmark.results.schema.nan_values import NAN_COLUMN, nan_to_null, null_to_nan
from benchmark.results.schema.tables import attempt, epoch, execution
from benchmark.results.write.result_digest import EPOCH_FIELDS, exact
from benchmark.status import Status

ORIGIN_COLUMNS = ("features", "features_seconds", "features_alone_seconds", "shared_epochs", "shared_seconds")
"""Columns that say what was reused from other cells, and how long it took them."""

KEPT_METRICS = ("train_accuracy", "train_loss", "val_accuracy", "val_loss")


@dataclass(slots=True)
class RunningAttempt:
    """One attempt between its start and its end, in the recorder's memory.

    Attributes:
        keeps_last: Whether the cell keeps the weights of its last epoch instead of its best.
        began: Monotonic time of the start, in seconds.
        earlier: Ids of the attempt and run before this one in the same execution, to which replayed epochs belong.
        known: Metrics of the epochs received or in the database, by epoch.
        seconds: Duration of these epochs, by epoch; `fit_seconds` is the sum.
        elapsed: Sum of the durations up to and with each of them, by epoch.
        epochs: The highest epoch received.
        kept: Columns of `execution` that epochs and evaluation determine.
        pending: Rows of epochs that are not in the database yet; `pending_since` is the monotonic time of the oldest.
        notes: Remarks for the attempt's `detail`.
        disturbed_epochs: Those that other load has disturbed; None while nobody has said which.
    """

    attempt_id: int
    execution_id: int
    run_id: int
    cell_id: str
    keeps_last: bool
    began: float
    earlier: tuple[int, int] | None = None
    known: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    elapsed: dict[int, float] = field(default_factory=dict)
    epochs: int | None = None
    fit_seconds: float = 0.0
    features_seconds: float = 0.0
    kept: dict[str, Any] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    pending_since: float = 0.0
    notes: list[str] = field(default_factory=list)
    completed: events.Completed | None = None
    diverged: events.Diverged | None = None
    failed: events.Failed | None = None
    disturbed_epochs: Collection[int] | None = None

    def add_epoch(self, event: events.EpochFinished) -> str | None:
        """Adds a finished epoch; returns a warning when it differs from an earlier run of the same epoch, else None.

        An epoch that is replayed with the same metrics after a resume leaves its row as it is; one that was computed
        again replaces the row, because its timings belong to the attempts that count.
        """
        row = {name: value for name, value in asdict(event).items() if name != "replayed"}
        metrics = tuple(exact(row[name]) for name in EPOCH_FIELDS)
        known = self.known.get(event.epoch)
        if self.keeps_last or event.improved or event.epoch == 1:
            self.kept.update({name: row[name] for name in KEPT_METRICS}, best_epoch=event.epoch)
        if known == metrics and event.replayed:
            return None
        owner = self.earlier if event.replayed and self.earlier else (self.attempt_id, self.run_id)
        self.remember(event.epoch, metrics, event.seconds)
        ids = {"execution_id": self.execution_id, "attempt_id": owner[0], "run_id": owner[1]}
        self.pending.append(nan_to_null({**row, **ids, "elapsed_seconds": self.elapsed[event.epoch]}))
        if known is not None and known != metrics:
            return f"epoch {event.epoch} has other numbers than when it was first trained"
        return None

    def remember(self, epoch_number: int, metrics: tuple[Any, ...], seconds: float) -> None:
        """Takes in what is known of an epoch, with NaN restored; those before it come first."""
        self.known[epoch_number] = metrics
        self.fit_seconds += seconds - self.seconds.get(epoch_number, 0.0)
        self.seconds[epoch_number] = seconds
        self.elapsed[epoch_number] = self.elapsed.get(epoch_number - 1, 0.0) + seconds
        self.epochs = max(self.epochs or 0, epoch_number)

    def execution_columns(self) -> dict[str, Any]:
        """Returns the columns of the `execution` row after the epochs received so far."""
        return {
            "epochs": self.epochs,
            "fit_seconds": self.features_seconds + self.fit_seconds if self.seconds else None,
            **nan_to_null(self.kept),
        }


def columns_of(event: object) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Returns the columns of `attempt` and of `execution` that an event fills; None for events that fill none directly."""
    match event:
        case events.Launched() | events.Started():
            return asdict(event), {}
        case events.ModelBuilt():
            return {}, asdict(event)
        case events.Resumed():
            return {"resumed_from_epoch": event.epoch}, {"resumed": True}
        case events.StageStarted():
            return {}, {name: getattr(event, name) for name in ORIGIN_COLUMNS}
        case _:
            return None


def load_known(connection: sa.Connection, running: RunningAttempt) -> None:
    """Reads the epochs that earlier attempts of the same execution left in the database."""
    columns = [epoch.c[name] for name in (*EPOCH_FIELDS, "seconds", NAN_COLUMN)]
    query = sa.select(*columns).where(epoch.c.execution_id == running.execution_id).order_by(epoch.c.epoch)
    rows = connection.execute(query).mappings()
    for row in map(null_to_nan, rows):
        running.remember(row["epoch"], tuple(exact(row[name]) for name in EPOCH_FIELDS), row["seconds"])


def _epoch_upsert(insert: Callable[..., Any]) -> Any:
    statement = insert(epoch)
    keys = {"execution_id", "epoch"}
    renewed = {column.name: statement.excluded[column.name] for column in epoch.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=sorted(keys), set_=renewed)


UPSERT_EPOCH = {"sqlite": _epoch_upsert(sqlite.insert), "postgresql": _epoch_upsert(postgresql.insert)}

_IS_RUNNING = (
    sa.select(attempt.c.attempt_id)
    .where(attempt.c.attempt_id == sa.bindparam("this_attempt"), attempt.c.state == Status.RUNNING)
    .exists()
)

UPDATE_EXECUTION = execution.update().where(
    execution.c.execution_id == sa.bindparam("this_execution"), execution.c.status == Status.RUNNING, _IS_RUNNING
)
"""Guarded by the attempt's state: a late event of a replaced attempt changes no row."""

UPDATE_ATTEMPT = attempt.update().where(
    attempt.c.attempt_id == sa.bindparam("this_attempt"), attempt.c.state == Status.RUNNING
)


def update_execution(connection: sa.Connection, running: RunningAttempt, values: dict[str, Any]) -> bool:
    """Updates the execution of an attempt; False when the attempt is no longer the running one."""
    keys = {"this_execution": running.execution_id, "this_attempt": running.attempt_id}
    return connection.execute(UPDATE_EXECUTION, {**values, **keys}).rowcount == 1


def update_attempt(connection: sa.Connection, running: RunningAttempt, values: dict[str, Any]) -> bool:
    """Updates an attempt; False when it is no longer running."""
    return connection.execute(UPDATE_ATTEMPT, {**values, "this_attempt": running.attempt_id}).rowcount == 1


def write_epochs(connection: sa.Connection, running: RunningAttempt) -> bool:
    """Writes the pending epochs; False, and nothing written, when the attempt is no longer the running one."""
    if not update_execution(connection, running, running.execution_columns()):
        return False
    connection.execute(UPSERT_EPOCH[connection.dialect.name], running.pending)
    return True
