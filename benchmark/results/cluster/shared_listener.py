"""Wakes a node for messages on the very connection that it writes with: a server has few connections, and a cluster many nodes.

`listener.py` has a thread and a connection of its own; PostgreSQL allows a hundred of these unless it is told otherwise
(https://www.postgresql.org/docs/current/runtime-config-connection.html).
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from benchmark.results.cluster.mailbox import channel
from benchmark.results.store.database import Database
from benchmark.results.store.engine import driver_connection
from benchmark.results.store.storage_errors import storage_errors


class SharedListener:
    """Listens on the connection of an open database, between its transactions.

    Args:
        database: On a PostgreSQL server; used by this thread alone.
        selector: Where the connection is watched while nothing else is done with it.
        run_id: The run.
        node_id: The node.
    """

    def __init__(self, database: Database, selector: selectors.BaseSelector, run_id: int, node_id: int) -> None:
        self._database = database
        self._selector = selector
        self._channel = sa.select(channel(run_id, node_id))
        dbapi = database.engine.dialect.dbapi
        assert dbapi is not None
        self._errors = dbapi.Error
        self._connection: Any = None
        self._watched: int | None = None
        self._is_woken = True

    def was_woken(self) -> bool:
        """Whether messages may have come since this was asked last; listens anew where the connection is another one.

        Raises:
            StorageError: The server does not answer.
        """
        # no transaction is begun for this
        with storage_errors(self._database.display_name), self._database.engine.connect() as connection:
            driver = driver_connection(connection)
        if driver is not self._connection:
            with self._database.transaction() as connection:
                self._listen(connection)
        woken, self._is_woken = self._is_woken, False
        return woken

    def close(self) -> None:
        """The connection is not watched any more."""
        if self._watched is not None:
            self._selector.unregister(self._watched)
            os.close(self._watched)
            self._watched = None

    def _listen(self, connection: sa.Connection) -> None:
        self.close()
        driver = driver_connection(connection)
        name = connection.scalar(self._channel)
        connection.exec_driver_sql(f'LISTEN "{name}"')
        # those that come with the answer to a query are handed over here, and make no descriptor readable
        driver.add_notify_handler(lambda _: self._wake())
        self._connection = driver
        # one of our own: when the driver closes its own one, another file may get its number
        self._watched = os.dup(driver.fileno())
        self._selector.register(self._watched, selectors.EVENT_READ, self._hear(driver))
        self._wake()

    def _hear(self, driver: Any) -> Callable[[], None]:
        def hear() -> None:
            self._wake()
            try:
                driver.pgconn.consume_input()
                while driver.pgconn.notifies():
                    continue
            except self._errors:
                # the server has closed it: the next transaction gets another one
                self.close()

        return hear

    def _wake(self) -> None:
        self._is_woken = True
