"""Which computers take part in a run: each has a lease that it renews, and writes nothing once it was found lost.

That is the fence. Every transaction of a node first takes hold of its own row of `node` and looks whether it is still a
member (`require_member`); whoever declares it lost takes that row alone, and ends its attempts in the same transaction
(`lose`). So a node that only seemed dead has either written before, or writes nothing at all. The lock of the former does
not stand in the way of renewing the lease, which another connection of the node does meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from benchmark.errors import NodeLostError
from benchmark.results.cluster.database_clock import DatabaseTime
from benchmark.results.schema.tables import attempt, epoch, execution, message, node, run
from benchmark.results.store.database import Database
from benchmark.status import Cause, Status

_IS_MEMBER = node.c.left_utc.is_(None)


@dataclass(frozen=True, slots=True)
class Member:
    """What a node knows of its own membership, for `Recorder`.

    Attributes:
        node_id: From `join`.
        name: What the cluster calls it.
        lease_seconds: How long it may keep silent.
    """

    node_id: int
    name: str
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class MemberNode:
    """A node that is a member now; the facts are those of the columns of `node`."""

    node_id: int
    name: str
    host: str | None
    cpu_cores: int | None
    memory_bytes: int | None
    gpu_names: str | None
    lease_until_utc: str


def address_for_node(address: str, lease_seconds: float) -> str:
    """The address of the database for all connections of a node.

    One that is frozen in the middle of a transaction would hold what it has locked for ever, its own row too, and with it
    whoever wants to declare it lost: the server ends such a session in half the time of the lease.
    """
    url = sa.make_url(address)
    given = url.query.get("options", ())
    milliseconds = max(1, round(lease_seconds * 500))
    options = [
        *([given] if isinstance(given, str) else given),
        f"-c idle_in_transaction_session_timeout={milliseconds}",
    ]
    return url.update_query_dict({"options": " ".join(options)}).render_as_string(hide_password=False)


def is_of_each_computer(address: str) -> bool:
    """Whether an address of a database means another server on each computer."""
    return sa.make_url(address).host in {"localhost", "127.0.0.1", "::1", "", None}


def join(database: Database, run_id: int, name: str, facts: Mapping[str, Any], lease_seconds: float) -> int:
    """Makes a node a member of a run; returns its number.

    Args:
        database: Open for writing.
        run_id: The run.
        name: What the cluster calls the node.
        facts: Further columns of `node`: host, boot_id, os, cpu_model, cpu_cores, …
        lease_seconds: How long it may keep silent from now on.

    Raises:
        NodeLostError: A node of that name is a member already, or the run is over.
    """
    values = {"run_id": run_id, "name": name, **facts}
    times = {"joined_utc": DatabaseTime(), "lease_until_utc": DatabaseTime(lease_seconds)}
    try:
        with database.transaction() as connection:
            if not _goes_on(connection, run_id):
                raise NodeLostError(f"node {name}: run {run_id} is over; nothing more is to be done for it")
            key = connection.execute(node.insert().values(**values, **times)).inserted_primary_key
    except sa.exc.IntegrityError as error:
        raise NodeLostError(
            f"node {name}: expected to be the only one of that name, but run {run_id} has such a member. Wait until its "
            "lease is over, or give each node a name of its own"
        ) from error
    assert key is not None
    return int(key[0])


def _goes_on(connection: sa.Connection, run_id: int) -> bool:
    # whoever ends the run waits for this transaction, and then ends this membership too
    state = sa.select(run.c.state).where(run.c.run_id == run_id)
    return connection.scalar(state.with_for_update(read=True)) == Status.RUNNING


def renew(database: Database, node_id: int, lease_seconds: float) -> bool:
    """Lengthens the lease of a node and of its running attempts; False when it is no member any more."""
    this = node.c.node_id == node_id
    lease = node.update().where(this, _IS_MEMBER).values(lease_until_utc=DatabaseTime(lease_seconds))
    with database.transaction() as connection:
        if connection.execute(lease).rowcount == 0:
            return False
        until = sa.select(node.c.lease_until_utc).where(this).scalar_subquery()
        connection.execute(attempt.update().where(_running_on(this)).values(lease_until_utc=until))
    return True


def leave(database: Database, node_id: int, reason: str) -> None:
    """Ends a membership from the side of the node, whose attempts have ended."""
    with database.transaction() as connection:
        connection.execute(node.update().where(node.c.node_id == node_id, _IS_MEMBER).values(**_left(reason)))


def lose(database: Database, node_id: int, reason: str) -> list[str]:
    """Declares a node lost: its running attempts become `abandoned`, their executions `pending`.

    Returns:
        The ids of these cells; again the same ones when it is asked again before they were tried anew, so that an
        answer that was lost with the connection can be had.
    """
    this = node.c.node_id == node_id
    with database.transaction() as connection:
        connection.execute(sa.select(node.c.node_id).where(this).with_for_update())
        connection.execute(node.update().where(this, _IS_MEMBER).values(**_left(reason)))
        connection.execute(message.delete().where(message.c.node_id == node_id, message.c.direction == "order"))
        last = sa.select(sa.func.max(epoch.c.epoch)).where(
            epoch.c.execution_id == attempt.c.execution_id, epoch.c.attempt_id == attempt.c.attempt_id
        )
        ended = {"state": Cause.ABANDONED, "detail": f"its node was lost: {reason}", "finished_utc": DatabaseTime()}
        connection.execute(attempt.update().where(_running_on(this)).values(last_epoch=last.scalar_subquery(), **ended))
        lost = _lost_executions(this)
        again = {"status": Status.PENDING, "cause": Cause.ABANDONED}
        connection.execute(execution.update().where(execution.c.execution_id.in_(lost)).values(**again))
        cells = sa.select(execution.c.cell_id).where(execution.c.execution_id.in_(lost))
        return list(connection.scalars(cells.order_by(execution.c.execution_id)))


def _running_on(this: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether an attempt runs on a node: no other member of the run has its name."""
    return sa.and_(
        attempt.c.run_id == sa.select(node.c.run_id).where(this).scalar_subquery(),
        attempt.c.node == sa.select(node.c.name).where(this).scalar_subquery(),
        attempt.c.state == Status.RUNNING,
    )


