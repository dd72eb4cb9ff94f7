"""Ctrl-C ends a command within a second, wherever it is.

Python hears signals between two of its own instructions, and one of them may be a query that takes minutes. What has
not ended by itself soon after Ctrl-C is therefore ended by a thread. Nothing is lost by that: files appear whole or not
at all (`files.py`), databases roll back, and guardians end the processes of a command that is gone. A run that trains
has handlers of its own (`scheduling/processes/signals.py`), which let workers save their state.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from benchmark.cli.terminal import streams
from benchmark.files import remove_unfinished

EXIT_CODE = 130
GRACE_SECONDS = 0.6
"""How long a command may take to end by itself: to delete temporary files, say."""

_asked = threading.Event()


def listen() -> None:
    """Lets Ctrl-C raise `KeyboardInterrupt`, once, and end the process when that does not.

    Side effects: sets the handler of SIGINT and the wake-up descriptor; starts a thread that waits for ever.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_end_after, args=(read,), name="interruption", daemon=True).start()


def was_asked_for() -> bool:
    """Whether Ctrl-C has come: then whatever error follows is its consequence."""
    return _asked.is_set()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # a second one would end the first one's tidying up in a traceback
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _asked.set()
    raise KeyboardInterrupt


def _end_after(wake_up: int) -> None:
    while signal.SIGINT not in os.read(wake_up, 512):
        pass
    _asked.set()
    time.sleep(GRACE_SECONDS)
    streams.take_away_live_lines(GRACE_SECONDS)
    console = streams.err()
    if console.is_terminal:
        console.show_cursor()
    os.write(2, b"interrupted\n")
    leave()


def leave() -> None:
    """Ends this process at once: Python would first take apart all modules, for a second where matplotlib is among them."""
    remove_unfinished()
    os._exit(EXIT_CODE)
