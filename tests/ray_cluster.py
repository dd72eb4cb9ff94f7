"""A Ray cluster of several nodes on this computer's loopback addresses, whose nodes can be killed and stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from waiting import wait_until

HEAD = "127.0.0.2"
ROOT = Path(__file__).resolve().parent.parent


DRAIN = """
import sys, time
import ray
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

gcs, address = sys.argv[1:]
ray.init(address=gcs, log_to_driver=False, _node_ip_address=gcs.partition(":")[0])
(node,) = (each["NodeID"] for each in ray.nodes() if each["NodeManagerAddress"] == address)
reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
until = int(time.time() * 1000) + 60_000
accepted, why = ray._raylet.GcsClient(address=gcs).drain_node(node, reason, "a spot instance", until)
assert accepted, why
"""
"""What the hidden `ray drain-node` does; that does not find its way to a loopback address."""


@dataclass(frozen=True)
class RayNode:
    """All processes of a node, agents of ours too, carry its mark in their environment."""

    address: str
    mark: str

    def pids(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if self.mark.encode() in (folder / "environ").read_bytes():
                        found.append(int(folder.name))
        return found

    def signal(self, number: int) -> None:
        """As a computer that dies (SIGKILL), hangs (SIGSTOP), or wakes up again (SIGCONT)."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        def is_dead() -> bool:
            self.signal(signal.SIGKILL)
            return not self.pids()

        wait_until(is_dead, f"all processes of {self.address} are dead")


class RayCluster:
    """Started node by node, one after the other: two at the same moment on one computer choose the same socket names."""

    def __init__(self) -> None:
        # paths of sockets in it must be short
        self.folder = Path(tempfile.mkdtemp(prefix="r"))
        self.port = free_port()
        self.nodes: list[RayNode] = []
        # Ray listens on all interfaces, whatever it is told: nobody else may take part
        self.secrets = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex, "RAY_USAGE_STATS_ENABLED": "0"}

    @property
    def environment(self) -> dict[str, str]:
        """What a driver on this computer needs."""
        return {**self.secrets, "RAY_ADDRESS": f"{HEAD}:{self.port}", "BENCH_RAY_NODE_IP": HEAD}

    def start(self, cpus: int, *options: str, **variables: str) -> RayNode:
        """Starts the head, or one more node, whose processes have the variables."""
        node = RayNode(f"127.0.0.{len(self.nodes) + 2}", uuid.uuid4().hex)
        own = ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}"]
        place = [f"--address={HEAD}:{self.port}"] if self.nodes else own
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "BENCH_"))}
        path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
        self.nodes.append(node)
        subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", *place, "--disable-usage-stats"),
                *(f"--node-ip-address={node.address}", f"--num-cpus={cpus}", *options),
            ],
            env={
                **kept,
                **self.secrets,
                "BENCH_NODE_MARK": node.mark,
                "BENCH_TESTING": "1",
                "PYTHONPATH": path,
                **variables,
            },
            check=True,
            capture_output=True,
            timeout=60,
        )
        return node

    def drain(self, node: RayNode) -> None:
        """Tells Ray that a node will be gone in a minute, as a cloud tells of its spot instances."""
        subprocess.run(
            [sys.executable, "-c", DRAIN, f"{HEAD}:{self.port}", node.address],
            env={**os.environ, **self.secrets},
            check=True,
            capture_output=True,
            timeout=60,
        )

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """A port below those that Ray gives its workers."""
    for port in range(6400, 10000):
        with socket.socket() as tried:
            try:
                tried.bind((HEAD, port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
