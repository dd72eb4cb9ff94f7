"""Renews the lease of a node from a thread of its own: an epoch, or a busy database connection, may last longer than it."""

from __future__ import annotations

import random
import threading
import time
from typing import Self

from benchmark.errors import StorageError
from benchmark.results.cluster import nodes
from benchmark.results.store.database import open_database
from benchmark.scheduling.loop.retrying_recorder import PATIENCE_SECONDS

BEATS = 4
"""How often a lease is renewed within its time."""


class LeaseRenewal:
    """Inside `with`, renews the lease of a node in the background, on a connection of its own.

    Args:
        database: URL of the database.
        node_id: Of the node.
        lease_seconds: How long a lease lasts.

    Attributes:
        is_fenced: Whether the run has declared this node lost.
    """

    def __init__(self, database: str, node_id: int, lease_seconds: float) -> None:
        self._address = database
        self._node_id = node_id
        self._lease_seconds = lease_seconds
        self._renewed = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease renewal", daemon=True)
        self.is_fenced = False

    @property
    def is_expired(self) -> bool:
        """Whether the lease could not be renewed for so long that nobody waits any more.

        A server that is away takes the lease with it, however short that is: then the run waits as its nodes do. Whether
        it has given the cells to others meanwhile, because only this node was cut off, is found out at the first answer.
        """
        return time.monotonic() - self._renewed > max(self._lease_seconds, PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(self._lease_seconds)

    def _beat(self) -> None:
        # agents that were placed together do not all connect at the same moment
        while not self._end.wait(self._lease_seconds / BEATS * random.uniform(0.6, 1.0)):
            begun = time.monotonic()
            try:
                # a database belongs to the thread that has opened it; the server's connections are few, so none is kept
                with open_database(self._address, mode="write") as database:
                    self.is_fenced = not nodes.renew(database, self._node_id, self._lease_seconds)
            except StorageError:
                continue
            if self.is_fenced:
                return
            self._renewed = begun