def _lost_executions(this: sa.ColumnElement[bool]) -> Any:
    """Executions that have not ended and whose newest attempt was abandoned on that node."""
    later = attempt.alias("later")
    is_newest = ~sa.exists().where(later.c.execution_id == attempt.c.execution_id, later.c.number > attempt.c.number)
    return (
        sa.select(attempt.c.execution_id)
        .join(execution, execution.c.execution_id == attempt.c.execution_id)
        .where(
            attempt.c.run_id == sa.select(node.c.run_id).where(this).scalar_subquery(),
            attempt.c.node == sa.select(node.c.name).where(this).scalar_subquery(),
            attempt.c.state == Cause.ABANDONED,
            execution.c.status.in_((Status.RUNNING, Status.PENDING)),
            is_newest,
        )
        .scalar_subquery()
    )


def _left(reason: str) -> dict[str, Any]:
    return {"left_utc": DatabaseTime(), "left_reason": reason}


def end_all(connection: sa.Connection, runs: Any, reason: str) -> None:
    """Ends the memberships of runs that are over, before their attempts are ended; their messages are dropped."""
    here = sa.and_(_IS_MEMBER, node.c.run_id.in_(runs))
    # one that joins or writes at this moment is waited for; afterwards none does
    connection.execute(sa.select(run.c.run_id).where(run.c.run_id.in_(runs)).with_for_update())
    connection.execute(sa.select(node.c.node_id).where(here).with_for_update())
    connection.execute(node.update().where(here).values(**_left(reason)))
    connection.execute(message.delete().where(message.c.run_id.in_(runs)))


def members(database: Database, run_id: int) -> list[MemberNode]:
    """The nodes that are members of a run, in the order in which they joined."""
    return _members(database, run_id, sa.true())


def expired(database: Database, run_id: int) -> list[MemberNode]:
    """The members whose lease is over; they stay members until `lose`."""
    return _members(database, run_id, node.c.lease_until_utc < DatabaseTime())


def _members(database: Database, run_id: int, condition: sa.ColumnElement[bool]) -> list[MemberNode]:
    columns = (node.c[name] for name in MemberNode.__dataclass_fields__)
    rows = sa.select(*columns).where(node.c.run_id == run_id, _IS_MEMBER, condition).order_by(node.c.node_id)
    with database.reading() as connection:
        return [MemberNode(*row) for row in connection.execute(rows)]


def extend_all(database: Database, run_id: int, lease_seconds: float) -> None:
    """Gives each member a whole new lease: while the database was away none could renew its own."""
    renewed = node.update().where(node.c.run_id == run_id, _IS_MEMBER)
    with database.transaction() as connection:
        connection.execute(renewed.values(lease_until_utc=DatabaseTime(lease_seconds)))


def require_member(connection: sa.Connection, member: Member) -> int:
    """Holds the membership of a node until the transaction ends; returns the number of its run.

    A node that is frozen in the middle of a transaction would hold it on: the server ends such a session in half the
    time of the lease.

    Raises:
        NodeLostError: It was declared lost, or its run is over.
    """
    columns: list[Any] = [node.c.run_id, node.c.left_utc, node.c.left_reason]
    if connection.dialect.name == "postgresql":
        milliseconds = str(max(1, round(member.lease_seconds * 500)))
        columns.append(sa.func.set_config("idle_in_transaction_session_timeout", milliseconds, True))
    this = sa.select(*columns).where(node.c.node_id == member.node_id)
    row = connection.execute(this.with_for_update(read=True, key_share=True)).first()
    if row is None or row.left_utc is not None:
        reason = "nobody knows it" if row is None else f"since {row.left_utc}: {row.left_reason}"
        raise NodeLostError(f"node {member.name} is no member of its run any more ({reason}); it writes nothing")
    return int(row.run_id)
