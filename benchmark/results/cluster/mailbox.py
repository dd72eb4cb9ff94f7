"""Messages between the scheduler and the nodes of a run, through the table `message`, each taken exactly once and in order.

They are rows like any others, so that what happened and the message about it are one transaction. PostgreSQL wakes whoever
listens (https://www.postgresql.org/docs/current/sql-notify.html), but only the rows count: a wake-up may be lost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from benchmark.results.schema.tables import message
from benchmark.results.store.database import Database

Direction = Literal["order", "report"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was taken.

    Attributes:
        node_id: The node that it is from; for a node, the node itself.
        body: What it says, as it was posted: any value of JSON.
    """

    node_id: int
    body: Any


class Outbox:
    """What one sender has said that is not in the database yet.

    A commit whose answer is lost with the connection may have been done: then a message is sent again, with the number
    that it had, by which the receiver knows it.
    """

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._numbers = Counter[int]()
        self._waiting: list[dict[str, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, node_id: int, bodies: Iterable[Any]) -> None:
        """Takes messages to, or of, a node."""
        for body in bodies:
            self._numbers[node_id] += 1
            self._waiting.append({"node_id": node_id, "number": self._numbers[node_id], "body": json.dumps(body)})

    def write(self, connection: sa.Connection, run_id: int) -> None:
        """Inserts what waits, and wakes its receivers when the transaction is committed."""
        if not self._waiting:
            return
        rows = [{**row, "run_id": run_id, "direction": self._direction} for row in self._waiting]
        connection.execute(message.insert(), rows)
        if connection.dialect.name == "postgresql":
            receivers = {row["node_id"] for row in rows} if self._direction == "order" else {None}
            for receiver in receivers:
                connection.execute(sa.select(sa.func.pg_notify(channel(run_id, receiver), "")))

    def clear(self) -> None:
        """Forgets what was written, after the commit."""
        self._waiting.clear()


def channel(run_id: int, node_id: int | None) -> sa.ColumnElement[str]:
    """The channel of a receiver in SQL; channels belong to a database, so that its schemas need different ones."""
    receiver = "scheduler" if node_id is None else str(node_id)
    return sa.literal("bench_") + sa.func.md5(sa.func.current_schema()) + sa.literal(f"_{run_id}_{receiver}")


class Mailbox:
    """Where the scheduler, or one node, takes what was sent to it; the scheduler also sends orders with it.

    What a node reports goes through `Recorder.post`, together with what it records.

    Args:
        database: Open for writing, and used by this thread alone.
        run_id: The run.
        node_id: The node; None for the scheduler.
    """

    def __init__(self, database: Database, run_id: int, node_id: int | None = None) -> None:
        self._database = database
        self._run_id = run_id
        mine = [message.c.direction == ("report" if node_id is None else "order")]
        mine += [] if node_id is None else [message.c.node_id == node_id]
        columns = (message.c.message_id, message.c.node_id, message.c.number, message.c.body)
        self._delete = message.delete().where(message.c.run_id == run_id, *mine).returning(*columns)
        self._outbox = Outbox("order") if node_id is None else None
        self._taken: dict[int, Any] = {}
        self._last = Counter[int]()

    def take(self) -> list[Message]:
        """Takes all that has come, in the order in which each sender has sent it.

        Raises:
            StorageError: The database cannot be reached. Nothing is lost: the next call returns it.
        """
        with self._database.transaction() as connection:
            # kept before the commit: its answer may be lost, and then the rows are gone
            self._taken |= {row.message_id: row for row in connection.execute(self._delete)}
        taken, self._taken = [self._taken[number] for number in sorted(self._taken)], {}
        new = []
        for row in taken:
            if row.number > self._last[row.node_id]:
                self._last[row.node_id] = row.number
                new.append(Message(row.node_id, json.loads(row.body)))
        return new

    def add(self, node_id: int, bodies: Iterable[Any]) -> None:
        """Takes orders to a node, as the scheduler; `post` sends them."""
        assert self._outbox is not None, "a node reports through Recorder.post"
        self._outbox.add(node_id, bodies)

    def post(self) -> None:
        """Sends what was added, to all nodes in one transaction.

        Raises:
            StorageError: The database cannot be reached. The next call sends it.
        """
        assert self._outbox is not None, "a node reports through Recorder.post"
        with self._database.transaction() as connection:
            self._outbox.write(connection, self._run_id)
        self._outbox.clear()
