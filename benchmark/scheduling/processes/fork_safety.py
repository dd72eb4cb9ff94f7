"""Checks whether the template process is safe to fork: a first child inspects itself, the scheduler judges."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from benchmark import layout
from benchmark.catalog.backends import BACKENDS, trains_networks

CHILD_SECONDS = 10
_TRIES, _PAUSE_SECONDS = 3, 0.5
_HARMLESS_THREADS = frozenset({"jemalloc_bg_thd"})


def settled_findings(backend: str) -> dict[str, Any]:
    """What a child finds once there is nothing to object to, or else the last of three.

    A thread of an import may be about to end, and on a busy machine one child may be too slow.
    """
    findings = findings_of_child(backend)
    for _ in range(_TRIES - 1):
        if not objections(backend, findings):
            break
        time.sleep(_PAUSE_SECONDS)
        findings = findings_of_child(backend)
    return findings


def findings_of_child(backend: str) -> dict[str, Any]:
    """What a child forked here finds; threads are counted in the parent, since no fork inherits them.

    Side effects: forks once and waits at most ten seconds.
    """
    threads = thread_names()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)
        os.close(read)
        is_imported = backend in sys.modules and "keras" in sys.modules
        findings = {"imported": is_imported, "initialised": _is_initialised(), "files": _open_files()}
        os.write(write, json.dumps(findings).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return {"threads": threads, **(json.loads(said) if said else {"child": "no answer"})}


def objections(backend: str, findings: Mapping[str, Any]) -> list[str]:
    """Why attempts should not be forked from the template that found this; empty when they may."""
    threads = findings.get("threads", ())[1:]
    reasons = [f"a thread {name!r} runs" for name in threads if name not in _HARMLESS_THREADS]
    if "child" in findings:
        return [*reasons, "a process forked from it did not answer"]
    name = BACKENDS[backend].title if trains_networks(backend) else None
    if name is not None and not findings["imported"]:
        reasons.append(f"{name} is not imported")
    if name is not None and findings["initialised"]:
        reasons.append(f"{name} is initialised already")
    held = [path for path in findings["files"] if path.startswith("/dev/nvidia") or layout.is_of_database(path)]
    return [*reasons, *(f"it holds {path}" for path in held)]


def thread_names() -> list[str]:
    """Names of this process's threads, native ones too, the main thread first; empty where there is no /proc."""
    try:
        numbers = sorted(int(name) for name in os.listdir("/proc/self/task"))  # noqa: PTH208
    except OSError:
        return []
    names = []
    for number in numbers:
        with open(f"/proc/self/task/{number}/comm", encoding="utf-8", errors="replace") as comm:  # noqa: PTH123
            names.append(comm.read().strip())
    return names


def _is_initialised() -> bool:
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return bool(
        getattr(context, "_initialized", False)
        or getattr(context, "_context_handle", None) is not None
        # the client of JAX has threads of its own; it is made by the first operation or question about devices
        or getattr(sys.modules.get("jax._src.xla_bridge"), "_backends", None)
        or (cuda is not None and cuda.is_initialized())
    )


def _open_files() -> list[str]:
    paths = []
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            with suppress(OSError):
                paths.append(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
    return paths
