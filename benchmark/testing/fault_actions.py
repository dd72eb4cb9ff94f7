"""The actions of fault points: ways to break this program, so that tests prove that nothing is lost.

`BENCH_FAULT=<point>:<nth>:<action>[@<cell id>]` (several joined by commas) acts when `point` is reached for the nth
time in a process (one that works at this cell, when an id is given). With `BENCH_FAULT_MARK=<file>` each acts once over
all processes: a file is created, and whoever finds it does nothing.

Actions: kill9, segv, exit (status 0), hang (in Python), spin (in C, holding the interpreter's lock), deep (in
C, without it, as a long query is), hog (memory, up to a limit of its own), gorge (a gibibyte, for control groups that have less), stop (SIGSTOP), half (half an event, then
SIGSTOP), deaf (SIGTERM ignored, then hang), child (leaves a sleeping grandchild), junk (64 MB on stderr), enospc, lost
and full_gpu (what backends raise when a GPU is lost, or has no memory left), and raise:<exception of builtins>.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import errno
import hashlib
import os
import resource
import signal
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

_reached: Counter[str] = Counter()


def act(point: str, cell_id: str) -> None:
    """Breaks this process if `BENCH_FAULT` asks for it at this point.

    Raises:
        OSError: The action is `enospc`.
        RuntimeError: The action is `lost` or `full_gpu`.
        Exception: The action is `raise:<cls>`.
    """
    wanted = os.environ.get("BENCH_FAULT")
    if wanted is None:
        return
    _reached[point] += 1
    for number, order in enumerate(wanted.split(",")):
        what, _, cell = order.partition("@")
        place, nth, action = what.split(":", 2)
        if place == point and int(nth) == _reached[point] and cell_id.startswith(cell) and _is_first(number):
            _perform(action)


def _is_first(number: int) -> bool:
    mark = os.environ.get("BENCH_FAULT_MARK")
    if mark is None:
        return True
    try:
        os.close(os.open(f"{mark}.{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _perform(action: str) -> None:
    name, _, argument = action.partition(":")
    if name == "raise":
        _raise(getattr(builtins, argument), f"fault point: {argument}")
    _ACTIONS[name]()


def _hang() -> None:
    while True:
        time.sleep(3600)


def _spin() -> None:
    # One bytecode that takes hours and never lets another thread or a signal handler run.
    _ = 10 ** (10**8)


def _hog() -> None:
    # A limit of our own, so that the machine does not suffer: the next allocation above it is a MemoryError.
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: PTH123, SIM115
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
    bytearray(256 << 20)


def _gorge() -> None:
    eaten = []
    for _ in range(64):
        eaten.append(bytearray(os.urandom(1 << 12) * (1 << 12)))  # noqa: PERF401  each must stay


def _half() -> None:
    # A worker holds one pipe beside its standard streams: that of its events.
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.write(descriptor, b'{"event": "EpochFinis')
    signal.raise_signal(signal.SIGSTOP)


def _deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _hang()


def _junk() -> None:
    for _ in range(64):
        os.write(2, b"\xff\x00junk\n" * (1 << 17))


def _raise(kind: type[Exception], *arguments: object) -> None:
    raise kind(*arguments)


_ACTIONS: dict[str, Callable[[], object]] = {
    "kill9": partial(signal.raise_signal, signal.SIGKILL),
    "stop": partial(signal.raise_signal, signal.SIGSTOP),
    "segv": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(0),
    "hang": _hang,
    "gorge": _gorge,
    "half": _half,
    "spin": _spin,
    "deep": lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1),
    "hog": _hog,
    "deaf": _deaf,
    "child": lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"], os.environ),
    "junk": _junk,
    "enospc": partial(_raise, OSError, errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "lost": partial(_raise, RuntimeError, "CUDA_ERROR_ILLEGAL_ADDRESS: fault point"),
    "full_gpu": partial(
        _raise, RuntimeError, "RESOURCE_EXHAUSTED: Out of memory while trying to allocate: fault point"
    ),
}
