"""What an engine for `--executor` must be: five verbs that place one agent on each node, and nothing more.

An engine knows computers and places processes on them. It starts an *agent*, a program of bench, on a node that it holds
for it, tells when an agent has ended, and ends one when it is told to. Cells, results and retries are none of its business:
agents and the run talk through the database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Node:
    """What an engine knows of a computer, or of a part of one, before an agent runs there.

    Attributes:
        name: The engine's address or id of it; no other node of the run ever has this name.
        cores: How many processors an agent there is given.
        gpus: How many GPUs an agent there is given.
        memory_bytes: How much memory an agent there is given; None where the engine does not say.
        host: The computer's name or address, where the engine knows it and it is not the name.
        is_leaving: Whether the engine takes it away soon: no agent is placed there any more, and one that is saves and ends.
    """

    name: str
    cores: int
    gpus: int = 0
    memory_bytes: int | None = None
    host: str = ""
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class AgentCommand:
    """The program that an engine starts on a node.

    Attributes:
        module: Of this package; `agent_process.start_agent` starts it.
        order: The first line on its standard input: JSON, without a newline.
        environment: Variables that it gets beside those of the node.
    """

    module: str
    order: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Granted:
    """What an engine gave an agent: the second line on its standard input. The input then stays open.

    When it closes, the engine's own process there is gone, and so is the agent's right to the node: it saves and ends.

    Attributes:
        cores: How many processors it may use.
        gpus: The GPUs that it may use, as CUDA calls them on that node; `CUDA_VISIBLE_DEVICES` of the agent names the same.
        memory_bytes: How much memory it may use; None for no limit that the engine knows.
        host: The computer's name or address, where the engine learned it only now.
    """

    cores: int
    gpus: tuple[str, ...] = ()
    memory_bytes: int | None = None
    host: str = ""

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """What `to_line` gave."""
        given = json.loads(line)
        return cls(given["cores"], tuple(given["gpus"]), given["memory_bytes"], given["host"])


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """What an engine is made with.

    Attributes:
        argument: What follows the colon in `--executor NAME:ARGUMENT`; empty without one.
        folder: For files of the engine's own, an absolute path that all nodes see where the engine needs that; the engine
            makes it, for this user alone: an order may hold the database's password.
        wants_gpus: Whether any cell of the run trains on a GPU; otherwise GPUs are left to others.
    """

    argument: str
    folder: Path
    wants_gpus: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """So many cells that have no result yet could run at the same time, each with so many processors and GPUs."""

    count: int
    cores: int
    gpus: int


class Executor(Protocol):
    """An engine. `open_executor` runs it in a process of its own, where its calls may take their time.

    One that can get more nodes may have a sixth verb, `want(demands)`: it is told a sequence of `Demand` when the nodes that are
    there are too few, whenever that changes, and an empty one when they are enough.

    A verb that cannot do its work raises a `UserError` or `StorageError` with a message that names the cure.
    """

    def slots(self) -> Sequence[Node]:
        """Nodes that could take an agent now, and those that hold one. May change during a run."""

    def submit(self, node: Node, agent: AgentCommand) -> str:
        """Places an agent on a node of `slots` that holds none; returns its handle, and does not wait for its start."""

    def poll(self) -> Mapping[str, str]:
        """Agents that have ended since the last call, cancelled ones too: by handle, why, in words."""

    def cancel(self, handle: str) -> None:
        """Ends an agent at once, however far it is; one that has ended already stays as it is."""

    def close(self) -> None:
        """Ends all agents at once and lets go of the engine."""
