"""What a node agent is told when it is placed: one line of JSON on its standard input."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.catalog.cache import default_cache_root
from benchmark.scheduling.loop.scratch import scratch_folder
from benchmark.scheduling.run_options import RunOptions

_OF_STORES = ("AWS_", "FSSPEC_", "GOOGLE_", "GCSFS_", "AZURE_STORAGE_")
"""Beginnings of the names of variables by which object stores are reached."""

_OPTIONS = (
    "machine", "artifacts_root", "artifacts_url", "gpu_share", "retime", "timeout_seconds", "stall_seconds", "first_batch_seconds",
    "grace_seconds", "isolation", "command", "offline", "manual_directory", "allow_plugins", "every_state",
)  # fmt: skip
"""Fields of `RunOptions` that hold on every node."""


@dataclass(frozen=True, slots=True)
class AgentOrder:
    """What an agent is told when it is placed.

    Attributes:
        run_id: The run that it works for.
        database: URL of the database, with its password.
        node: The engine's name of the node.
        lease_seconds: How long the node may keep silent.
        options: Those of `_OPTIONS`, by name.
        cache_root: Folder for prepared data; None for the usual one of the node.
        folder: Working folder of the run, where relative paths of the matrix lead from.
        environment: Variables by which the run reaches the URL of artifacts; the node's own come first.
    """

    run_id: int
    database: str
    node: str
    lease_seconds: float
    options: dict[str, Any]
    cache_root: str | None
    folder: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root_of_cache(self) -> Path:
        """The folder for prepared data on this node."""
        return default_cache_root() if self.cache_root is None else Path(self.cache_root)

    def encode(self) -> str:
        """The order as one line."""
        return json.dumps(asdict(self))


def order_for(node: str, run_id: int, database: str, options: RunOptions) -> AgentOrder:
    """The order for the agent of a node."""
    values = {name: getattr(options, name) for name in _OPTIONS}
    values = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    cache_root = str(options.cache_root) if os.environ.get("BENCH_CACHE") else None
    # the user has consented where the run was started
    values["allow_plugins"] = True
    environment = {} if options.artifacts_url is None else _variables_of_stores()
    return AgentOrder(run_id, database, node, options.lease_seconds, values, cache_root, str(Path.cwd()), environment)


def _variables_of_stores() -> dict[str, str]:
    """What the libraries of object stores are configured by; like the database's password it goes over a pipe alone."""
    return {name: value for name, value in os.environ.items() if name.startswith(_OF_STORES)}


@contextlib.contextmanager
def own_scratch(order: AgentOrder) -> Iterator[AgentOrder]:
    """The order with a folder of artifacts of this agent's own, where they go on to a URL."""
    if order.options["artifacts_url"] is None:
        yield order
    else:
        with scratch_folder(order.root_of_cache) as scratch:
            yield replace(order, options={**order.options, "artifacts_root": str(scratch)})
