"""The program of a cell while it runs: started in the group of this worker, heard line by line, asked to stop, ended.

It dies with the worker, and the guardian ends what it leaves behind. What it prints goes to the log of the attempt; its last
words on stderr are kept for the message of a failure.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from benchmark import machine_load
from benchmark.training.process import interrupt
from benchmark.training.scripts.script_lines import LINE_LIMIT_BYTES, ScriptProtocolError

TAIL_BYTES = 16 << 10
"""So much of the end of its stderr is kept."""

SIGN_SECONDS = 5.0
"""How often it is looked whether a program that reports nothing uses the processor."""

_BUSY_TICKS = 5
"""Of 10 ms each: a hundredth of a core. A program that waits for ever wakes up now and then, too."""

_CHUNK_BYTES, _MOST_CHUNKS = 1 << 16, 16
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ScriptProcess:
    """A running program; used in `with`, which ends it.

    Args:
        command: Program and arguments.
        folder: Where it is started.
        environment: Its whole environment.
        events: The named pipe that it writes lines to; it is made here, and removed at the end.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], events: Path) -> None:
        self._events_path = events
        self._unfinished_line = b""
        self.stderr_tail = b""
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        # SIGTERM, and the end of the program, end the wait below
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        events.unlink(missing_ok=True)
        os.mkfifo(events, 0o600)
        # open for writing too: so it never ends, however often a program opens and closes it
        self._events = os.open(events, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        parent = os.getpid()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509  this process has one thread
        )
        assert self._process.stderr is not None
        self._stderr = self._process.stderr.fileno()
        os.set_blocking(self._stderr, False)
        for descriptor in (self._wake_read, self._events, self._stderr):
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._stopping = False
        self._ticks, self._looked_at = 0, time.monotonic()

    @property
    def returncode(self) -> int | None:
        """How it ended, as `subprocess` has it: its exit code, or the negative number of a signal; None while it runs."""
        return self._process.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(self._events)
        self._events_path.unlink(missing_ok=True)

    def lines(self) -> Iterator[bytes | None]:
        """What it reports, line by line, until it has ended; None where it reports nothing for a while and is at work.

        SIGTERM to this process is handed on to it and to all that it has started.

        Raises:
            ScriptProtocolError: A line is too long.
        """
        while True:
            ended = self._process.poll() is not None
            if interrupt.is_requested() and not self._stopping:
                self._stopping = True
                self._ask_to_stop()
            self._selector.select(0 if ended else SIGN_SECONDS)
            self._drain(self._wake_read)
            self._keep(self._drain(self._stderr))
            yield from self._split(self._drain(self._events))
            if ended:
                if self._unfinished_line.strip() and not self.returncode:
                    yield self._unfinished_line
                return
            if self._is_at_work():
                yield None

    def _ask_to_stop(self) -> None:
        group = os.getpgid(0)
        if group == os.getppid():
            # the guardian, which leads the group, ignores the signal, and this process only notes it
            os.killpg(group, signal.SIGTERM)
        else:
            self._process.terminate()

    def _drain(self, descriptor: int) -> bytes:
        """What can be read at once, at most 16 chunks, so that a flood of one stream does not stop the others."""
        chunks = []
        with contextlib.suppress(BlockingIOError):
            for _ in range(_MOST_CHUNKS):
                chunks.append(os.read(descriptor, _CHUNK_BYTES))
                if not chunks[-1]:
                    # its end: whoever had it open has closed it
                    if descriptor in self._selector.get_map():
                        self._selector.unregister(descriptor)
                    break
        return b"".join(chunks)

    def _split(self, chunk: bytes) -> Iterator[bytes]:
        *lines, self._unfinished_line = (self._unfinished_line + chunk).split(b"\n")
        if len(self._unfinished_line) > LINE_LIMIT_BYTES:
            raise ScriptProtocolError(f"expected lines of at most {LINE_LIMIT_BYTES} bytes, found a longer one")
        yield from (line for line in lines if line.strip())

    def _keep(self, chunk: bytes) -> None:
        """Hands on to the log what it wrote to stderr, and keeps its end."""
        if not chunk:
            return
        self.stderr_tail = (self.stderr_tail + chunk)[-TAIL_BYTES:]
        sys.stderr.flush()
        with contextlib.suppress(OSError):
            while chunk:
                chunk = chunk[os.write(2, chunk) :]

    def _is_at_work(self) -> bool:
        """Whether it has used the processor since it was looked at a while ago; True where that cannot be known."""
        now = time.monotonic()
        if now - self._looked_at < SIGN_SECONDS:
            return False
        before, self._ticks, self._looked_at = self._ticks, machine_load.processor_ticks([self._process.pid]), now
        return self._ticks - before >= _BUSY_TICKS or sys.platform != "linux"


def _die_with(parent: int) -> None:
    """Linux: the program is killed when its worker ends, however that went."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
