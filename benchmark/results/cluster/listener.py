"""Wakes whoever waits for messages, through a descriptor that a selector can watch."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Self

import sqlalchemy as sa

from benchmark.results.cluster.mailbox import channel
from benchmark.results.store.engine import driver_connection, writing_engine
from benchmark.results.store.location import Location

RECONNECT_SECONDS = 0.5
"""Between two tries to reach a server that does not answer."""

LISTENING_SECONDS = 30.0
"""How long a connection is believed without a word from the server; then it is asked for one."""


class Listener:
    """Listens for messages to the scheduler or to one node, in a thread with a connection of its own.

    It also wakes after each new connection, because messages may have come while there was none; whoever waits looks for
    them now and then all the same.

    Args:
        location: Of the database, on a PostgreSQL server.
        run_id: The run.
        node_id: The node; None for the scheduler.
    """

    def __init__(self, location: Location, run_id: int, node_id: int | None = None) -> None:
        self._engine = writing_engine(location)
        self._channel = sa.select(channel(run_id, node_id))
        self._read, self._write = os.pipe()
        self._end, self._ended = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """The descriptor that becomes readable when messages may have come; the same one to the end."""
        return self._read

    def drain(self) -> None:
        """Makes it unreadable until the next message."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 512):
                continue

    def close(self) -> None:
        """Ends the thread and its connection."""
        os.close(self._ended)
        self._thread.join()
        for descriptor in (self._read, self._write, self._end):
            os.close(descriptor)
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        from psycopg import Error

        while True:
            with contextlib.suppress(sa.exc.DBAPIError, Error), self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                name = connection.scalar(self._channel)
                connection.exec_driver_sql(f'LISTEN "{name}"')
                self._wake()
                raw = driver_connection(connection)
                while not self._is_over(LISTENING_SECONDS, raw.fileno()):
                    if any(True for _ in raw.notifies(timeout=0)):
                        self._wake()
                    else:
                        raw.execute("")
            if self._is_over(RECONNECT_SECONDS):
                return
            self._engine.dispose()

    def _is_over(self, seconds: float, *others: int) -> bool:
        """Waits so long, or until another descriptor is readable; whether `close` was called."""
        return self._end in select.select([self._end, *others], [], [], seconds)[0]

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"\0")
