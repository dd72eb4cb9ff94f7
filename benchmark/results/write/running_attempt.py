"""What a running attempt has told so far, and how its events become columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from benchmark.events import (
    CheckpointFailed,
    Completed,
    Diverged,
    EpochFinished,
    Evaluated,
    Failed,
    Launched,
    ModelBuilt,
    Progress,
    Resumed,
    StageStarted,
    Started,
)
from benchmark.results.schema.nan_values import NAN_COLUMN, nan_to_null, null_to_nan
from benchmark.results.schema.tables import attempt, epoch, execution
from benchmark.results.write.result_digest import EPOCH_FIELDS, exact
from benchmark.status import Status

ORIGIN_COLUMNS = ("features", "features_seconds", "features_alone_seconds", "shared_epochs", "shared_seconds")
"""What other cells did of the training, and what they saved it."""

KEPT_METRICS = ("train_accuracy", "train_loss", "val_accuracy", "val_loss")


@dataclass(slots=True)
class RunningAttempt:
    """The memory of one attempt between its start and its end.

    Attributes:
        keeps_last: Whether the cell keeps its last epoch's weights, not its best one's.
        earlier: The attempt and run before this one in the same execution, to which replayed epochs belong.
        known: Metrics of the epochs that are in the database already, by epoch.
        seconds: Of these epochs and of those told since, by epoch; `fit_seconds` is their sum.
        kept: Columns of `execution` that epochs and evaluation decide.
        pending: Rows of epochs that are not in the database yet.
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
    epochs: int | None = None
    fit_seconds: float = 0.0
    features_seconds: float = 0.0
    kept: dict[str, Any] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    pending_since: float = 0.0
    notes: list[str] = field(default_factory=list)
    progress: Progress | None = None
    completed: Completed | None = None
    diverged: Diverged | None = None
    failed: Failed | None = None

    def tell(self, event: EpochFinished) -> str | None:
        """Take in an epoch; returns what is odd about it, in words, or None.

        An epoch that is told again with the same numbers after a resume stays as it was; one that was computed anew
        replaces the row, because its timings are those of the attempts that count.
        """
        row = {name: value for name, value in asdict(event).items() if name != "replayed"}
        metrics = tuple(exact(row[name]) for name in EPOCH_FIELDS)
        known = self.known.get(event.epoch)
        self._keep(event)
        if known == metrics and event.replayed:
            return None
        owner = self.earlier if event.replayed and self.earlier else (self.attempt_id, self.run_id)
        self.pending.append(
            nan_to_null({**row, "execution_id": self.execution_id, "attempt_id": owner[0], "run_id": owner[1]})
        )
        self._remember(event.epoch, metrics, event.seconds)
        if known is not None and known != metrics:
            return f"epoch {event.epoch} has other numbers than when it was first trained"
        return None

    def _remember(self, epoch_number: int, metrics: tuple[Any, ...], seconds: float) -> None:
        self.known[epoch_number] = metrics
        self.fit_seconds += seconds - self.seconds.get(epoch_number, 0.0)
        self.seconds[epoch_number] = seconds
        self.epochs = max(self.epochs or 0, epoch_number)

    def remember(self, row: Mapping[str, Any]) -> None:
        """Take note of an epoch that the database has already; NaN restored."""
        self._remember(row["epoch"], tuple(exact(row[name]) for name in EPOCH_FIELDS), row["seconds"])

    def _keep(self, event: EpochFinished) -> None:
        if self.keeps_last or event.improved or event.epoch == 1:
            self.kept.update({name: getattr(event, name) for name in KEPT_METRICS})
            self.kept["best_epoch"] = event.epoch

    def execution_columns(self) -> dict[str, Any]:
        """What the `execution` row says after the epochs told so far."""
        return {
            "epochs": self.epochs,
            "fit_seconds": self.features_seconds + self.fit_seconds if self.seconds else None,
            **nan_to_null(self.kept),
        }


def columns_of(event: object) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The columns of `attempt` and of `execution` that an event fills; None for events that fill none directly."""
    match event:
        case Launched():
            return asdict(event), {}
        case Started():
            return asdict(event), {}
        case ModelBuilt():
            return {}, asdict(event)
        case Resumed():
            return {"resumed_from_epoch": event.epoch}, {"resumed": True}
        case StageStarted():
            return {}, {name: getattr(event, name) for name in ORIGIN_COLUMNS}
        case Evaluated():
            return {}, {"evaluate_seconds": event.seconds}
        case _:
            return None


def note_of(event: object) -> str | None:
    """A remark that the attempt keeps in its detail."""
    if isinstance(event, CheckpointFailed):
        return f"checkpoint_failed at epoch {event.epoch}: {event.reason}"
    return None


def load_known(connection: sa.Connection, running: RunningAttempt) -> None:
    """Remember the epochs that earlier attempts of the same execution left in the database."""
    columns = [epoch.c[name] for name in (*EPOCH_FIELDS, "seconds", NAN_COLUMN)]
    rows = connection.execute(sa.select(*columns).where(epoch.c.execution_id == running.execution_id)).mappings()
    for row in map(null_to_nan, rows):
        running.remember(row)


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
"""Guarded: a replaced attempt's late word changes no row."""

UPDATE_ATTEMPT = attempt.update().where(
    attempt.c.attempt_id == sa.bindparam("this_attempt"), attempt.c.state == Status.RUNNING
)


def update_execution(connection: sa.Connection, running: RunningAttempt, values: dict[str, Any]) -> bool:
    """Change the execution of an attempt; False when the attempt is not the running one any more."""
    keys = {"this_execution": running.execution_id, "this_attempt": running.attempt_id}
    return connection.execute(UPDATE_EXECUTION, {**values, **keys}).rowcount == 1


def update_attempt(connection: sa.Connection, running: RunningAttempt, values: dict[str, Any]) -> bool:
    """Change an attempt; False when it is not running any more."""
    return connection.execute(UPDATE_ATTEMPT, {**values, "this_attempt": running.attempt_id}).rowcount == 1


def write_epochs(connection: sa.Connection, running: RunningAttempt) -> bool:
    """Write the epochs that wait; False when the attempt is not the running one any more, and then writes nothing."""
    if not update_execution(connection, running, running.execution_columns()):
        return False
    connection.execute(UPSERT_EPOCH[connection.dialect.name], running.pending)
    return True
