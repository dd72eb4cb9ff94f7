"""Ray as an engine: one agent for each node that has free processors, held there by an actor.

Ray only places and accounts. Its own retries are off, and nothing is uploaded: bench is installed on the nodes.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import benchmark
from benchmark.errors import UserError
from benchmark.scheduling.executors.protocol import AgentCommand, Demand, ExecutorSettings, Granted, Node
from benchmark.scheduling.executors.ray_autoscaler import ask_for_room, has_autoscaler
from benchmark.scheduling.executors.ray_node import AgentHolder
from benchmark.units import plural

PLACE_SECONDS = 20.0
"""An actor that has no place after so long asks for what others have taken meanwhile; its node is looked at anew."""

END_SECONDS = 3.0
"""An actor that has not ended its agent after so long is killed itself."""

FREE_SECONDS = 3.0
"""So long after the end of an agent its node counts as free, although Ray may still say that it is taken."""

CONNECT_SECONDS = 5.0

ASK_SECONDS = 5.0
"""How often it is looked whether there is an autoscaler while nodes are too few."""

_START = (
    "start one with `ray start --head` here, and with `ray start --address=HOST:6379` on each further computer; RAY_ADDRESS "
    "names one that runs elsewhere"
)


@dataclass(slots=True)
class _Placed:
    """An agent of ours, as Ray knows it."""

    node: Node
    ray_id: str
    actor: Any
    begun: Any
    ended: Any
    asked_at: float
    end_until: float | None = None
    has_begun: bool = False


class RayExecutor:
    """Places agents on the nodes of a running Ray cluster.

    Args:
        settings: The argument is the cluster's address, `HOST:PORT`; without it `RAY_ADDRESS`, or the one on this computer.

    Raises:
        UserError: There is none, it does not answer, or it has another version of Ray or Python.

    Side effects: connects to the cluster as a job of its own.
    """

    def __init__(self, settings: ExecutorSettings) -> None:
        address = settings.argument or os.environ.get("RAY_ADDRESS", "")
        _require_address(address)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        try:
            ray.init(
                address=address or "auto",
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace="benchmark-matrix",
                _node_ip_address=os.environ.get("BENCH_RAY_NODE_IP") or None,
            )
        except Exception as error:
            raise UserError(why_no_connection(address, error)) from error
        # Ray's own types know `remote` in a part of its forms only
        self._ray: Any = ray
        self._wants_gpus = settings.wants_gpus
        self._demands: Sequence[Demand] = ()
        self._has_asked = False
        self._looked_at = 0.0
        self._names: dict[str, str] = {}
        self._placed: dict[str, _Placed] = {}
        self._freed: dict[str, tuple[Node, float]] = {}
        """Nodes whose agents have ended, and until when Ray may not know yet that they are free."""

    def slots(self) -> Sequence[Node]:
        """Living nodes with a free processor, and those that hold an agent of ours."""
        from ray._private import state  # the public call sums over all nodes

        by_node: Any = state.available_resources_per_node
        free = by_node()
        self._freed = {ray_id: freed for ray_id, freed in self._freed.items() if freed[1] > _now()}
        held = {ray_id: node for ray_id, (node, _) in self._freed.items()}
        held |= {placed.ray_id: placed.node for placed in self._placed.values()}
        alive = {entry["NodeID"]: entry for entry in self._ray.nodes() if entry["Alive"]}
        self._names = {ray_id: name for ray_id, name in self._names.items() if ray_id in alive or ray_id in held}
        nodes = [held.get(ray_id) or self._node(entry, free.get(ray_id, {})) for ray_id, entry in alive.items()]
        names = {self._names[ray_id] for ray_id in _draining() if ray_id in self._names}
        nodes = [replace(node, is_leaving=node.name in names) for node in nodes if node.cores]
        return sorted(nodes, key=lambda node: node.name)

    def _node(self, entry: Mapping[str, Any], free: Mapping[str, float]) -> Node:
        address, ray_id = entry["NodeManagerAddress"], entry["NodeID"]
        if ray_id not in self._names:
            # of several nodes on one computer all but the first have their ids in their names
            taken = address in self._names.values()
            self._names[ray_id] = f"{address}-{ray_id[:8]}" if taken else address
        gpus = int(free.get("GPU", 0)) if self._wants_gpus else 0
        memory = int(free.get("memory", 0)) or None
        return Node(self._names[ray_id], int(free.get("CPU", 0)), gpus, memory, entry.get("NodeManagerHostname", ""))

    def submit(self, node: Node, agent: AgentCommand) -> str:
        """Asks for an actor that holds the agent, on that node or nowhere."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray_id = next(ray_id for ray_id, name in self._names.items() if name == node.name)
        actor = (
            self._ray.remote(AgentHolder)
            .options(
                num_cpus=node.cores,
                num_gpus=node.gpus,
                memory=node.memory_bytes,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=4,
                scheduling_strategy=NodeAffinitySchedulingStrategy(ray_id, soft=False),
            )
            .remote()
        )
        granted = Granted(node.cores, (), node.memory_bytes, node.host)
        handle = str(actor._actor_id.hex())  # noqa: SLF001  it has no public name
        self._placed[handle] = _Placed(
            node, ray_id, actor, actor.begun.remote(), actor.hold.remote(agent, granted, benchmark.__version__), _now()
        )
        return handle

    def poll(self) -> Mapping[str, str]:
        """Agents that have ended, by themselves or with their node."""
        self._ask()
        ended = {}
        for handle, placed in list(self._placed.items()):
            why = self._why_ended(placed)
            if why is not None:
                ended[handle] = why
                del self._placed[handle]
                self._freed[placed.ray_id] = placed.node, _now() + FREE_SECONDS
                self._ray.kill(placed.actor)
        return ended

    def _why_ended(self, placed: _Placed) -> str | None:
        if self._is_ready(placed.ended):
            try:
                return str(self._ray.get(placed.ended, timeout=CONNECT_SECONDS))
            except Exception as error:  # noqa: BLE001  Ray's errors have many classes
                return _in_words(error)
        placed.has_begun = placed.has_begun or self._is_ready(placed.begun)
        if placed.end_until is not None and _now() > placed.end_until:
            return "it was ended, and its node did not answer"
        if not placed.has_begun and _now() > placed.asked_at + PLACE_SECONDS:
            return f"others have taken the {plural(placed.node.cores, 'processor')} that were free, or its node does not answer"
        return None

    def cancel(self, handle: str) -> None:
        """Ends the agent; the actor with it, if it does not obey."""
        if (placed := self._placed.get(handle)) is not None and placed.end_until is None:
            placed.actor.end.remote()
            placed.end_until = _now() + END_SECONDS if placed.has_begun else _now()

    def want(self, demands: Sequence[Demand]) -> None:
        """Asks the autoscaler for nodes, where there is one; asks for nothing any more when none are needed."""
        if self._has_asked:
            ask_for_room(demands)
        self._has_asked = self._has_asked and bool(demands)
        self._demands, self._looked_at = demands, 0.0

    def _ask(self) -> None:
        # the autoscaler of a cluster that was started just now takes a while until it can be seen
        if self._demands and not self._has_asked and _now() > self._looked_at + ASK_SECONDS:
            self._looked_at = _now()
            if has_autoscaler():
                ask_for_room(self._demands)
                self._has_asked = True

    def let_go(self) -> None:
        """The run is gone: nothing is asked for any more."""
        self.want(())

    def close(self) -> None:
        """Ends all agents and leaves the cluster."""
        self.want(())
        for handle in list(self._placed):
            self.cancel(handle)
        until = _now() + END_SECONDS
        while self._placed and _now() < until:
            self.poll()
            time.sleep(0.05)
        self._ray.shutdown()

    def _is_ready(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=0)[0])


