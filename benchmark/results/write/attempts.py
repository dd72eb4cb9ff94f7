"""Starts, ends and sweeps attempts and executions; an UPDATE that is guarded by the old state makes each transition."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa

from benchmark.events import ArtifactWritten, ProtocolError
from benchmark.results.cluster import nodes
from benchmark.results.cluster.database_clock import DatabaseTime
from benchmark.results.records import AttemptStart, PredictionRow, StaleAttempt
from benchmark.results.schema.reproductions import is_reproduction
from benchmark.results.schema.tables import artifact, attempt, cell, epoch, execution, prediction, run
from benchmark.results.write import outcome
from benchmark.results.write.encoded_outcomes import encoded_outcomes
from benchmark.results.write.registration import inserted_id
from benchmark.results.write.running_attempt import RunningAttempt, load_known, update_attempt
from benchmark.results.write.stored_metrics import metric_columns
from benchmark.status import FINAL, Cause, Status

LOCKBOX = "lockbox"


def start(
    connection: sa.Connection,
    run_id: int,
    cell_id: str,
    machine: str,
    facts: Mapping[str, Any],
    *,
    fresh: bool,
    now: str,
    began: float,
    known: Collection[int] = (),
) -> tuple[AttemptStart, RunningAttempt]:
    """Inserts an attempt as running, in the cell's newest execution or a new one.

    One that is there already, but not `known`, was inserted by this caller before: the answer to the commit was lost
    with the connection to the server. It is taken for the one that is asked for.
    """
    newest = _newest_execution(connection, run_id, cell_id, machine)
    attempt_id: int | None = None
    if newest is not None and newest.status == Status.RUNNING:
        attempt_id = _unheard_of(connection, run_id, newest.execution_id, facts, known)
    if attempt_id is not None:
        execution_id, earlier = newest.execution_id, _tries(connection, newest.execution_id)[1:]
    elif newest is None or fresh or newest.status in FINAL:
        execution_id = _insert_execution(connection, run_id, cell_id, machine, Status.RUNNING, started_utc=now)
        earlier = []
    else:
        execution_id = newest.execution_id
        _continue(connection, run_id, execution_id, now)
        earlier = _tries(connection, execution_id)
    number = earlier[0].number + 1 if earlier else 1
    if attempt_id is None:
        values = {"execution_id": execution_id, "run_id": run_id, "number": number}
        values |= {"state": Status.RUNNING, "started_utc": now, "fence": number if facts.get("node") else None}
        attempt_id = inserted_id(connection, attempt.insert().values(**values, **facts))
    spec = connection.scalar(sa.select(cell.c.spec).where(cell.c.cell_id == cell_id))
    keeps_last = spec is not None and json.loads(spec)["keep"] == "last"
    running = RunningAttempt(attempt_id, execution_id, run_id, cell_id, keeps_last, began)
    if earlier:
        running.earlier = (earlier[0].attempt_id, earlier[0].run_id)
        load_known(connection, running)
    return AttemptStart(attempt_id, execution_id, number, tuple(row.attempt_id for row in earlier)), running


def _tries(connection: sa.Connection, execution_id: int) -> list[Any]:
    """The attempts at an execution, newest first."""
    tries = sa.select(attempt.c.attempt_id, attempt.c.run_id, attempt.c.number)
    tries = tries.where(attempt.c.execution_id == execution_id).order_by(attempt.c.number.desc())
    return list(connection.execute(tries))


def _unheard_of(
    connection: sa.Connection, run_id: int, execution_id: int, facts: Mapping[str, Any], known: Collection[int]
) -> int | None:
    mine = (attempt.c.run_id == run_id) & attempt.c.node.is_not_distinct_from(facts.get("node"))
    running = (attempt.c.execution_id == execution_id) & (attempt.c.state == Status.RUNNING)
    return connection.scalar(sa.select(attempt.c.attempt_id).where(running, mine, attempt.c.attempt_id.not_in(known)))


def check_artifact(event: ArtifactWritten) -> None:
    """Refuses a file that is none of the attempt's.

    Raises:
        ProtocolError: The name leads out of the attempt's folder.
    """
    name = PurePosixPath(event.name)
    if name.is_absolute() or not name.parts or ".." in name.parts or "\0" in event.name:
        raise ProtocolError(
            f"ArtifactWritten.name: expected a path inside the attempt's folder, got {event.name!r:.80}"
        )


def insert_artifact(connection: sa.Connection, running: RunningAttempt, event: ArtifactWritten) -> None:
    """Inserts or updates the row of a file that the attempt wrote."""
    path = f"{running.cell_id}/{running.attempt_id}/{PurePosixPath(event.name)}"
    facts = {"kind": event.kind, "sha256": event.sha256, "size_bytes": event.size_bytes}
    same = (artifact.c.attempt_id == running.attempt_id) & (artifact.c.path == path)
    if connection.execute(artifact.update().where(same).values(**facts)).rowcount == 0:
        owner = {"execution_id": running.execution_id, "attempt_id": running.attempt_id}
        connection.execute(artifact.insert().values(path=path, **owner, **facts))


def finish(
    connection: sa.Connection,
    running: RunningAttempt,
    columns: dict[str, Any],
    *,
    now: str,
    will_retry: bool,
    predictions: Collection[PredictionRow] = (),
) -> bool:
    """Ends an attempt and updates its execution; False when the attempt had ended before."""
    last = sa.select(sa.func.max(epoch.c.epoch)).where(
        epoch.c.execution_id == running.execution_id, epoch.c.attempt_id == running.attempt_id
    )
    columns = {**columns, "last_epoch": connection.scalar(last), "finished_utc": now}
    if not update_attempt(connection, running, columns):
        return False
    state = columns["state"]
    result = outcome.execution_columns(connection, running, state, columns["detail"], will_retry=will_retry)
    if result["status"] not in {Status.PENDING, Status.INTERRUPTED}:
        result["finished_utc"] = now
    if result["status"] == Status.COMPLETED:
        for row in predictions:
            classes = len(row.class_names)
            facts = {**asdict(row), "class_names": json.dumps(row.class_names), "classes": classes}
            # what is in the lockbox is in no view before it is opened
            outcomes = None if row.split == LOCKBOX else encoded_outcomes(row.content, classes)
            facts |= {"execution_id": running.execution_id, "outcomes": outcomes}
            connection.execute(prediction.insert().values(**facts))
            result |= metric_columns(row.content) if row.split == "test" else {}
    connection.execute(execution.update().where(execution.c.execution_id == running.execution_id).values(**result))
    return True


def block(connection: sa.Connection, run_id: int, cell_id: str, machine: str, reason: str) -> None:
    """Marks a cell as blocked, in the execution that it could have continued, or a new one."""
    newest = _newest_execution(connection, run_id, cell_id, machine)
    values: dict[str, Any] = {"cause": Cause.PARENT, "detail": reason}
    if newest is not None and newest.status in {Status.BLOCKED, Status.PENDING, Status.INTERRUPTED}:
        this = execution.c.execution_id == newest.execution_id
        connection.execute(execution.update().where(this).values(status=Status.BLOCKED, run_id=run_id, **values))
    else:
        _insert_execution(connection, run_id, cell_id, machine, Status.BLOCKED, **values)


def give_up(connection: sa.Connection, run_id: int, cell_id: str, machine: str, cause: str, reason: str) -> None:
    """Marks the newest execution of a cell as failed, unless it is final or an attempt of it runs."""
    newest = _newest_execution(connection, run_id, cell_id, machine)
    if newest is not None and newest.status in {Status.PENDING, Status.INTERRUPTED}:
        values = {"status": Status.FAILED, "cause": cause, "detail": reason, "finished_utc": DatabaseTime()}
        this = execution.c.execution_id == newest.execution_id
        connection.execute(execution.update().where(this).values(**values))


def sweep(connection: sa.Connection, own_runs: Collection[int]) -> list[StaleAttempt]:
    """Ends the attempts, executions and runs that runs other than `own_runs` left open."""
    dead = sa.select(run.c.run_id).where(run.c.state == Status.RUNNING, run.c.run_id.not_in(own_runs)).scalar_subquery()
    nodes.end_all(connection, dead, "its run was killed")
    stale = _stale(connection, dead)
    _close(connection, dead, Cause.ABANDONED, None)
    connection.execute(run.update().where(run.c.run_id.in_(dead)).values(state=Cause.ABANDONED))
    return stale


def finish_run(connection: sa.Connection, run_id: int, state: str, exit_code: int, now: str) -> None:
    """Ends a run, and the attempts and executions that it left open."""
    this = sa.select(run.c.run_id).where(run.c.run_id == run_id).scalar_subquery()
    nodes.end_all(connection, this, "the run was over")
    _close(connection, this, Cause.INTERRUPTED, now)
    ended = {"state": state, "exit_code": exit_code, "finished_utc": now}
    connection.execute(run.update().where(run.c.run_id == run_id, run.c.state == Status.RUNNING).values(**ended))


def _close(connection: sa.Connection, runs: Any, cause: str, now: str | None) -> None:
    last = (
        sa.select(sa.func.max(epoch.c.epoch))
        .where(epoch.c.execution_id == attempt.c.execution_id, epoch.c.attempt_id == attempt.c.attempt_id)
        .scalar_subquery()
    )
    left = (attempt.c.state == Status.RUNNING) & attempt.c.run_id.in_(runs)
    connection.execute(attempt.update().where(left).values(state=cause, last_epoch=last, finished_utc=now))
    open_ = execution.c.status.in_((Status.RUNNING, Status.PENDING)) & execution.c.run_id.in_(runs)
    connection.execute(execution.update().where(open_).values(status=Status.INTERRUPTED, cause=cause))


def _stale(connection: sa.Connection, runs: Any) -> list[StaleAttempt]:
    processes = (attempt.c.boot_id, attempt.c.guardian_pid, attempt.c.worker_pid, attempt.c.worker_start_ticks)
    rows = (
        sa.select(attempt.c.attempt_id, attempt.c.execution_id, execution.c.cell_id, attempt.c.run_id, *processes)
        .join(execution, execution.c.execution_id == attempt.c.execution_id)
        .where(attempt.c.state == Status.RUNNING, attempt.c.run_id.in_(runs))
        .order_by(attempt.c.attempt_id)
    )
    return [StaleAttempt(*row) for row in connection.execute(rows)]


def _newest_execution(connection: sa.Connection, run_id: int, cell_id: str, machine: str) -> Any:
    return connection.execute(
        sa.select(execution.c.execution_id, execution.c.status)
        .where(execution.c.cell_id == cell_id, execution.c.machine == machine)
        .where(~is_reproduction() | (execution.c.first_run_id == run_id))
        .order_by(execution.c.execution_id.desc())
        .limit(1)
    ).first()


def _insert_execution(
    connection: sa.Connection, run_id: int, cell_id: str, machine: str, status: str, **values: Any
) -> int:
    values = {"first_run_id": run_id, **values, "run_id": run_id, "cell_id": cell_id, "machine": machine}
    flags = {"status": status, "timing_valid": False, "resumed": False}
    return inserted_id(connection, execution.insert().values(**values, **flags, **_code(run_id)))


def _continue(connection: sa.Connection, run_id: int, execution_id: int, now: str) -> None:
    started = sa.func.coalesce(execution.c.started_utc, now)
    again = {"status": Status.RUNNING, "cause": None, "detail": None, "finished_utc": None, "resumed": False}
    connection.execute(
        execution.update()
        .where(execution.c.execution_id == execution_id)
        .values(run_id=run_id, started_utc=started, **again, **_code(run_id))
    )


def _code(run_id: int) -> dict[str, Any]:
    """The version of the program, copied from the run's row."""
    return {
        name: sa.select(run.c[name]).where(run.c.run_id == run_id).scalar_subquery()
        for name in ("package_version", "git_commit")
    }
