"""A process under a guardian, as the scheduler sees it: started, heard through its pipes, given orders, let go."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.events import Event, Exited, Launched, ProtocolError, from_line
from benchmark.scheduling.processes import guardian
from benchmark.scheduling.processes.pipes import LineReader

REAP_SECONDS = 3.0


@dataclass(slots=True)
class GuardedProcess:
    """The scheduler's ends of the pipes to one guardian and its worker, and what the guardian has reported.

    Attributes:
        report: `Launched` and `Exited`, from the guardian alone; its end of file means that the guardian is gone.
        events: What the worker tells; a grandchild may hold it open longer.
        life: Orders to the guardian; closing it kills the group.
        popen: The guardian when this process started it itself, so that it can be waited for.
        launched: The process ids; None until the guardian has reported them.
        exited: How the worker ended; None until the guardian has reported it.
        selector: Where the pipes are registered; None for nowhere.
    """

    report: LineReader
    events: LineReader
    life: int
    popen: subprocess.Popen[bytes] | None = None
    launched: Launched | None = None
    exited: Exited | None = None
    selector: selectors.BaseSelector | None = None

    @property
    def is_over(self) -> bool:
        """Whether the guardian has reported the end, or is gone itself."""
        return self.exited is not None or self.report.closed

    @property
    def pids(self) -> tuple[int, ...]:
        """Of guardian and worker, once they are known."""
        return () if self.launched is None else (self.launched.guardian_pid, self.launched.worker_pid)

    def listen(self, selector: selectors.BaseSelector, data: Any) -> None:
        """Registers both pipes for reading, each with `data`; `close` takes them away again."""
        self.selector = selector
        for reader in (self.report, self.events):
            selector.register(reader.fd, selectors.EVENT_READ, data)

    def hear_guardian(self) -> list[Event]:
        """What the guardian has reported since the last call."""
        reported = [from_line(line) for line in self.report.read()]
        for event in reported:
            if isinstance(event, Launched):
                self.launched = event
            elif isinstance(event, Exited):
                self.exited = event
        return reported

    def hear_worker(self) -> Iterator[Event]:
        """What the worker has said since the last call, in order.

        Raises:
            ProtocolError: After what came before it: a line is no event, or too long, or not the worker's to say.
        """
        yield from map(worker_event, self.events.read())

    def order(self, order: bytes) -> None:
        """Sends `guardian.TERMINATE`, `KILL` or `DUMP`; nothing happens when the guardian is gone."""
        with contextlib.suppress(OSError):
            os.write(self.life, order)

    def kill_group(self) -> None:
        """Kills guardian and worker without asking the guardian, and counts the process as over."""
        if self.launched is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.launched.guardian_pid, signal.SIGKILL)
        # only marked: its descriptor is still registered
        self.report.closed = True

    def ignore_closed(self) -> None:
        """A closed pipe would wake the selector for ever."""
        for reader in (self.report, self.events):
            if reader.closed:
                self._unregister(reader)

    def close(self) -> None:
        """Closes all ends; whatever still lived behind them is killed by its guardian."""
        for reader in (self.report, self.events):
            self._unregister(reader)
            reader.close()
        if self.life >= 0:
            os.close(self.life)
            self.life = -1
        if self.popen is not None:
            try:
                self.popen.wait(REAP_SECONDS)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()

    def _unregister(self, reader: LineReader) -> None:
        if self.selector is not None and reader.fd >= 0 and reader.fd in self.selector.get_map():
            self.selector.unregister(reader.fd)


def worker_event(line: bytes) -> Event:
    """What a worker may say.

    Raises:
        ProtocolError: It is no event, or one that only the guardian can know.
    """
    event = from_line(line)
    if isinstance(event, Launched | Exited):
        raise ProtocolError(f"{type(event).__name__} is for the guardian to say")
    return event


def log_tail(path: Path, size_bytes: int) -> bytes:
    """The end of a log, of at most this size; empty when it cannot be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - size_bytes))
            return log.read(max(size_bytes, 0))
    except OSError:
        return b""


def start_guardian(
    command: Sequence[str], environment: Mapping[str, str], log_path: str | Path, order: bytes = b""
) -> GuardedProcess:
    """Starts a fresh interpreter as guardian, which executes a command: it dies with this process, its output is kept.

    Args:
        command: The command line.
        environment: Of both processes, whole.
        log_path: Where the output of the command goes.
        order: What a worker reads on its standard input. It is told the descriptor of its events as the last argument.

    Raises:
        OSError: No descriptors or no processes are left.
    """
    with new_pipes() as (ours, theirs), tempfile.TemporaryFile() as stdin:
        stdin.write(order)
        stdin.seek(0)
        numbers = [str(number) for number in theirs]
        events = numbers[-1:] if order else []
        ours.popen = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, *numbers, str(log_path), *command, *events],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=theirs,
            env=dict(environment),
        )
    return ours


@contextlib.contextmanager
def new_pipes() -> Iterator[tuple[GuardedProcess, tuple[int, int, int]]]:
    """Makes the pipes of a process that is started inside `with`: our ends, and the guardian's (report, life, events).

    The guardian's ends are closed here afterwards, and after an error ours as well.

    Raises:
        OSError: No descriptors are left.
    """
    made: list[int] = []
    try:
        for _ in range(3):
            made += os.pipe()
    except OSError:
        for descriptor in made:
            os.close(descriptor)
        raise
    report_read, report_write, events_read, events_write, life_read, life_write = made
    ours = GuardedProcess(LineReader(report_read), LineReader(events_read), life_write)
    theirs = (report_write, life_read, events_write)
    try:
        yield ours, theirs
    except BaseException:
        ours.close()
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
