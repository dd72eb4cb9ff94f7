"""The two streams that the command line writes: data to stdout, everything else to stderr.

Decides once what each stream can show: colour (`NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `TERM=dumb`), Unicode or plain
ASCII (`LANG=C`), and how wide a line may be. Names that users and files give never become markup or escape sequences.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from benchmark.text import ASCII_FORMS, printable, without_passwords

if TYPE_CHECKING:
    from rich.console import Console

UNBOUNDED_COLUMNS = 10_000
"""Width of a stream that is no terminal, unless `COLUMNS` says another: sentences stay whole lines there."""

DUMB_COLUMNS = 80
DUMB_LINES = 25
"""Of a terminal that does not say how large it is."""


def prepare() -> None:
    """Make stdin, stdout and stderr safe to use, whatever the caller left of them.

    Side effects: opens `/dev/null` in place of a closed standard stream, so that no database or pipe can ever get the
    number of one; sets the error handler (and for `LANG=C` the encoding) of stdout and stderr.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    codecs.register_error("ascii_art", _to_ascii)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            ascii_only = wants_ascii() or not str(stream.encoding).lower().startswith("utf")
            if ascii_only:
                stream.reconfigure(encoding="ascii", errors="ascii_art")
            else:
                stream.reconfigure(errors="replace")


def _nowhere() -> TextIO:
    # Python has no stream object at all for a descriptor that was closed when it started
    return Path(os.devnull).open("w", encoding="utf-8")


def _to_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(ASCII_FORMS.get(character, "?") for character in error.object[error.start : error.end]), error.end


def wants_ascii() -> bool:
    """Whether the user's locale is the C locale: no character outside ASCII may then reach the terminal.

    `LC_CTYPE` is not asked: Python itself sets it when it starts in the C locale (PEP 538).
    """
    return (os.environ.get("LC_ALL") or os.environ.get("LANG", "")) in {"C", "POSIX"}


def out() -> Console:
    """The console for data."""
    return _console(stderr=False)


def err() -> Console:
    """The console for progress, notes and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class PipeAwareConsole(Console):
        def on_broken_pipe(self) -> None:
            # rich would end the process with 1, our code for a defect
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    is_dumb = os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    return PipeAwareConsole(
        stderr=stderr,
        # rich follows a terminal that grows or shrinks, and takes a dumb one for 80 columns, whatever it has
        width=None if stream.isatty() and not is_dumb else _columns(stream),
        height=DUMB_LINES if is_dumb else None,
        force_terminal=True if os.environ.get("CLICOLOR_FORCE", "0") != "0" else None,
        no_color=True if "NO_COLOR" in os.environ or os.environ.get("CLICOLOR") == "0" else None,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _columns(stream: TextIO) -> int:
    claimed = os.environ.get("COLUMNS", "")
    if claimed.isdecimal() and int(claimed):
        return int(claimed)
    try:
        return os.get_terminal_size(stream.fileno()).columns or DUMB_COLUMNS
    except (OSError, ValueError):
        return UNBOUNDED_COLUMNS


class LiveLines(Protocol):
    """Lines that are drawn on a terminal all the time: whatever else is said must pass through it, or it breaks them."""

    def print(self, *texts: Any, **options: Any) -> None: ...

    def stop(self, *, patience_seconds: float = -1) -> None: ...


_shared: list[LiveLines] = []


@contextlib.contextmanager
def messages_through(region: LiveLines) -> Iterator[None]:
    """Let `say` use this region meanwhile."""
    _shared.append(region)
    try:
        yield
    finally:
        _shared.remove(region)


def take_away_live_lines(patience_seconds: float) -> None:
    """Erase what a live display shows: this process is about to end without another word."""
    for region in _shared:
        region.stop(patience_seconds=patience_seconds)


def can_draw(console: Console) -> bool:
    """Whether a console is a terminal on which lines can be drawn anew; colour may be forced on one that is not."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def say(text: str = "", style: str | None = None) -> None:
    """One message on stderr; never wrapped by us, and never fails because it cannot be written."""
    from rich.text import Text

    try:
        place = _shared[-1] if _shared else err()
        place.print(Text(readable(text), style=style or ""), soft_wrap=True)
    except OSError:
        # nobody reads it any more, or the disk that it goes to is full: no reason to end a run
        mute(sys.stderr)


def readable(text: str) -> str:
    """A message as it may be shown: it cannot steer the terminal, and holds no password that the user typed.

    Lines but the first are indented, so that a line break in a name that is quoted cannot forge a message of its own.
    """
    for word in (*sys.argv[1:], os.environ.get("BENCH_DB", "")):
        if (hidden := without_passwords(word, whole=True)) != word:
            text = text.replace(word, hidden)
    return re.sub(r"(?!\A)\n(?![ \n])", "\n  ", printable(without_passwords(text)))


def command_line(*more: str) -> str:
    """What the user typed, for the record; passwords in URLs are hidden."""
    return shlex.join(["bench", *(without_passwords(word, whole=True) for word in sys.argv[1:]), *more])


def mute(stream: Any) -> None:
    """Send the rest of what a stream is given nowhere: its reader is gone.

    Side effects: the stream's file descriptor points at `/dev/null` from now on.
    """
    try:
        target = os.open(os.devnull, os.O_WRONLY)
        os.dup2(target, stream.fileno())
        os.close(target)
    except (OSError, ValueError, AttributeError):
        return
