"""A command on a terminal of its own, as a person sees it: what `pyte` makes of everything that the command writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence

import pytest
from cli_workplace import Workplace
from waiting import PATIENCE_SECONDS

pyte = pytest.importorskip("pyte", reason="pip install pyte, which is in the extra `test`")

FOREGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal with one command in its foreground."""

    def __init__(self, place: Workplace, *arguments: str, columns: int = 80, lines: int = 24, **variables: str) -> None:
        self._ours, theirs = pty.openpty()
        self._screen = pyte.HistoryScreen(columns, lines, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, lines)
        environment = {**place.environment, "TERM": "xterm-256color", **variables}
        self.process = subprocess.Popen(
            [sys.executable, "-c", FOREGROUND, *place.command(*arguments)],
            cwd=place.directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def resize(self, columns: int, lines: int) -> None:
        """As a person does it with the window."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if (columns, lines) != (self._screen.columns, self._screen.lines):
            self._screen.resize(lines, columns)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without blanks at the ends."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def above(self) -> list[str]:
        """What has left the screen at its top."""
        rows = self._screen.history.top
        return ["".join(row[column].data for column in range(self._screen.columns)).rstrip() for row in rows]

    @property
    def shows_cursor(self) -> bool:
        return not self._screen.cursor.hidden

    def wait_for(self, holds: Callable[[str], object], what: str = "") -> list[str]:
        """Waits until something is on the screen, and gives its lines then."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not holds("\n".join(self.lines)):
            assert time.monotonic() < until, f"{what}: {self.lines}"
            assert self._read(), f"the command ended before {what or 'that'}: {self.lines}"
        return self.lines

    def end(self) -> tuple[int, list[str]]:
        """Waits until the command has ended: its exit code, and what is on the screen."""
        while self._read():
            continue
        os.close(self._ours)
        return self.process.wait(timeout=PATIENCE_SECONDS), self.lines

    def _read(self) -> bool:
        """Takes in what was written next; False when nobody can write any more."""
        select.select([self._ours], [], [], PATIENCE_SECONDS)
        # Linux says EIO when the other side is gone
        with contextlib.suppress(OSError):
            if written := os.read(self._ours, 1 << 16):
                self._stream.feed(written)
                return True
        return False


def frame_of(lines: Sequence[str]) -> list[str]:
    """The lines of the live display among those on the screen: from its heading on."""
    headings = [number for number, line in enumerate(lines) if line.startswith("cell ")]
    return list(lines[headings[-1] :]) if headings else []
