"""The guardian of one worker: a tiny process between scheduler and worker that leaves nobody behind.

It leads a session of its own, starts the worker in it, and then waits for three things: orders or silence from the
scheduler (the life pipe), output of the worker (into a log of bounded size), and the worker's end. When the life pipe
closes, because the scheduler is gone however it went, the whole group is killed. When the worker is gone, its exit
status and resource usage are reported and the rest of the group is killed. On Linux that includes whoever has left the
group for a session of its own: the guardian inherits the orphans of its descendants.

Only the standard library, and nothing of this package: with `spawn` this file runs as a script by `python -I -S`.

    guardian.py REPORT_FD LIFE_FD EVENTS_FD LOG_PATH COMMAND…
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Collection
from typing import Any, NoReturn

TERMINATE, KILL, DUMP = b"T", b"K", b"D"
"""Orders on the life pipe: SIGTERM, SIGKILL, and SIGUSR1 (which writes every thread's stack to the log)."""

LOG_LIMIT_BYTES = 1 << 20
"""A log grows to this size, then becomes `log.old.txt` and begins again: at most twice this stays."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FAREWELL_SECONDS = 1.0
_ORDERS = {TERMINATE: signal.SIGTERM, KILL: signal.SIGKILL, DUMP: signal.SIGUSR1}


class BoundedLog:
    """The last one to two `limit` bytes written; the file appears with the first byte. A full disk only loses output."""

    def __init__(self, path: str, limit: int = LOG_LIMIT_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._file: int | None = None
        self._size = 0

    def write(self, chunk: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._size + len(chunk) > self._limit:
                self._turn()
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            self._size += os.write(self._file, chunk)

    def _turn(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            base, extension = os.path.splitext(self._path)  # noqa: PTH122  pathlib would double the start-up time
            os.replace(self._path, f"{base}.old{extension}")  # noqa: PTH105
        self._size = 0


def guard(report: int, life: int, log_path: str, become_worker: Callable[[], NoReturn]) -> NoReturn:
    """Starts the worker, watches over it, and ends with it.

    Args:
        report: Pipe to the scheduler for `Launched` and `Exited`, one JSON line each.
        life: Pipe from the scheduler: orders, or end of file when it is gone.
        log_path: Where the worker's output goes.
        become_worker: Called in the forked worker, with output redirected and the guardian known to live; must not
            return.

    Side effects: forks; makes a session; kills its own process group at the end, itself included.
    """
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # The worker is born with these: an order that reaches it before its own handlers stand ends it, and is not lost.
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guardian = os.getpid()
    log_read, log_write = os.pipe()
    gate_read, gate_write = os.pipe()
    worker = os.fork()
    if worker == 0:
        _enter_worker(guardian, gate_read, gate_write, log_write)
        become_worker()
    # The guardian outlives whatever ends the worker; only SIGKILL and the life pipe end it.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    close_all_but({0, 1, 2, report, life, log_read, gate_write})
    _say(report, "Launched", guardian_pid=guardian, worker_pid=worker, worker_start_ticks=start_ticks(worker))
    if select.select([life], [], [], 0)[0]:
        # Nobody wants this worker any more: it ends before any code of the cell runs.
        _obey(worker, os.read(life, 64))
    with contextlib.suppress(BrokenPipeError):
        os.write(gate_write, b"+")
    os.close(gate_write)
    _watch(worker, report, life, log_read, BoundedLog(log_path))


def _enter_worker(guardian: int, gate_read: int, gate_write: int, log_write: int) -> None:
    die_with_parent(guardian)
    os.close(gate_write)
    os.dup2(log_write, 1)
    os.dup2(log_write, 2)
    # No code of the cell runs before the scheduler could read who runs it.
    if os.read(gate_read, 1) != b"+":
        os._exit(1)


def die_with_parent(parent: int) -> None:
    """Linux: SIGKILL to this process when the thread that made it ends; checks that it has not ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def close_all_but(keep: Collection[int]) -> None:
    """Closes every file descriptor of this process that is not in `keep`."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    except OSError:
        numbers = list(range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096)))
    for number in numbers:
        if number not in keep:
            with contextlib.suppress(OSError):
                os.close(number)


def start_ticks(pid: int) -> int:
    """When the process began, in clock ticks since boot: with its pid and the boot id it is one process for ever.

    Source: proc_pid_stat(5), field 22. 0 where there is no /proc.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            return int(stat.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _watch(worker: int, report: int, life: int, log_read: int, log: BoundedLog) -> NoReturn:
    os.set_blocking(log_read, False)
    poll = select.poll()
    end = os.pidfd_open(worker) if hasattr(os, "pidfd_open") else None
    for descriptor in (life, log_read, end):
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(None if end is not None else 50)}
        if life in ready:
            _obey(worker, os.read(life, 64))
        if log_read in ready and not _drain(log_read, log, chunks=16):
            poll.unregister(log_read)
        if end is None or end in ready:
            pid, status, usage = os.wait4(worker, os.WNOHANG)
            if pid == worker:
                _drain(log_read, log, chunks=1024)
                _report_exit(report, status, usage)
                _end_group()


def _obey(worker: int, orders: bytes) -> None:
    if not orders:
        _end_group()
    for order in orders:
        os.kill(worker, _ORDERS[bytes([order])])


def _end_group() -> NoReturn:
    until = time.monotonic() + _FAREWELL_SECONDS
    # those whose parent dies become children of ours, whatever session they are in
    while (children := _children()) and time.monotonic() < until:
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        time.sleep(0.001)
    os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _children() -> list[int]:
    """Of this process; none where the system does not tell."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", "rb") as children:  # noqa: PTH123
            return [int(pid) for pid in children.read().split()]
    except OSError:
        return []


def _drain(log_read: int, log: BoundedLog, chunks: int) -> bool:
    """Moves what stands in the pipe to the log; False at its end. Bounded, so that a flood never hides an order."""
    for _ in range(chunks):
        try:
            chunk = os.read(log_read, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not chunk:
            return False
        log.write(chunk)
    return True


def _report_exit(report: int, status: int, usage: resource.struct_rusage) -> None:
    code = os.waitstatus_to_exitcode(status)
    # ru_maxrss: KiB on Linux, bytes on macOS (getrusage(2) of either).
    unit = 1 if sys.platform == "darwin" else 1024
    _say(
        report,
        "Exited",
        exit_code=max(code, 0),
        signal=max(-code, 0),
        peak_rss_bytes=usage.ru_maxrss * unit,
        user_seconds=usage.ru_utime,
        system_seconds=usage.ru_stime,
    )


def _say(report: int, event: str, **fields: Any) -> None:
    # The scheduler may be gone; then the life pipe says so at once.
    with contextlib.suppress(BrokenPipeError):
        os.write(report, json.dumps({"event": event, **fields}).encode() + b"\n")


def _main(arguments: list[str]) -> NoReturn:
    report, life, events = (int(number) for number in arguments[:3])
    log_path, command = arguments[3], arguments[4:]
    job = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def execute() -> NoReturn:
        os.dup2(job, 0)
        close_all_but({0, 1, 2, events})
        os.set_inheritable(events, True)
        os.execv(command[0], command)  # noqa: S606  a list built by the scheduler

    guard(report, life, log_path, execute)


if __name__ == "__main__":
    _main(sys.argv[1:])
