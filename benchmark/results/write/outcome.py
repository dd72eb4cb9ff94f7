"""Computes what the rows of an attempt and its execution say at the attempt's end: status, results, timings, digest."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any

import sqlalchemy as sa

from benchmark.events import Exited, Failed
from benchmark.results.schema.nan_values import nan_to_null, null_to_nan
from benchmark.results.schema.tables import attempt, epoch, execution
from benchmark.results.write.result_digest import execution_digest
from benchmark.results.write.running_attempt import KEPT_METRICS, RunningAttempt
from benchmark.status import Status, status_of

log = logging.getLogger(__name__)

EXIT_FACTS = ("exit_code", "signal", "user_seconds", "system_seconds", "peak_rss_bytes")
LEAST_STEADY_EPOCHS = 2
"""Timings of which a part was disturbed count with so many undisturbed epochs without tracing."""

TEST_METRICS = (
    "test_accuracy", "test_loss", "tta_accuracy", "tta_loss", "plain_test_accuracy", "plain_test_loss",
)  # fmt: skip


def attempt_columns(
    running: RunningAttempt, exited: Exited | None, error: Failed | None, detail: str | None, seconds: float
) -> dict[str, Any]:
    """Returns the columns of the attempt's row at its end, apart from its state.

    Args:
        running: The attempt.
        exited: How the worker's process ended, from the guardian; None when it sent nothing.
        error: The exception that ended it, if one did.
        detail: The scheduler's description of the cause; that of the error or the divergence by default.
        seconds: The duration measured by the scheduler, used when the worker did not send its own.
    """
    error = error or running.failed
    parts = [*running.notes, detail or _description(running, error)]
    return {
        "detail": "; ".join(filter(None, parts)) or None,
        **{name: exited and getattr(exited, name) for name in EXIT_FACTS},
        "error_type": error and error.error_type,
        "error_message": error and error.message,
        "traceback": error and error.traceback,
        "total_seconds": running.completed.total_seconds if running.completed else seconds,
    }


def _description(running: RunningAttempt, error: Failed | None) -> str | None:
    if error is not None:
        return f"{error.error_type}: {error.message}"
    if running.diverged is not None:
        return f"the loss was not finite in epoch {running.diverged.epoch}, batch {running.diverged.batch}"
    return None


def execution_columns(
    connection: sa.Connection, running: RunningAttempt, state: str, detail: str | None, *, will_retry: bool
) -> dict[str, Any]:
    """Returns the columns of the execution's row at the end of an attempt whose own row is already final.

    Side effects:
        Deletes epochs after the last one of a completed cell, which an attempt that was replaced has left.
    """
    status, cause = status_of(state, will_retry=will_retry)
    if running.completed is not None and status == Status.COMPLETED:
        _delete_beyond(connection, running, running.completed.epochs)
    same = epoch.c.execution_id == running.execution_id
    rows = connection.execute(sa.select(epoch).where(same).order_by(epoch.c.epoch)).mappings()
    epochs = [null_to_nan(row) for row in rows]
    attempts = _attempts(connection, running.execution_id)
    newest = attempts[0]
    this = sa.select(execution).where(execution.c.execution_id == running.execution_id)
    recorded = null_to_nan(connection.execute(this).mappings().one())
    columns = {
        "status": status,
        "cause": cause,
        "detail": None if status == Status.COMPLETED else detail,
        "epochs": len(epochs) or None,
        **_kept(running, epochs, recorded),
        **_timings(running, epochs, attempts, recorded["features_seconds"] or 0.0),
        "resumed": newest["resumed_from_epoch"] is not None,
    }
    disturbed = _disturbed(running, epochs, recorded["disturbed_epochs"], newest)
    in_one_go = status == Status.COMPLETED and not columns["resumed"]
    columns |= _steady_timings(epochs, disturbed)
    columns["timing_valid"] = in_one_go and is_enough_undisturbed(epochs, disturbed)
    if status.is_final:
        columns["digest"] = execution_digest(running.cell_id, {**recorded, **columns}, epochs)
    return nan_to_null(columns)


def _disturbed(
    running: RunningAttempt, epochs: Sequence[Mapping[str, Any]], known: str | None, newest: Mapping[Any, Any]
) -> set[int]:
    """Numbers of the epochs that other load has disturbed, in this attempt or in those that it went on from."""
    named = running.disturbed_epochs
    if named is None and newest["disturbed"]:
        return {row["epoch"] for row in epochs} or {0}
    trained = {row["epoch"] for row in epochs if row["attempt_id"] == running.attempt_id}
    return (set(json.loads(known or "[]")) - trained) | set(named or ())


def _steady_epochs(epochs: Sequence[Mapping[str, Any]], disturbed: Collection[int]) -> list[Mapping[str, Any]]:
    """The epochs without tracing that nothing has disturbed."""
    return [row for row in epochs if not row["traced"] and row["epoch"] not in disturbed]


def is_enough_undisturbed(epochs: Sequence[Mapping[str, Any]], disturbed: Collection[int]) -> bool:
    """Whether timings may be compared: nothing was disturbed, or at least half of the steady epochs, and two, were not."""
    quiet, steady = len(_steady_epochs(epochs, disturbed)), len(_steady_epochs(epochs, ()))
    return not disturbed or (quiet >= LEAST_STEADY_EPOCHS and 2 * quiet >= steady)


def _steady_timings(epochs: Sequence[Mapping[str, Any]], disturbed: set[int]) -> dict[str, Any]:
    seconds = [row["seconds"] for row in _steady_epochs(epochs, disturbed)]
    return {
        "disturbed_epochs": json.dumps(sorted(disturbed - {0})),
        "steady_seconds_per_epoch": median(seconds) if seconds else None,
        "images_per_second": images_per_second(epochs, disturbed),
    }


def _delete_beyond(connection: sa.Connection, running: RunningAttempt, last: int) -> None:
    beyond = epoch.delete().where(epoch.c.execution_id == running.execution_id, epoch.c.epoch > last)
    deleted = connection.execute(beyond).rowcount
    if deleted:
        log.warning(
            "cell %s: %d epochs of a replaced attempt were dropped: the cell ended after epoch %d",
            running.cell_id,
            deleted,
            last,
        )


def _attempts(connection: sa.Connection, execution_id: int) -> list[Mapping[Any, Any]]:
    """The attempts that contributed to the result, newest first: back to the one that did not resume from another."""
    rows = sa.select(attempt).where(attempt.c.execution_id == execution_id).order_by(attempt.c.number.desc())
    chain: list[Mapping[Any, Any]] = []
    for row in connection.execute(rows).mappings():
        chain.append(row)
        if row["resumed_from_epoch"] is None:
            break
    return chain


def _kept(running: RunningAttempt, epochs: Sequence[Mapping[str, Any]], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of the epoch whose weights were kept, from that epoch's row, and those of the test set."""
    best = running.kept.get("best_epoch", recorded["best_epoch"])
    row = next((row for row in epochs if row["epoch"] == best), None)
    metrics = {name: None if row is None else row[name] for name in KEPT_METRICS}
    test = {name: running.kept.get(name, recorded[name]) for name in TEST_METRICS}
    return {"best_epoch": best if row is not None else None, **metrics, **test}


