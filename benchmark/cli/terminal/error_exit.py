"""The one place where an exception becomes a message and an exit code.

click.ClickException   2   usage, in the words of `usage_text`
BenchError             its own `exit_code`
KeyboardInterrupt    130, and whatever follows from it
BrokenPipeError        0   the reader of our data has seen enough
OSError: disk full     4
no memory, processes,
files that may be open 4
anything else          1   a defect of ours
"""

from __future__ import annotations

import errno
import sys

import click

from benchmark.cli.terminal import interruption, streams
from benchmark.cli.terminal.usage_text import usage_text
from benchmark.errors import FULL_DISK, BenchError, exhaustion


def exit_code_for(error: BaseException, *, debug: bool) -> int:
    """Tell the user about `error` on stderr and say which code the command ends with."""
    if isinstance(error, BrokenPipeError):
        streams.mute(sys.stdout)
        return 0
    if isinstance(error, (KeyboardInterrupt, click.Abort)) or interruption.was_asked_for():
        streams.say("interrupted")
        return interruption.EXIT_CODE
    if debug and not isinstance(error, click.ClickException):
        import traceback

        streams.say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            error.show()
            return error.exit_code
        if context is not None:
            streams.say(context.get_usage())
        _complain(
            f"{usage_text(error)}\n  `{context.command_path if context else 'bench'} --help` lists what is allowed"
        )
        return error.exit_code
    if isinstance(error, BenchError):
        _complain(error.explained())
        return error.exit_code
    if isinstance(error, OSError) and error.errno in FULL_DISK | {errno.EIO}:
        _complain(
            f"{error.filename or 'output'}: {error.strerror}\n  free some space or write elsewhere, then try again"
        )
        return 4
    if (named := exhaustion(error)) is not None:
        _complain(str(named))
        return named.exit_code
    traceback_is = "above" if debug else f"that this command prints:\n  {streams.command_line('--debug')}"
    _complain(
        f"bench has a defect: {type(error).__name__}: {error}\n  please report it with the traceback {traceback_is}"
    )
    return 1


def _complain(message: str) -> None:
    try:
        from rich.text import Text

        text = Text("error: ", style="bold red")
        text.append(streams.readable(message), style="default not bold")
        streams.err().print(text, soft_wrap=True)
    except (ImportError, MemoryError):
        # no memory is left to load what prints in colour
        sys.stderr.write(f"error: {streams.readable(message)}\n")
    except OSError:
        streams.mute(sys.stderr)
