"""Lines at the bottom of a terminal that are drawn anew all the time, while others are printed above them."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

REDRAW_SECONDS = 0.25

REMEMBERED = 200
"""So many of the texts above are kept, to be printed again when the terminal has become smaller."""

_ERASE_BELOW = "\x1b[J"
_ERASE_REST = "\x1b[K"
_TOP_LEFT = "\x1b[H"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class LiveRegion:
    """Draws what `lines` gives for the width and height of a terminal.

    Nothing is written while nothing changes, and what is written goes out in one piece, the lines above included.
    Where a terminal has become smaller, every terminal has done something else to what was on it: the visible part of it is
    drawn anew, with the last of what was printed above.

    Side effects: a thread, and a hidden cursor, between `start` and `stop`.
    """

    def __init__(self, console: Console, lines: Callable[[int, int], Sequence[Text]]) -> None:
        self._console = console
        self._lines = lines
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._drawn: list[str] = []
        self._size = (0, 0)
        self._above: deque[tuple[tuple[Any, ...], dict[str, Any]]] = deque(maxlen=REMEMBERED)

    def start(self) -> None:
        """Begins to draw; nothing happens when it has begun already."""
        with self._lock:
            if self._thread is None:
                self._write(_HIDE_CURSOR)
                self._ended.clear()
                self._thread = threading.Thread(target=self._draw_on, name="display", daemon=True)
                self._thread.start()

    def stop(self, *, patience_seconds: float = -1) -> None:
        """Takes the lines away, and ends. Waits at most so long for one who prints at this moment."""
        if not self._lock.acquire(timeout=patience_seconds):
            return
        try:
            thread, self._thread = self._thread, None
            self._ended.set()
            if thread is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._write(self._to_top() + _ERASE_BELOW + _SHOW_CURSOR)
            self._drawn = []
        finally:
            self._lock.release()

    def print(self, *texts: RenderableType, **options: Any) -> None:
        """Prints above the lines, as `Console.print`.

        Raises:
            OSError: Nobody reads it any more.
        """
        with self._lock:
            if self._thread is None:
                self._console.print(*texts, **options)
            else:
                if self._has_shrunk():
                    self.draw()
                self._write(self._to_top() + _ERASE_BELOW + self._rendered(*texts, **options) + "\n".join(self._drawn))
            self._above.append((texts, options))

    def draw(self) -> None:
        """Draws the lines if they have changed."""
        with self._lock:
            width, height = self._console.size
            lines = [self._rendered(line, end="", soft_wrap=True) for line in self._lines(width, height)]
            begin = ""
            if self._has_shrunk():
                begin = _TOP_LEFT + _ERASE_BELOW + "".join(self._last_above(height - len(lines)))
                self._drawn = []
            self._size = (width, height)
            if lines != self._drawn:
                end = _ERASE_BELOW if len(lines) < len(self._drawn) else ""
                self._write(begin + self._to_top() + "\n".join(line + _ERASE_REST for line in lines) + end)
                self._drawn = lines

    def _has_shrunk(self) -> bool:
        size = self._console.size
        return size.width < self._size[0] or size.height < self._size[1]

    def _to_top(self) -> str:
        """From the end of the last line to the beginning of the first."""
        up = len(self._drawn) - 1
        return "\r" + (f"\x1b[{up}A" if up > 0 else "")

    def _last_above(self, room: int) -> Sequence[str]:
        """The last of what was printed, as far as it fits."""
        last: deque[str] = deque()
        for texts, options in reversed(self._above):
            text = self._rendered(*texts, **options)
            room -= text.count("\n")
            if room <= 0:
                break
            last.appendleft(text)
        return last

    def _rendered(self, *texts: RenderableType, **options: Any) -> str:
        with self._console.capture() as captured:
            self._console.print(*texts, **options)
        return captured.get()

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()

    def _draw_on(self) -> None:
        # that a terminal has gone away is met by whoever prints, too
        with contextlib.suppress(OSError, ValueError):
            while not self._ended.is_set():
                self._redraw()
                self._ended.wait(REDRAW_SECONDS)

    def _redraw(self) -> None:
        with self._lock:
            if self._thread is threading.current_thread():
                self.draw()