def _timings(
    running: RunningAttempt,
    epochs: Sequence[Mapping[str, Any]],
    attempts: Sequence[Mapping[Any, Any]],
    features_seconds: float,
) -> dict[str, Any]:
    trained = features_seconds + sum(row["seconds"] for row in epochs) if epochs else None
    first = next((row["seconds"] for row in epochs if row["epoch"] == 1), None)
    completed = running.completed
    return {
        "first_epoch_seconds": first,
        "fit_seconds": completed.fit_seconds if completed else trained,
        "total_seconds": sum(row["total_seconds"] or 0.0 for row in attempts),
        "peak_rss_bytes": max((row["peak_rss_bytes"] for row in attempts if row["peak_rss_bytes"]), default=None),
        "peak_device_bytes": completed.peak_device_bytes if completed else None,
    }


def images_per_second(epochs: Sequence[Mapping[str, Any]], disturbed: Collection[int] = ()) -> float | None:
    """Computes the training throughput: images over input and step seconds of the undisturbed epochs without tracing.

    Of all epochs without tracing when each was disturbed, of all when each contained it; None without epochs or time.
    """
    steady = _steady_epochs(epochs, disturbed) or _steady_epochs(epochs, ()) or list(epochs)
    seconds = [row["input_seconds"] + row["step_seconds"] for row in steady]
    total = sum(seconds)
    if not total:
        return None
    images = sum(row["images_per_second"] * span for row, span in zip(steady, seconds, strict=True))
    return float(images / total)
