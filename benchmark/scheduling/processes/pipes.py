"""Lines from a pipe that nobody can block or flood: non-blocking reads into a buffer of bounded size."""

from __future__ import annotations

import os

from benchmark.events import LINE_LIMIT_BYTES, ProtocolError

READ_BYTES = 1 << 16
_READS_AT_ONCE = 16


class LineReader:
    """Splits what arrives on a pipe into lines.

    Attributes:
        fd: The read end, owned by this reader.
        closed: Whether the writers are gone; a half line they left is dropped: it is a dead worker, not an error.
    """

    def __init__(self, fd: int, limit: int = LINE_LIMIT_BYTES) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.closed = False
        self._limit = limit
        self._buffer = bytearray()

    def read(self) -> list[bytes]:
        """The lines that are complete by now, without their newlines; empty ones are left out.

        At most a megabyte is taken at once, so that one talkative worker does not keep the others waiting.

        Raises:
            ProtocolError: A line is longer than the limit.
        """
        for _ in range(_READS_AT_ONCE):
            try:
                chunk = os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                chunk = b""
            if not chunk:
                self.closed = True
                break
            self._buffer += chunk
            if len(chunk) < READ_BYTES:
                break
        return self._lines()

    def _lines(self) -> list[bytes]:
        *lines, rest = bytes(self._buffer).split(b"\n")
        if any(len(line) > self._limit for line in (*lines, rest)):
            self._buffer.clear()
            raise ProtocolError(f"a line of more than {self._limit} bytes")
        self._buffer = bytearray(rest)
        return [line for line in lines if line]

    def discard(self) -> None:
        """Takes and forgets what stands in the pipe, so that its writer is not blocked."""
        self._buffer.clear()
        try:
            self.closed = self.closed or not os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.closed = True

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self.closed = True