def _draining() -> Collection[str]:
    """Ids of nodes that Ray drains: spot instances with notice, nodes that an autoscaler takes away.

    Nothing public tells of them; where a version of Ray does not say so here, they count as dead once they are gone.
    """
    try:
        from ray._private.state import state

        return tuple(state.get_draining_nodes())
    except Exception:  # noqa: BLE001  whatever another version makes of it
        return ()


def _now() -> float:
    return time.monotonic()


def _require_address(address: str) -> None:
    """Raises what would otherwise be found out after a minute of trying."""
    if not address or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise UserError(f"RAY_ADDRESS is {address!r}: expected HOST:PORT, as `ray start --head` prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray answers at {address} ({error}); {_START}") from error


def why_no_connection(address: str, error: Exception) -> str:
    """What `ray.init` means, and the cure."""
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, ConnectionError) and not address:
        return f"no Ray runs on this computer; {_START}"
    at = f" at {address}" if address else ""
    cure = "this computer must be a node of the cluster: `ray start --address=HOST:PORT` makes it one"
    token = "; RAY_AUTH_TOKEN must be that of the cluster" if os.environ.get("RAY_AUTH_MODE") else ""
    node = "; BENCH_RAY_NODE_IP says which address it has there, as on loopback addresses"
    return f"cannot join the Ray{at}: {first.rstrip('.')}. {cure}{node}{token}"


def _in_words(error: Exception) -> str:
    """Why an actor is gone, in one line."""
    text = str(error)
    if "No module named 'benchmark'" in text:
        return f"its node has no benchmark-matrix: install {benchmark.__version__} there, in the Python that runs Ray"
    first = next(
        (line.strip() for line in text.splitlines() if "died" in line or "dead" in line), text.partition("\n")[0]
    )
    return f"Ray says {type(error).__name__}: {first[:300]}"
